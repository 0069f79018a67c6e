"""When a file of events is set aside for a new one, and how those that were set aside are found again.

They stand beside the file, with a number that only grows: ``events.jsonl.000001`` is the oldest. A number and not a
time, because a clock may be set back and the order of the files is the order of the events.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_DIGITS: Final = 6
_NUMBER: Final = re.compile(rf"\d{{{_DIGITS},}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The rule. Without a limit and not daily, a file is never set aside.

    Attributes:
        max_bytes: A file does not grow beyond this, unless a single delivery is larger; None for no limit.
        daily: Whether each day (UTC, as the times in the events) has a file of its own.
        keep: How many files that were set aside are kept, older ones are removed; None keeps all.
    """

    max_bytes: int | None = None
    daily: bool = False
    keep: int | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}; a file holds something")
        if self.keep is not None and self.keep < 0:
            raise ValueError(f"keep is {self.keep}; it cannot be negative")

    def is_due(self, *, size: int, adding: int, written_ns: int, now_ns: int) -> bool:
        """Whether the file is to be set aside before something is added.

        Args:
            size: The file's size, bytes.
            adding: How much is to be added, bytes.
            written_ns: When it was last written to, Unix nanoseconds.
            now_ns: The time now.
        """
        if size == 0:
            return False
        too_large = self.max_bytes is not None and size + adding > self.max_bytes
        return too_large or (self.daily and _day(written_ns) < _day(now_ns))


def set_aside(path: Path) -> list[Path]:
    """The files that were set aside for this one, from the oldest to the newest."""
    prefix = f"{path.name}."
    found = {}
    try:
        for each in path.parent.iterdir():
            number = each.name.removeprefix(prefix)
            if each.name.startswith(prefix) and _NUMBER.fullmatch(number):
                found[int(number)] = each
    except FileNotFoundError:
        return []
    return [found[number] for number in sorted(found)]


def next_aside(path: Path) -> Path:
    """Where the file goes when it is set aside now. For whoever alone writes it."""
    former = set_aside(path)
    return numbered_aside(path, number_of(former[-1]) + 1 if former else 1)


def numbered_aside(path: Path, number: int) -> Path:
    """Where the file of that number is, or will be."""
    return path.with_name(f"{path.name}.{number:0{_DIGITS}d}")


def number_of(aside: Path) -> int:
    """The number of a file that was set aside."""
    return int(aside.name.rpartition(".")[2])


def _day(time_ns: int) -> int:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).toordinal()
