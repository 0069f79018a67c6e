"""The effective configuration, defaults and all, with its secrets masked."""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import SecretStr

from vidface.config.model import SOURCE_FIELDS, Config
from vidface.config.secrets import MASK, mask_url

_OF_PYDANTIC = str(SecretStr("x"))
_SECRET_NAME = re.compile(r"(?i)password|secret|token|key")


def masked(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; credentials in sources and every password read ``***``."""
    data = config.model_dump(mode="json", exclude={"sinks"})
    for camera in data["cameras"]:
        for field in SOURCE_FIELDS:
            if camera[field] is not None:
                camera[field] = mask_url(camera[field])
    # One by one: the whole knows nothing of the fields of others' sinks.
    data["sinks"] = [_hidden(sink.model_dump(mode="json", fallback=str)) for sink in config.sinks]
    return data


def _hidden(value: Any, field: str = "") -> Any:
    """A sink's values with its secrets masked: what pydantic hides already, what is named like one, and in URLs."""
    if isinstance(value, dict):
        return {name: _hidden(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(inner, field) for inner in value]
    if not isinstance(value, str):
        return value
    if value == _OF_PYDANTIC or (_SECRET_NAME.search(field) and not field.endswith("file")):
        return MASK
    return mask_url(value) if "://" in value else value


def as_yaml(config: Config) -> str:
    """`masked` as YAML, in the order of the documentation."""
    return yaml.safe_dump(masked(config), sort_keys=False, allow_unicode=True, width=110)
