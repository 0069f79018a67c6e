"""The seam to where a consumer's events come from: a Kafka topic, or files.

:mod:`pipeline.events.feed_jsonl` is the one without a broker, for tests and for replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.events.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One record, read but not yet done with.

    Attributes:
        lane: What keeps an order: a partition, a file. Numbers of one lane only grow.
        offset: The record's number in its lane.
        next_offset: Where the record after it begins: what is committed when this one is done with.
        place: The same for people, such as ``topic events, partition 2, offset 17``.
        event: What was read; None where it is no event.
        fault: Why it is none; empty otherwise.
        value: What stood there, as far as it is data. Not shown by ``repr``: it may name people.
        now_ns: The moment to judge its age by, Unix; None for the present one. A replay says when it was.
    """

    lane: str
    offset: int
    next_offset: int
    place: str
    event: Event | None
    fault: str = ""
    value: bytes = field(default=b"", repr=False)
    now_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where reading a lane began.

    Attributes:
        committed: The first number that nobody of the group has done with; None where nobody did anything yet.
        skipped: Whether records before the first one were left out by choice.
    """

    committed: int | None
    skipped: bool


class Feed(Protocol):
    """Gives records, lane by lane in their order. One thread uses it."""

    @property
    def name(self) -> str:
        """What is read and for whom: a ledger belongs to one such name."""

    def poll(self, timeout_s: float) -> Sequence[Delivery] | None:
        """Return records that came within the time, maybe none; None when no more can ever come.

        Raises:
            FeedError: Nothing can be read, and waiting would not help.
        """

    def begun(self) -> Mapping[str, Start]:
        """Return the lanes whose reading began with the latest :meth:`poll`, once each."""

    def hold(self, timeout_s: float) -> None:
        """Let time go by without reading on, and stay a member of the group."""

    def owns(self, lane: str) -> bool:
        """Return whether the lane is still ours, or another member's by now."""

    def commit(self, nexts: Mapping[str, int]) -> bool:
        """Note for the whole group that everything before these numbers is done with.

        Returns:
            Whether it was noted. If not, the records may come again, here or to another member.
        """

    def rewind(self, nexts: Mapping[str, int]) -> None:
        """Read these lanes from these numbers on again."""

    def close(self) -> None:
        """Leave. What was not committed comes again, to whoever reads next. May be called twice."""
