"""The effective configuration, defaults and all, with its secrets masked."""

from __future__ import annotations

from typing import Any

import yaml

from vidface.config.model import SOURCE_FIELDS, Config
from vidface.config.secrets import MASK, mask_url


def masked(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; credentials in sources and every password read ``***``."""
    data = config.model_dump(mode="json")
    for camera in data["cameras"]:
        for field in SOURCE_FIELDS:
            if camera[field] is not None:
                camera[field] = mask_url(camera[field])
    for sink in data["sinks"]:
        for field in ("password", "ssl_password"):
            if sink.get(field):
                sink[field] = MASK
    return data


def as_yaml(config: Config) -> str:
    """`masked` as YAML, in the order of the documentation."""
    return yaml.safe_dump(masked(config), sort_keys=False, allow_unicode=True, width=110)
