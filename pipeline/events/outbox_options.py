"""What an operator decides about the outbox: how much it may hold, what happens then, and what a power cut may take."""

from dataclasses import dataclass
from enum import StrEnum


class WhenFull(StrEnum):
    """What happens when an event would take the outbox over its bounds."""

    STOP = "stop"
    """Appending raises `OutboxAtLimit`: nothing that is stored is lost, and nothing more is stored."""

    DROP_OLDEST = "drop_oldest"
    """The oldest events are deleted for the sinks that have not had them, and an event says how many."""


class Durability(StrEnum):
    """What an event survives from the moment at which appending has returned."""

    PROCESS = "process"
    """The death of the process. A power cut or a crash of the kernel may take the last seconds' events."""

    POWER = "power"
    """A power cut as well: each append waits for the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxOptions:
    """How an outbox behaves.

    Attributes:
        max_bytes: The most that it may take up, in bytes of the file that are in use; None for no bound.
        max_age_s: How long an event may wait for a sink, in seconds since it was stored; None for ever.
        when_full: What happens at either bound.
        durability: What an event survives.
        keep_s: How long an event is kept that every sink has, in seconds since it was stored, to be sent again.
        site: The place's name, a part of the source of the outbox's own events; None for none.
    """

    max_bytes: int | None = None
    max_age_s: float | None = None
    when_full: WhenFull = WhenFull.STOP
    durability: Durability = Durability.PROCESS
    keep_s: float = 0.0
    site: str | None = None
