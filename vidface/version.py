"""Which vidface this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version() -> str:
    """The version of the installed package; ``unknown`` where only its source lies here."""
    try:
        return version("vidface")
    except PackageNotFoundError:
        return "unknown"
