"""Carries events from the outbox to the sinks, one thread a sink.

A sink that fails is tried again for ever, later and later, and holds up no other sink and no camera: its events wait
in the outbox. What a sink will never take goes to the dead letters. An error that no sink should raise ends its
thread, and is not swallowed: see :attr:`Publisher.failure`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.events.dead_letters import DeadLetters
from pipeline.events.errors import EventRefused, PublisherFailed, SinkError
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.sink import Sink

_log = logging.getLogger(__name__)

# How long a sink may take, once told to close, to come back from a delivery.
_CLOSE_S: Final = 10.0
# The longest wait that the other side may ask for: a mistaken Retry-After must not silence a sink for days.
_RETRY_AFTER_MAX_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before an attempt: doubling from the initial to the longest wait."""

    initial_s: float = 0.2
    max_s: float = 5.0

    def delay_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row, from 1."""
        # The exponent is bounded: an outage of days must not overflow.
        return float(min(self.max_s, self.initial_s * 2.0 ** min(failures - 1, 30)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatistics:
    """What a sink has done since the start.

    Attributes:
        name: The sink.
        delivered: Events that it took.
        retries: Attempts that failed and were, or will be, made again.
        refused: Events that went to the dead letters.
        dropped: Events that the outbox dropped at its bounds and the sink will never get, since the outbox was made.
        pending: Events in the outbox that it has not taken.
        failing: Whether its latest attempt failed.
        last_error: The latest failure's message, without credentials; None if there was none.
    """

    name: str
    delivered: int
    retries: int
    refused: int
    dropped: int
    pending: int
    failing: bool
    last_error: str | None


class Publisher:
    """Owns the sinks' threads. Made, started and stopped by one thread."""

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        *,
        batch_size: int = 512,
        backoff: Backoff | None = None,
        backoffs: Mapping[str, Backoff] | None = None,
        dead_letters: Path | None = None,
        on_failure: Callable[[PublisherFailed], None] | None = None,
    ) -> None:
        """Join sinks to an outbox; nothing runs before :meth:`start`.

        Args:
            outbox: Opened for exactly these sinks. Stays the caller's: close it after :meth:`stop`.
            sinks: Closed by :meth:`stop`.
            batch_size: Events a delivery at most.
            backoff: Waits between attempts.
            backoffs: The same of single sinks, by name, where they differ.
            dead_letters: File for refused events; ``dead-letters.jsonl`` beside the outbox where None.
            on_failure: Called once for each sink whose thread ended by an unexpected error, in that thread.

        Raises:
            ValueError: The outbox was opened for other sinks: a name without a sink would hold events for ever.
        """
        names = [sink.name for sink in sinks]
        if sorted(names) != sorted(outbox.sinks):
            raise ValueError(f"the outbox is open for {sorted(outbox.sinks)}, but the sinks are {sorted(names)}")
        letters = DeadLetters(dead_letters or outbox.path.with_name("dead-letters.jsonl"))
        self._outbox = outbox
        self._on_failure = on_failure
        self._failure_lock = threading.Lock()
        self._failure: PublisherFailed | None = None
        self._stopping = threading.Event()
        self._giving_up = threading.Event()
        self._lanes = [
            _Lane(
                sink,
                outbox=outbox,
                letters=letters,
                batch_size=batch_size,
                backoff=(backoffs or {}).get(sink.name) or backoff or Backoff(),
                stopping=self._stopping,
                giving_up=self._giving_up,
                fail=self._fail,
            )
            for sink in sinks
        ]
        self._started = False

    def start(self) -> None:
        """Start a thread a sink.

        Raises:
            RuntimeError: It was started before.
        """
        if self._started:
            raise RuntimeError("a publisher is started once; make a new one")
        self._started = True
        for lane in self._lanes:
            lane.thread.start()

    def stop(self, *, drain_timeout_s: float = 5.0) -> Mapping[str, int]:
        """Deliver what is in the outbox if it can be done in time, then end the threads and close the sinks.

        The order: every thread is woken and finishes when its sink has everything; at the timeout the rest are told
        to give up, and their sinks are closed, which cuts a delivery short; then the threads are joined. What was
        not delivered stays in the outbox. A sink's failure is not raised here: see :attr:`failure`.

        Args:
            drain_timeout_s: For all sinks together.

        Returns:
            How many events each sink leaves in the outbox.

        Raises:
            TimeoutError: A sink did not come back from its delivery after it was closed.
        """
        deadline = time.monotonic() + drain_timeout_s
        self._stopping.set()
        self._outbox.wake()
        for lane in self._lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
        self._giving_up.set()
        for lane in self._lanes:
            lane.sink.close()
        stuck = [lane.sink.name for lane in self._lanes if not lane.join(_CLOSE_S)]
        if stuck:
            raise TimeoutError(f"sinks {stuck} are still delivering {_CLOSE_S:.0f} s after they were closed")
        return {lane.sink.name: self._outbox.pending(lane.sink.name) for lane in self._lanes}

    @property
    def failure(self) -> PublisherFailed | None:
        """The first unexpected error of a sink's thread; None while all is well. Any thread."""
        with self._failure_lock:
            return self._failure

    def statistics(self) -> tuple[SinkStatistics, ...]:
        """Return each sink's figures. Any thread."""
        return tuple(lane.statistics() for lane in self._lanes)

    def _fail(self, failure: PublisherFailed) -> None:
        with self._failure_lock:
            self._failure = self._failure or failure
        if self._on_failure is not None:
            self._on_failure(failure)


class _Lane:
    """One sink, its thread and its figures."""

    def __init__(
        self,
        sink: Sink,
        *,
        outbox: Outbox,
        letters: DeadLetters,
        batch_size: int,
        backoff: Backoff,
        stopping: threading.Event,
        giving_up: threading.Event,
        fail: Callable[[PublisherFailed], None],
    ) -> None:
        self.sink = sink
        self.thread = threading.Thread(target=self._main, name=f"sink-{sink.name}")
        self._outbox = outbox
        self._letters = letters
        self._batch_size = batch_size
        self._backoff = backoff
        self._stopping = stopping
        self._giving_up = giving_up
        self._fail = fail
        self._lock = threading.Lock()  # guards the figures
        self._delivered = 0
        self._retries = 0
        self._refused = 0
        self._failures = 0  # in a row
        self._last_error: str | None = None

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, if it was ever started; return whether it is over."""
        if self.thread.ident is not None:
            self.thread.join(timeout_s)
        return not self.thread.is_alive()

    def statistics(self) -> SinkStatistics:
        pending, dropped = self._outbox.pending(self.sink.name), self._outbox.dropped(self.sink.name)
        with self._lock:
            return SinkStatistics(
                name=self.sink.name,
                delivered=self._delivered,
                retries=self._retries,
                refused=self._refused,
                dropped=dropped,
                pending=pending,
                failing=self._failures > 0,
                last_error=self._last_error,
            )

    def _main(self) -> None:
        try:
            self._run()
        except Exception as error:
            failure = PublisherFailed(self.sink.name, error)
            with self._lock:
                self._failures += 1
                self._last_error = str(failure)
            _log.error("%s", failure, exc_info=error)
            self._fail(failure)

    def _run(self) -> None:
        name = self.sink.name
        while not self._giving_up.is_set():
            batch = self._outbox.read(name, self._batch_size)
            if batch:
                self._deliver(batch)
            elif self._stopping.is_set():
                return
            else:
                self._outbox.wait(name, until=self._stopping.is_set)

    def _deliver(self, batch: Sequence[tuple[int, Event]]) -> None:
        """Make one attempt, acknowledge what arrived, and after a failure wait for the next attempt."""
        try:
            self.sink.deliver([event for _, event in batch])
        except EventRefused as error:
            # The letter is on the disk before the outbox forgets the event.
            self._letters.add(self.sink.name, batch[error.delivered][1], str(error))
            self._note_refused(batch[error.delivered][1], error)
            self._outbox.acknowledge(self.sink.name, batch[error.delivered][0])
        except SinkError as error:
            if error.delivered:
                self._outbox.acknowledge(self.sink.name, batch[error.delivered - 1][0])
            if not self._giving_up.is_set():  # else it failed because it was closed
                self._pause(self._note_failure(error), error.retry_after_s)
        else:
            self._outbox.acknowledge(self.sink.name, batch[-1][0])
            self._note_success(len(batch))

    def _pause(self, failures: int, asked_s: float | None) -> None:
        # A stop ends the wait for one attempt more; after that the waits are real again, or it would spin.
        event = self._giving_up if self._stopping.is_set() else self._stopping
        event.wait(max(self._backoff.delay_s(failures), min(asked_s or 0.0, _RETRY_AFTER_MAX_S)))

    def _note_failure(self, error: SinkError) -> int:
        with self._lock:
            self._delivered += error.delivered
            self._retries += 1
            self._failures = 1 if error.delivered else self._failures + 1
            self._last_error = str(error)
            failures, first = self._failures, self._failures == 1
        if first:
            _log.warning("sink %s: %s; its events wait in the outbox", self.sink.name, error)
        else:
            _log.debug("sink %s: attempt %d failed: %s", self.sink.name, failures, error)
        return failures

    def _note_refused(self, event: Event, error: EventRefused) -> None:
        with self._lock:
            self._delivered += error.delivered
            self._refused += 1
            self._last_error = str(error)
        _log.error("sink %s refused event %s: %s; see %s", self.sink.name, event.id, error, self._letters.path)

    def _note_success(self, count: int) -> None:
        with self._lock:
            self._delivered += count
            failures, self._failures = self._failures, 0
        if failures:
            _log.info("sink %s: delivering again after %d failed attempts", self.sink.name, failures)
