"""What was before an event, as far as it matters for it: looked up by the ledger, weighed by the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who was named. Two are the same when their ids are."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Somebody who may pass a door of two, and for whom a second person is missing.

    Attributes:
        person: Who.
        sighting: The source and the sighting in which they were seen.
        captured_ns: When they were seen, Unix.
    """

    person: Person
    sighting: tuple[str, str]
    captured_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What was before one event.

    Attributes:
        is_handled: Whether this very event was handled before.
        sequence: The highest number of the sighting's events that were handled; 0 for none.
        is_taken_back: Whether the sighting took a name back before.
        latest_ns: The latest time at which an event was handled, Unix; 0 for never.
        opened_ns: When each door was last opened for the person, Unix; by the door's id.
        waiting: Who waits at each door of two; by the door's id.
    """

    is_handled: bool = False
    sequence: int = 0
    is_taken_back: bool = False
    latest_ns: int = 0
    opened_ns: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, tuple[Waiting, ...]] = field(default_factory=dict)
