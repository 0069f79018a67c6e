"""Takes events off the pipeline's hands and stores them in the outbox: one thread, and what waits in one transaction.

Storing an event takes a tenth of a millisecond, and now and then a hundred times that, when SQLite's log is written
back or a disk is busy. None of it need be waited for by the thread that decides about faces: no sink, and so nobody
else, hears of an event before it is stored. The death of the process takes what was not stored, as it takes the frame
that was being looked at: to the world that decision was never made.

Nothing is dropped. Where storing falls behind by `MAX_WAITING` calls, `OutboxWriter.put` waits; where it fails, the
next `put` raises why, and `on_failure` is told at once.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.events.errors import OutboxClosed
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Publisher
from streams.errors import Closed, MailboxTimeoutError
from streams.mailbox import Policy, PutEnd, TakeEnd, open_mailbox

MAX_WAITING: Final = 1024
"""Calls of `put` whose events are not stored yet."""

_BATCH: Final = 256
"""Events of one transaction, about: more would keep the outbox's lock from the sinks."""


class OutboxWriter:
    """See the module's text. Made, started and stopped by one thread; any may `put`."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        on_stored: Callable[[Sequence[Event]], None] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            outbox: Where events are stored. Stays the caller's: close it after `stop`.
            on_stored: Told of events that have been stored, in the writer's thread.
            on_failure: Told of the first error, in the writer's thread.
        """
        self._outbox = outbox
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._put: PutEnd[tuple[Event, ...]]
        self._take: TakeEnd[tuple[Event, ...]]
        self._put, self._take = open_mailbox(MAX_WAITING, Policy.BLOCK)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="outbox")

    def start(self) -> None:
        """Begin to store."""
        self._thread.start()

    def put(self, events: Sequence[Event]) -> None:
        """Have events stored, all of a call or none, in the order of calls. Returns before they are.

        Raises:
            OutboxError: An earlier call's events could not be stored, and these will not be.
            OutboxClosed: After `stop`.
        """
        if not events:
            return
        try:
            self._put.put(tuple(events))
        except Closed:
            raise self._failure or OutboxClosed(f"outbox {self._outbox.path} is closed") from None

    def stop(self) -> None:
        """Store what waits and end the thread. A failure is not raised here: `on_failure` was told. May be repeated."""
        self._put.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                events = self._waiting()
                self._outbox.append(events)
                if self._on_stored is not None:
                    self._on_stored(events)
        except Closed:
            pass
        except Exception as error:  # whatever it is, events must not be taken that nobody stores
            self._failure = error
            self._take.discard()
            if self._on_failure is not None:
                self._on_failure(error)

    def _waiting(self) -> list[Event]:
        """The events of the next calls; waits for one.

        Raises:
            Closed: There is none, and there will be none.
        """
        events = list(self._take.take())
        try:
            while len(events) < _BATCH:
                events += self._take.take(0)
        except (Closed, MailboxTimeoutError):
            pass
        return events


class StoredDelivery:
    """What carries events away from the pipeline, in order: what was said last is stored before the last is sent."""

    def __init__(self, writer: OutboxWriter, publisher: Publisher) -> None:
        self._writer = writer
        self._publisher = publisher

    def start(self) -> None:
        """Begin to store and to deliver."""
        self._writer.start()
        self._publisher.start()

    def stop(self, *, drain_timeout_s: float) -> None:
        """Store what is left, then deliver what can be delivered in time."""
        self._writer.stop()
        self._publisher.stop(drain_timeout_s=drain_timeout_s)
