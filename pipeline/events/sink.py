"""The seam to whatever wants the events. :mod:`pipeline.events.fake` has the doubles."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.events.event import Event


class Sink(Protocol):
    """Takes events and vouches for them.

    One thread, the publisher's for this sink, calls :meth:`deliver`; :meth:`close` may come from another and while
    a delivery is under way, which it then cuts short. Delivery is at least once: after a failure or a crash events
    come again, in their order, and (source, id) tells that they are the same.
    """

    @property
    def name(self) -> str:
        """The sink's name, unique in a process and the same after a restart: its place in the outbox hangs on it."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Deliver all, in their order, and return when the receiver has them for good. May block.

        Raises:
            SinkError: Not all could be delivered; worth another attempt. Its ``delivered`` says how many were.
            EventRefused: The event at ``delivered`` will never be taken; those before it were.
        """

    def close(self) -> None:
        """Let go of files and connections within a few seconds. Deliveries fail from then on. May be called twice."""
