"""Whatever the order of things: every sink sees every event, in order, and nothing goes before all have it."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from tests.pipeline.events.examples import camera_state
from tests.schemas import assert_valid

SINKS = ("jsonl", "kafka", "webhook")
some_sinks = st.sets(st.sampled_from(SINKS), min_size=1)
sink_at = st.integers(0, 2)


class OutboxMachine(RuleBasedStateMachine):
    """The model: all events ever, and how many of them each sink has acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "outbox.db"
        self.events: list[Event] = []
        self.place: dict[str, int] = {}
        self.read: dict[str, int] = {}  # how far each has read since the last opening
        self.epochs = 0

    @initialize(sinks=some_sinks)
    def make(self, sinks: set[str]) -> None:
        self.outbox = Outbox.open(self.path, sorted(sinks))
        self.place = dict.fromkeys(sorted(sinks), 0)
        self.read = dict(self.place)

    @rule(count=st.integers(0, 4), camera=st.sampled_from(["lobby", "gate"]))
    def append(self, count: int, camera: str) -> None:
        fresh = [camera_state(len(self.events) + number, camera).to_event() for number in range(1, count + 1)]
        self.events += fresh
        assert self.outbox.append(fresh) == len(self.events)

    @rule(at=sink_at, limit=st.integers(1, 5))
    def read_some(self, at: int, limit: int) -> None:
        sink = self.sink(at)
        rows = self.outbox.read(sink, limit)
        first = self.place[sink]
        assert rows == list(enumerate(self.events[first : first + limit], first + 1))
        for _, event in rows:
            assert_valid(event)
        self.read[sink] = max(self.read[sink], first + len(rows))

    @rule(at=sink_at, share=st.floats(0, 1))
    def acknowledge(self, at: int, share: float) -> None:
        sink = self.sink(at)
        upto = round(self.read[sink] * share)  # also what was acknowledged before
        self.outbox.acknowledge(sink, upto)
        self.place[sink] = max(self.place[sink], upto)

    @rule(sinks=some_sinks)
    def reopen(self, sinks: set[str]) -> None:
        self.outbox.close()
        oldest_held = min(self.place.values())
        self.outbox = Outbox.open(self.path, sorted(sinks))
        self.place = {sink: self.place.get(sink, oldest_held) for sink in sorted(sinks)}
        self.read = dict(self.place)

    @rule()
    def epoch(self) -> None:
        self.epochs += 1
        assert self.outbox.next_epoch("lobby") == self.epochs

    @invariant()
    def nothing_is_missing(self) -> None:
        held = [row[0] for row in self.outbox._store._writer.execute("SELECT seq FROM events ORDER BY seq")]
        assert held == list(range(min(self.place.values()) + 1, len(self.events) + 1))
        for sink, place in self.place.items():
            assert self.outbox.pending(sink) == len(self.events) - place
            assert self.outbox.wait(sink, 0) is (place < len(self.events))

    def sink(self, at: int) -> str:
        return list(self.place)[at % len(self.place)]

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
        self.folder.cleanup()


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestOutbox = OutboxMachine.TestCase
