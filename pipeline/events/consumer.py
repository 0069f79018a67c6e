"""Events handled once, in order, while they are fresh: the loop of whatever acts on them.

::

    with EventConsumer.from_kafka(["kafka:9092"], "vidface.events", group="doors", ledger=Path("doors.db"),
                                  max_age_s=2.0) as consumer:
        consumer.run(handle)   # until consumer.stop(), from a signal or another thread

What is promised
    Order: each camera's events are handled in their order, one at a time.

    At least once: an event is committed when its handler has returned. If the process dies between the two, or the
    handler raises, the event comes again.

    Not twice: an event that was handled is remembered in the ledger, across restarts, and dropped when it comes again.
    Between the handler's return and the ledger's line is the one moment in which the death of the process makes an
    event be handled twice. Members of a group that do not share a ledger, because they are on several machines, know
    nothing of each other: after a rebalance one may be given what another handled but had not committed. A handler
    that must not act twice then needs an idempotent action; (source, id) is its key.

    Fresh: age is judged before every attempt, so that an event does not grow old in a queue, nor while a handler is
    tried again. What is refused is committed, and never handled.

    Gaps: a camera's sighting events are numbered; see :mod:`pipeline.events.ledger` for when a missing number is a
    loss, and when another member of the group may have had it. The last events of a connection can be missing unseen.

    Poison: a record that is no event is counted, told and passed over. It stops nobody.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from pipeline.events.errors import EventMalformed, HandlerFailed
from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Feed
from pipeline.events.feed_jsonl import JsonlFeed
from pipeline.events.freshness import Freshness, age_of_s
from pipeline.events.kafka_security import KafkaSecurity
from pipeline.events.ledger import KEEP_S, Ledger
from pipeline.events.payload import SightingPayload
from pipeline.events.publisher import Backoff
from pipeline.events.read import Payload, payload_of
from pipeline.events.received import ConsumerStatistics, Gap, Malformed, Received, Refused

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.2
_COMMIT_EVERY: Final = 100

Handler: TypeAlias = Callable[[Received], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What happens when a handler raises.

    Attributes:
        attempts: How often it is called for one event before :meth:`EventConsumer.run` gives up and raises; None for
            as often as it takes. An event that grows too old in the meantime is refused.
        backoff: The waits between.
    """

    attempts: int | None = 1
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; a handler is called at least once")


class EventConsumer:
    """Hands events to a handler. Made by one of the ``from_`` methods; a context manager.

    :meth:`run` belongs to one thread; :meth:`stop`, :meth:`close` and :attr:`statistics` to any, and to signals.
    """

    def __init__(
        self,
        feed: Feed,
        ledger: Ledger,
        freshness: Freshness,
        *,
        retry: Retry | None = None,
        on_refused: Callable[[Refused], None] | None = None,
        on_malformed: Callable[[Malformed], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Join the parts; nothing is read before :meth:`run`.

        Args:
            feed: Where events come from; closed by :meth:`close`, as is the ledger.
            ledger: What was handled.
            freshness: What is too old.
            retry: What to do when the handler raises; by default stop.
            on_refused: Told of each event that is refused. What one of these raises ends :meth:`run`.
            on_malformed: Told of each record that is no event.
            on_gap: Told of each gap, before the event that showed it is handled.
            now_ns: The wall clock, Unix.
        """
        self._feed = feed
        self._ledger = ledger
        self._freshness = freshness
        self._retry = retry or Retry()
        self._on_refused = on_refused
        self._on_malformed = on_malformed
        self._on_gap = on_gap
        self._now_ns = now_ns
        self._statistics = ConsumerStatistics()
        self._running = threading.Lock()
        self._runner: int | None = None
        # A plain flag, looked at a few times a second: a signal may come while this thread holds any lock.
        self._stopping = False
        self._closing = False

    @classmethod
    def from_kafka(
        cls,
        bootstrap_servers: Sequence[str],
        topic: str,
        *,
        group: str,
        ledger: Path,
        max_age_s: float | None,
        recordings: bool = False,
        max_skew_s: float = 2.0,
        keep_s: float = KEEP_S,
        start: Literal["oldest", "newest"] = "oldest",
        security: KafkaSecurity | None = None,
        session_timeout_s: float = 10.0,
        retry: Retry | None = None,
        on_refused: Callable[[Refused], None] | None = None,
        on_malformed: Callable[[Malformed], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Self:
        """Read a topic as a member of a group. Nothing is connected before :meth:`run`.

        Args:
            bootstrap_servers: ``host:port`` of some brokers.
            topic: The topic.
            group: The group's name. Its members share the topic's partitions.
            ledger: The file that remembers what was handled; members on one machine may share it.
            max_age_s: How old a live sighting may be at the moment of handling; None for any age.
            recordings: Whether sightings of recordings are handled.
            max_skew_s: How far in the future a capture may lie.
            keep_s: How long an event is remembered.
            start: Where a group begins that has committed nothing.
            security: How to be let in; an open cluster where None.
            session_timeout_s: After this silence a member counts as dead, and the others take over its cameras.
            retry: What to do when the handler raises; by default stop.
            on_refused: Told of each event that is refused.
            on_malformed: Told of each record that is no event.
            on_gap: Told of each gap.

        Raises:
            ValueError: An argument cannot be.
            LedgerError: The ledger cannot be used.
            KafkaMissing: The client is not installed.
        """
        from pipeline.events.kafka_feed import KafkaFeed

        freshness = Freshness(max_age_s=max_age_s, max_skew_s=max_skew_s, recordings=recordings)
        feed = KafkaFeed(
            bootstrap_servers, topic, group, start=start, security=security, session_timeout_s=session_timeout_s
        )
        return cls(
            feed,
            Ledger.open(ledger, feed.name, keep_s=keep_s),
            freshness,
            retry=retry,
            on_refused=on_refused,
            on_malformed=on_malformed,
            on_gap=on_gap,
        )

    @classmethod
    def from_jsonl(
        cls,
        *paths: Path,
        max_age_s: float | None,
        as_recorded: bool = True,
        recordings: bool = False,
        ledger: Path | None = None,
        retry: Retry | None = None,
        on_refused: Callable[[Refused], None] | None = None,
        on_malformed: Callable[[Malformed], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Self:
        """Read files of events to their end, without a broker: a test, or a replay.

        Args:
            *paths: The files, oldest first.
            max_age_s: As in :meth:`from_kafka`.
            as_recorded: Whether an event's age is that at its decision, as if there were no way to here; else now.
            recordings: Whether sightings of recordings are handled.
            ledger: The file that remembers what was handled; in memory where None.
            retry: What to do when the handler raises; by default stop.
            on_refused: Told of each event that is refused.
            on_malformed: Told of each line that is no event.
            on_gap: Told of each gap.

        Raises:
            ValueError: An argument cannot be.
            LedgerError: The ledger cannot be used.
        """
        freshness = Freshness(max_age_s=max_age_s, recordings=recordings)
        feed = JsonlFeed(paths, as_recorded=as_recorded)
        return cls(
            feed,
            Ledger.open(ledger, feed.name),
            freshness,
            retry=retry,
            on_refused=on_refused,
            on_malformed=on_malformed,
            on_gap=on_gap,
        )

    @property
    def statistics(self) -> ConsumerStatistics:
        """What was done since it was made."""
        return self._statistics

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Let :meth:`run` return after the event that is being handled. Returns at once; signals may call it."""
        self._stopping = True

    def close(self) -> None:
        """Stop, wait until :meth:`run` has returned, and leave the group and close the ledger.

        Called by the handler or a signal in the thread of :meth:`run`, it returns at once, and this happens when
        :meth:`run` ends. May be called twice.
        """
        self._stopping = self._closing = True
        if self._runner == threading.get_ident():
            return
        with self._running:
            self._shut()

    def run(self, handle: Handler) -> None:
        """Hand events to the handler until stopped, or until no more can come. Blocks.

        May be called again after it returned or raised, until the consumer is closed: it goes on with the first event
        that is not done with.

        Raises:
            HandlerFailed: The handler raised, as often as the policy allows. The event is not committed.
            FeedError: The events cannot be read.
            LedgerError: What was handled cannot be written down; the event may come again.
            RuntimeError: It is running or closed.
        """
        if self._closing:
            raise RuntimeError("the consumer is closed; make a new one")
        if not self._running.acquire(blocking=False):
            raise RuntimeError("the consumer is running; one thread runs it, once at a time")
        try:
            self._runner = threading.get_ident()
            while not self._stopping:
                batch = self._feed.poll(_POLL_S)
                for lane, start in self._feed.begun().items():
                    self._ledger.begin(lane, start)
                if batch is None:
                    break
                self._take(batch, handle)
        finally:
            self._end()
            self._running.release()

    def _end(self) -> None:
        self._runner = None
        self._stopping = self._closing
        if self._closing:
            self._shut()

    def _shut(self) -> None:
        self._feed.close()
        self._ledger.close()

    def _take(self, batch: Sequence[Delivery], handle: Handler) -> None:
        """Do with records what is to be done, and commit those that are done with, whatever happens."""
        done = 0
        nexts: dict[str, int] = {}
        try:
            for delivery in batch:
                if self._stopping or not self._feed.owns(delivery.lane) or not self._finish(delivery, handle):
                    break
                done += 1
                nexts[delivery.lane] = delivery.next_offset
                if done % _COMMIT_EVERY == 0:
                    self._commit(nexts)
                    nexts = {}
        finally:
            if nexts:
                self._commit(nexts)
            # The rest was read and not handled: should somebody run this again, it must not be skipped.
            self._feed.rewind({each.lane: each.offset for each in reversed(batch[done:])})

    def _commit(self, nexts: dict[str, int]) -> None:
        if not self._feed.commit(nexts):
            self._count(uncommitted=1)

    def _finish(self, delivery: Delivery, handle: Handler) -> bool:
        """Do with one record what is to be done; return whether it is done with."""
        try:
            event, payload = _read(delivery)
        except EventMalformed as error:
            self._tell_malformed(delivery, str(error))
            self._ledger.note(delivery)
            return True
        if payload is None:
            _log.debug("%s: the type %s is not known to this version", delivery.place, event.type)
            self._count(unknown=1)
            self._ledger.note(delivery)
            return True
        if self._ledger.knows(event):
            self._count(duplicates=1)
            self._ledger.note(delivery)
            return True
        if isinstance(payload, SightingPayload):
            self._look_for_gap(delivery, event, payload)
        if not self._handle(delivery, event, payload, handle):
            return False
        self._ledger.note(delivery, event, payload)
        return True

    def _handle(self, delivery: Delivery, event: Event, payload: Payload, handle: Handler) -> bool:
        """Refuse the event or have it handled; return False where neither came to an end."""
        failures = 0
        while True:
            now_ns = self._now_ns() if delivery.now_ns is None else delivery.now_ns
            reason = self._freshness.refusal(payload, now_ns)
            if reason is not None:
                self._count(stale=1)
                _log.info("event %s (%s) is refused: %s", event.id, delivery.place, reason)
                if self._on_refused is not None:
                    self._on_refused(Refused(event=event, payload=payload, reason=reason, place=delivery.place))
                return True
            aged = isinstance(payload, SightingPayload) and payload.live
            age_s = age_of_s(payload, now_ns) if aged and isinstance(payload, SightingPayload) else None
            try:
                handle(Received(event=event, payload=payload, age_s=age_s, place=delivery.place))
            except Exception as error:
                failures += 1
                self._count(failures=1)
                failed = HandlerFailed(event.id, delivery.place, failures, error)
                if self._retry.attempts is not None and failures >= self._retry.attempts:
                    raise failed from error
                _log.warning("%s", failed)
                if not self._pause(delivery.lane, self._retry.backoff.delay_s(failures)):
                    return False
            else:
                self._count(handled=1)
                return True

    def _pause(self, lane: str, wait_s: float) -> bool:
        """Wait before another attempt; return whether it may be made."""
        until_s = time.monotonic() + wait_s
        while not self._stopping:
            left_s = until_s - time.monotonic()
            self._feed.hold(min(_POLL_S, max(0.0, left_s)))
            if not self._feed.owns(lane):
                return False  # another member has it now, and this event with it
            if left_s <= 0:
                return True
        return False

    def _look_for_gap(self, delivery: Delivery, event: Event, payload: SightingPayload) -> None:
        expected = self._ledger.expected(delivery, event, payload)
        if expected is None:
            return
        gap = Gap(
            source=event.source,
            camera=payload.camera,
            epoch=payload.epoch,
            expected=expected,
            found=payload.camera_sequence,
            place=delivery.place,
        )
        self._count(gaps=1, missing=gap.missing)
        _log.warning(
            "%s: %d events of %s are missing before %s: number %d of epoch %d was to come, and %d came",
            *(gap.place, gap.missing, gap.source, event.id, gap.expected, gap.epoch, gap.found),
        )
        if self._on_gap is not None:
            self._on_gap(gap)

    def _tell_malformed(self, delivery: Delivery, reason: str) -> None:
        self._count(malformed=1)
        _log.error("%s: passed over, it is no event of ours: %s", delivery.place, reason)
        if self._on_malformed is not None:
            self._on_malformed(Malformed(place=delivery.place, reason=reason, value=delivery.value))

    def _count(self, **more: int) -> None:
        now = self._statistics
        # One thread counts; others see one whole value or the next.
        self._statistics = replace(now, **{name: getattr(now, name) + count for name, count in more.items()})


def _read(delivery: Delivery) -> tuple[Event, Payload | None]:
    """Return a record's event with what it says.

    Raises:
        EventMalformed: It is none.
    """
    if delivery.event is None:
        raise EventMalformed(delivery.fault)
    return delivery.event, payload_of(delivery.event)


@contextlib.contextmanager
def stopped_by(consumer: EventConsumer, *signals: int) -> Iterator[None]:
    """Let signals stop a consumer in order while this lasts. For the main thread."""
    import signal

    before = {number: signal.signal(number, lambda *_: consumer.stop()) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
