"""What a consumer tells: events with what they say, and what it could not pass on."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.events.event import Event
from pipeline.events.read import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """An event to handle.

    Attributes:
        event: The event.
        payload: The same, typed.
        age_s: From capture to this attempt to handle it, for a live sighting; else None.
        place: Where it was read, for people.
    """

    event: Event
    payload: Payload
    age_s: float | None
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An event that must not be acted upon any more, with the reason."""

    event: Event
    payload: Payload
    reason: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A record that is no event.

    Attributes:
        place: Where it was read, for people.
        reason: What is wrong with it. May quote the record.
        value: What stood there. Not shown by ``repr``: it may name people.
    """

    place: str
    reason: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Events of a camera that never came.

    Attributes:
        source: The camera, as events name it.
        camera: Its id.
        epoch: The connection.
        expected: The first ``camera_sequence`` that is missing.
        found: The one that came instead.
        place: Where that was read, for people.
    """

    source: str
    camera: str
    epoch: int
    expected: int
    found: int
    place: str

    @property
    def missing(self) -> int:
        """How many."""
        return self.found - self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerStatistics:
    """What a consumer has done since it was made.

    Attributes:
        handled: Events whose handler returned.
        duplicates: Events that had been handled or refused before.
        stale: Events that were refused: too old, from the future, or of a recording.
        malformed: Records that were no events.
        unknown: Events of types that this version does not know, passed over.
        gaps: Times that events of a camera were missing.
        missing: Events that were missing in them.
        failures: Times that the handler raised.
        uncommitted: Commits that the brokers did not take; what they covered may come again, and is then dropped.
    """

    handled: int = 0
    duplicates: int = 0
    stale: int = 0
    malformed: int = 0
    unknown: int = 0
    gaps: int = 0
    missing: int = 0
    failures: int = 0
    uncommitted: int = 0
