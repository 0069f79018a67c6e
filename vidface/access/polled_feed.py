"""A topic in Kafka, or whatever else a consumer can poll, as a feed of events.

An event is committed when it was handled: judged, and its opening claimed in the ledger. What a crash leaves
uncommitted comes again, and the ledger knows what was opened.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.events.event import Event
from pipeline.events.feed import Feed as Polled

_POLL_S = 0.2
"""How long a poll waits for something to come; what comes is given at once."""


class PolledFeed:
    """Gives what is polled, in order. For one thread, but for `stop`."""

    def __init__(self, polled: Polled) -> None:
        """Begin nothing.

        Args:
            polled: Closed when `run` ends.
        """
        self._polled = polled
        self._stopping = False  # a plain flag: a signal may come while this thread holds any lock

    def run(self, handle: Callable[[Event], None], malformed: Callable[[str], None]) -> None:
        """Give events until stopped; see `vidface.access.feed.Feed`.

        Raises:
            FeedError: The events cannot be read.
        """
        try:
            while not self._stopping and self._one_batch(handle, malformed):
                pass
        finally:
            self._polled.close()

    def stop(self) -> None:
        """Let `run` return after the event at hand."""
        self._stopping = True

    def _one_batch(self, handle: Callable[[Event], None], malformed: Callable[[str], None]) -> bool:
        """Give what one poll brings, and commit what of it was handled; False when no more can come."""
        batch = self._polled.poll(_POLL_S)
        self._polled.begun()
        nexts: dict[str, int] = {}
        try:
            for delivery in batch or ():
                if self._stopping:
                    break
                if not self._polled.owns(delivery.lane):
                    continue  # another member's by now
                if delivery.event is None:
                    malformed(f"{delivery.place}: {delivery.fault}")
                else:
                    handle(delivery.event)
                nexts[delivery.lane] = delivery.next_offset
        finally:
            if nexts:
                self._polled.commit(nexts)  # one that is not taken makes events come again: the ledger knows them
        return batch is not None
