import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.events.errors import EventRefused, PublisherFailed, SinkError
from pipeline.events.event import Event
from pipeline.events.fake import FailingSink, MemorySink
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions, WhenFull
from pipeline.events.publisher import Backoff, Publisher
from tests.pipeline.events.examples import numbered
from tests.schemas import assert_valid, assert_valid_document

AT_ONCE = Backoff(initial_s=0.0, max_s=0.0)
NEVER = Backoff(initial_s=3600.0, max_s=3600.0)
Open = Callable[..., Outbox]


@pytest.fixture
def open_outbox(tmp_path: Path) -> Iterator[Open]:
    opened: list[Outbox] = []

    def open_it(*sinks: str) -> Outbox:
        opened.append(Outbox.open(tmp_path / "outbox.db", sinks))
        return opened[-1]

    yield open_it
    for outbox in opened:
        outbox.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("sink-")]


class NotedWaits(threading.Event):
    """Keeps how long it was waited for, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout)
        return self.is_set()


class HangingSink:
    """Delivers nothing until it is closed."""

    name = "hanging"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def deliver(self, events: Sequence[Event]) -> None:  # noqa: ARG002 - it takes them and does nothing
        self.entered.set()
        assert self.released.wait(60)
        raise SinkError("closed in the middle")

    def close(self) -> None:
        self.released.set()


def check(events: list[Event]) -> list[Event]:
    for event in events:
        assert_valid(event)
    return events


def test_every_sink_gets_every_event_in_order(open_outbox: Open) -> None:
    outbox = open_outbox("a", "b")
    sinks = [MemorySink("a"), MemorySink("b")]
    early, late = numbered(30), numbered(30, first=31)
    outbox.append(early)  # before the start
    publisher = Publisher(outbox, sinks, batch_size=7)
    publisher.start()
    for event in late:
        outbox.append([event])
    for sink in sinks:
        assert check(sink.wait_for(60)) == early + late
    assert publisher.stop() == {"a": 0, "b": 0}
    assert all(sink.closed for sink in sinks)
    assert [(each.name, each.delivered, each.pending) for each in publisher.statistics()] == [
        ("a", 60, 0),
        ("b", 60, 0),
    ]


def test_stopping_delivers_what_is_there(open_outbox: Open) -> None:
    outbox = open_outbox("memory")
    sink = MemorySink()
    publisher = Publisher(outbox, [sink], batch_size=10)
    outbox.append(numbered(100))
    publisher.start()
    assert publisher.stop(drain_timeout_s=60) == {"memory": 0}
    assert check(sink.events) == numbered(100)


def test_a_failing_sink_is_tried_until_it_takes_them(open_outbox: Open, caplog: pytest.LogCaptureFixture) -> None:
    outbox = open_outbox("memory")
    memory = MemorySink()
    sink = FailingSink(memory, [SinkError("away"), SinkError("still away"), SinkError("half", delivered=2), None])
    outbox.append(numbered(5))
    publisher = Publisher(outbox, [sink], backoff=AT_ONCE)
    with caplog.at_level(logging.INFO):
        publisher.start()
        assert check(memory.wait_for(5)) == numbered(5)  # the two of the half are not sent again
        publisher.stop()
    (figures,) = publisher.statistics()
    assert (figures.delivered, figures.retries, figures.pending, figures.failing) == (5, 3, 0, False)
    assert figures.last_error == "half"
    assert publisher.failure is None
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0] == "sink memory: away; its events wait in the outbox"
    assert len(warnings) == 2  # one an outage: the half delivery ended the first
    assert any("delivering again" in record.message for record in caplog.records)


def test_a_sink_that_is_away_holds_up_no_other(open_outbox: Open) -> None:
    outbox = open_outbox("a", "away")
    memory = MemorySink("a")
    publisher = Publisher(outbox, [memory, FailingSink(MemorySink("away"), [SinkError("away")] * 9)], backoff=NEVER)
    publisher.start()
    outbox.append(numbered(3))
    assert check(memory.wait_for(3)) == numbered(3)
    # Stopping cuts the hour's wait short for one attempt more, and then gives up.
    assert publisher.stop(drain_timeout_s=0.05) == {"a": 0, "away": 3}


def test_what_was_left_is_sent_by_the_next_run(open_outbox: Open) -> None:
    outbox = open_outbox("memory")
    outbox.append(numbered(4))
    first = Publisher(outbox, [FailingSink(MemorySink(), [SinkError("half", delivered=1), *[SinkError("away")] * 9])])
    first.start()
    assert first.stop(drain_timeout_s=0.05) == {"memory": 3}
    outbox.close()
    sink = MemorySink()
    second = Publisher(open_outbox("memory"), [sink])
    second.start()
    assert check(sink.wait_for(3)) == numbered(3, first=2)
    second.stop()


def test_a_hanging_sink_is_cut_short_by_closing_it(open_outbox: Open) -> None:
    outbox = open_outbox("hanging")
    sink = HangingSink()
    publisher = Publisher(outbox, [sink])
    outbox.append(numbered(2))
    publisher.start()
    assert sink.entered.wait(30)
    assert publisher.stop(drain_timeout_s=0.0) == {"hanging": 2}
    assert sink.released.is_set()


def test_a_refused_event_goes_to_the_dead_letters_and_the_rest_goes_on(open_outbox: Open, tmp_path: Path) -> None:
    outbox = open_outbox("memory")
    memory = MemorySink()
    publisher = Publisher(outbox, [FailingSink(memory, [EventRefused("too large", delivered=1)])])
    outbox.append(numbered(4))
    publisher.start()
    first, refused, *rest = numbered(4)
    assert check(memory.wait_for(3)) == [first, *rest]
    publisher.stop()
    (letter,) = [json.loads(line) for line in (tmp_path / "dead-letters.jsonl").read_text().splitlines()]
    assert_valid_document(letter["event"])
    assert Event.from_cloudevent(letter["event"]) == refused
    assert (letter["sink"], letter["reason"]) == ("memory", "too large")
    (figures,) = publisher.statistics()
    assert (figures.delivered, figures.refused, figures.pending, figures.retries) == (3, 1, 0, 0)


def test_dead_letters_that_cannot_be_written_are_a_failure_and_lose_nothing(open_outbox: Open, tmp_path: Path) -> None:
    outbox = open_outbox("memory")
    (tmp_path / "file").touch()
    told: queue.Queue[PublisherFailed] = queue.Queue()
    publisher = Publisher(
        outbox,
        [FailingSink(MemorySink(), [EventRefused("too large")])],
        dead_letters=tmp_path / "file" / "letters.jsonl",
        on_failure=told.put,
    )
    outbox.append(numbered(1))
    publisher.start()
    assert isinstance(told.get(timeout=30).__cause__, OSError)
    assert publisher.stop() == {"memory": 1}


def test_an_unexpected_error_surfaces_and_leaves_the_others_running(open_outbox: Open) -> None:
    outbox = open_outbox("a", "broken")
    memory = MemorySink("a")
    told: queue.Queue[PublisherFailed] = queue.Queue()
    broken = FailingSink(MemorySink("broken"), [ZeroDivisionError("a bug")])
    publisher = Publisher(outbox, [memory, broken], on_failure=told.put)
    publisher.start()
    outbox.append(numbered(1))
    failure = told.get(timeout=30)
    outbox.append(numbered(1, first=2))
    assert check(memory.wait_for(2)) == numbered(2)
    assert publisher.stop() == {"a": 0, "broken": 2}
    assert publisher.failure is failure
    assert told.empty()
    assert isinstance(failure.__cause__, ZeroDivisionError)
    assert "'broken' failed: ZeroDivisionError: a bug" in str(failure)
    assert publisher.statistics()[1].failing


def test_sinks_and_outbox_must_be_of_one_mind(open_outbox: Open) -> None:
    outbox = open_outbox("a", "b")
    with pytest.raises(ValueError, match=r"open for \['a', 'b'\], but the sinks are \['a'\]"):
        Publisher(outbox, [MemorySink("a")])


def test_a_publisher_starts_once(open_outbox: Open) -> None:
    publisher = Publisher(open_outbox("memory"), [MemorySink()])
    publisher.start()
    with pytest.raises(RuntimeError, match="started once"):
        publisher.start()
    publisher.stop()


def test_stopping_what_never_started_closes_the_sinks(open_outbox: Open) -> None:
    sink = MemorySink()
    outbox = open_outbox("memory")
    outbox.append(numbered(2))
    assert Publisher(outbox, [sink]).stop() == {"memory": 2}
    assert sink.closed


@pytest.mark.parametrize(
    ("failures", "delay_s"),
    [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5.0), (10_000_000, 5.0)],
)
def test_backoff(failures: int, delay_s: float) -> None:
    assert Backoff().delay_s(failures) == pytest.approx(delay_s)


@pytest.mark.parametrize(
    ("asked_s", "waited_s"),
    [
        pytest.param(None, 0.5, id="nothing-asked"),
        pytest.param(0.1, 0.5, id="less-than-our-own-wait"),
        pytest.param(30.0, 30.0, id="more"),
        pytest.param(1e9, 3600.0, id="years"),
    ],
)
def test_a_sink_may_be_asked_to_wait(open_outbox: Open, asked_s: float | None, waited_s: float) -> None:
    outbox = open_outbox("memory")
    memory = MemorySink()
    sink = FailingSink(memory, [SinkError("busy", retry_after_s=asked_s)])
    publisher = Publisher(outbox, [sink], backoff=Backoff(initial_s=0.5, max_s=0.5))
    waits = publisher._lanes[0]._stopping = NotedWaits()
    outbox.append(numbered(1))
    publisher.start()
    memory.wait_for(1)
    waits.set()
    publisher.stop()
    assert waits.noted == [waited_s]


def test_a_sink_may_have_its_own_backoff(open_outbox: Open) -> None:
    outbox = open_outbox("a", "b")
    memories = [MemorySink("a"), MemorySink("b")]
    sinks = [FailingSink(memory, [SinkError("away")]) for memory in memories]
    publisher = Publisher(
        outbox, sinks, backoff=Backoff(initial_s=1.0), backoffs={"b": Backoff(initial_s=7.0, max_s=9.0)}
    )
    waits = [NotedWaits() for _ in sinks]
    for lane, noted in zip(publisher._lanes, waits, strict=True):
        lane._stopping = noted
    outbox.append(numbered(1))
    publisher.start()
    for memory, noted in zip(memories, waits, strict=True):
        memory.wait_for(1)
        noted.set()
    publisher.stop()
    assert [noted.noted for noted in waits] == [[1.0], [7.0]]


def test_what_a_full_outbox_dropped_is_counted(tmp_path: Path) -> None:
    options = OutboxOptions(max_bytes=2_000_000, when_full=WhenFull.DROP_OLDEST)
    with Outbox.open(tmp_path / "outbox.db", ["memory"], options) as outbox:
        publisher = Publisher(outbox, [MemorySink(name="memory")])
        assert publisher.statistics()[0].dropped == 0
        for first in range(1, 20_000, 1000):
            outbox.append(numbered(1000, first=first))
        assert publisher.statistics()[0].dropped == outbox.dropped("memory") > 0
