"""Whatever is dropped: what a sink gets, and what it is told that it misses, are together everything."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions, WhenFull
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE, DroppedPayload, SinkDrop
from pipeline.events.read import payload_of
from tests.pipeline.events.examples import NOON_NS, camera_state
from tests.schemas import assert_valid

SINKS = ("jsonl", "kafka")
# Events of a page each, of which some twenty fit.
OPTIONS = OutboxOptions(max_bytes=160_000, max_age_s=60, when_full=WhenFull.DROP_OLDEST)
sink_names = st.sampled_from(SINKS)


class DroppingMachine(RuleBasedStateMachine):
    """The model: all facts ever, and for each sink what it was given since the last account that reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "outbox.db"
        self.now_ns = NOON_NS
        self.stored = 0
        self.given: dict[str, list[str]] = {sink: [] for sink in SINKS}
        self.missed: dict[str, int] = dict.fromkeys(SINKS, 0)

    @initialize()
    def make(self) -> None:
        self.outbox = self.open()

    def open(self) -> Outbox:
        return Outbox.open(self.path, SINKS, OPTIONS, now_ns=lambda: self.now_ns)

    @rule(count=st.integers(1, 12))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.stored += 1
            self.outbox.append([camera_state(self.stored, detail="x" * 3000).to_event()])

    @rule(seconds=st.integers(1, 40))
    def let_time_pass(self, seconds: int) -> None:
        self.now_ns += seconds * 1_000_000_000

    @rule(sink=sink_names, limit=st.integers(1, 30))
    def deliver(self, sink: str, limit: int) -> None:
        rows = self.outbox.read(sink, limit)
        for _, event in rows:
            self.take(sink, event)
        if rows:
            self.outbox.acknowledge(sink, rows[-1][0])

    @rule()
    def reopen(self) -> None:
        self.outbox.close()
        self.outbox = self.open()

    @rule()
    def look_after(self) -> None:
        self.outbox._store.keep_order()

    def take(self, sink: str, event: Event) -> None:
        assert_valid(event)
        if event.type != OUTBOX_DROPPED_TYPE:
            self.given[sink].append(event.id)
            return
        payload = payload_of(event)
        assert isinstance(payload, DroppedPayload)
        for drop in payload.sinks:
            if drop.sink == sink:
                self.missed[sink] = self.total(sink, drop)

    def total(self, sink: str, drop: SinkDrop) -> int:
        assert 0 <= drop.dropped <= drop.total
        assert drop.total >= self.missed[sink]
        assert drop.first_sequence <= drop.last_sequence
        return drop.total

    @invariant()
    def order_holds(self) -> None:
        for given in self.given.values():
            numbers = [int(each.rpartition("/")[2]) for each in given]
            assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            for sink in SINKS:
                while self.outbox.pending(sink):
                    self.deliver(sink, 100)
                assert len(self.given[sink]) + self.missed[sink] == self.stored
                assert self.missed[sink] == self.outbox.dropped(sink)
            self.outbox.close()
        self.folder.cleanup()


DroppingMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestDropping = DroppingMachine.TestCase
