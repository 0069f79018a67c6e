"""The configuration file: what may stand in it, and how it is read.

Reading order: `model`, `sinks` and `sink_*` (every section and field), `load` (`load_config` and its errors), then
what that stands on: `document` (YAML with places), `environment` (`${NAME}`), `schema` (JSON Schema and legal values in
words), `secrets` (masking), `show` (the effective configuration for people and programs), `section` (what sections
share).
"""

from vidface.config.load import load_config
from vidface.config.model import CameraConfig, Config
from vidface.config.sinks import JsonlSinkConfig, KafkaSinkConfig

__all__ = ["CameraConfig", "Config", "JsonlSinkConfig", "KafkaSinkConfig", "load_config"]
