"""What the outbox says when it had to drop events, typed: how many, of which sinks, and from when to when."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from pipeline.events.event import JSON, Event, rfc3339

OUTBOX_DROPPED_TYPE: Final = "vidface.outbox.dropped"
OUTBOX_SUBJECT: Final = "vidface:outbox"
"""What stands where other events name their camera; no camera's id holds a colon."""


class DropReason(StrEnum):
    """Which bound the outbox had reached."""

    SIZE = "size"
    AGE = "age"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkDrop:
    """What one sink will not get.

    Until the sink has acknowledged such an event, the next one about it counts from the same beginning: the latest
    event alone says everything, though earlier ones may have been dropped themselves.

    Attributes:
        sink: The sink's name.
        dropped: How many events, since the sink was last told. One that was being delivered at that moment counts.
        first_sequence: The first one's number in the outbox.
        last_sequence: The last one's.
        first_ns: The first one's time, Unix.
        last_ns: The last one's time, Unix.
        total: How many in all, since the outbox was made.
    """

    sink: str
    dropped: int
    first_sequence: int
    last_sequence: int
    first_ns: int
    last_ns: int
    total: int

    def to_json(self) -> dict[str, JSON]:
        """Return the event's form."""
        return {
            "sink": self.sink,
            "dropped": self.dropped,
            "first_sequence": self.first_sequence,
            "last_sequence": self.last_sequence,
            "first_at": rfc3339(self.first_ns),
            "last_at": rfc3339(self.last_ns),
            "total": self.total,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedPayload:
    """The outbox dropped events.

    Attributes:
        outbox: The outbox's own id, made with its file.
        opening: Counts how often the file was opened, from 1.
        sequence: Counts these events within the opening, from 1.
        reason: Which bound was reached.
        sinks: The sinks that will not get them; at least one.
        at_ns: Unix time; the event's time.
    """

    outbox: str
    opening: int
    sequence: int
    reason: DropReason
    sinks: tuple[SinkDrop, ...]
    at_ns: int

    def to_event(self, *, site: str | None = None) -> Event:
        """Write it down.

        Args:
            site: A prefix for the source, where several sites share a topic.
        """
        return Event(
            type=OUTBOX_DROPPED_TYPE,
            source=outbox_source(self.outbox, site),
            id=f"dropped/{self.opening}/{self.sequence}",
            subject=OUTBOX_SUBJECT,
            time_ns=self.at_ns,
            data={
                "outbox": self.outbox,
                "reason": self.reason.value,
                "at": rfc3339(self.at_ns),
                "sinks": [sink.to_json() for sink in self.sinks],
            },
            camera=OUTBOX_SUBJECT,
        )


def outbox_source(outbox: str, site: str | None = None) -> str:
    """Return the ``source`` of an outbox's events: ``/vidface/outboxes/<id>``, or with its site before it."""
    place = f"/{quote(site, safe='')}" if site else ""
    return f"/vidface{place}/outboxes/{outbox}"
