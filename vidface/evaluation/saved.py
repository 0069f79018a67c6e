"""A run of `vidface bench` as a file: written, read back, and held against another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vidface.errors import BadInput

FORMAT: Final = 1
"""Raised when a figure's meaning changes."""

COMPARED: Final = (
    ("fps", "frames/s"),
    ("decode_fps", "decode only, frames/s"),
    ("machine_decode_fps", "decode on all processors, frames/s"),
    ("detect_only_fps", "detect only, frames/s"),
    ("ratio_to_decode", "of decoding"),
    ("ratio_to_machine_decode", "of decoding on all processors"),
    ("against_loop.ratio", "times the plain loop"),
    ("against_loop.loop_fps", "plain loop, frames/s"),
    ("capacity", "cameras held"),
    ("overall.cameras", "cameras"),
    ("overall.share", "delivered of wanted"),
    ("overall.worst_share", "delivered of wanted, worst camera"),
    ("overall.age_ms.p50", "age p50, ms"),
    ("overall.age_ms.p95", "age p95, ms"),
    ("overall.age_ms.p99", "age p99, ms"),
    ("overall.cpu_cores", "processors used"),
    ("overall.rss_mib.last", "memory, MiB"),
    ("peak_rss_mib", "peak memory, MiB"),
    ("runs.everything.cpu_ms_per_frame", "CPU ms a frame"),
)
"""Where a figure stands in the JSON, and what it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of two runs.

    Attributes:
        name: What it is.
        old: Before.
        new: After.
    """

    name: str
    old: float
    new: float

    @property
    def percent(self) -> float | None:
        """The change in percent of the old figure; None where that is zero."""
        return 100 * (self.new - self.old) / abs(self.old) if self.old else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        changes: Figures that both have.
        warnings: Why they may not be comparable.
    """

    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """Hold two documents against each other."""
    warnings = []
    if old["mode"] != new["mode"]:
        warnings.append(f"the modes differ: {old['mode']} and {new['mode']}")
    for section in ("machine", "options"):
        for key in sorted(old[section].keys() | new[section].keys()):
            before, after = old[section].get(key), new[section].get(key)
            if before != after:
                warnings.append(f"{section}: {key} was {_shown(before)}, is {_shown(after)}")
    changes = [
        Change(name=name, old=before, new=after)
        for place, name in COMPARED
        if (before := _number(old, place)) is not None and (after := _number(new, place)) is not None
    ]
    parts = {row["part"]: row["cpu_ms_per_frame"] for row in old.get("account", ())}
    changes += [
        Change(name=f"CPU ms a frame: {row['part']}", old=parts[row["part"]], new=row["cpu_ms_per_frame"])
        for row in new.get("account", ())
        if row["part"] in parts
    ]
    return Comparison(changes=tuple(changes), warnings=tuple(warnings))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items()) or "nothing"
    return "not given" if value is None else str(value)


def _number(document: Mapping[str, Any], place: str) -> float | None:
    value: Any = document
    for key in place.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write a document as JSON; its folder is made.

    Raises:
        BadInput: It can't be written.
    """
    write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a file; its folder is made.

    Raises:
        BadInput: It can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} can't be written: {error.strerror or error}") from error


def read(path: Path) -> dict[str, Any]:
    """Read a document that `write` wrote.

    Raises:
        BadInput: It isn't one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is no saved run of 'vidface bench': {error}") from error
    if not isinstance(document, dict) or not {"format", "mode", "machine", "options"} <= document.keys():
        raise BadInput(f"{path} is no saved run: save one with 'vidface bench ... --save {path.name}'")
    if document["format"] != FORMAT:
        raise BadInput(f"{path} has format {document['format']}, this vidface reads {FORMAT}; measure it again")
    return document
