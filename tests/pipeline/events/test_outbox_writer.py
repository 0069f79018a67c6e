"""Storing events apart from the thread that emits them: order, ends, and what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.events.errors import OutboxAtLimit, OutboxClosed
from pipeline.events.event import Event
from pipeline.events.fake import MemorySink
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions
from pipeline.events.outbox_writer import MAX_WAITING, OutboxWriter, StoredDelivery
from pipeline.events.publisher import Publisher
from tests.pipeline.events.examples import numbered

SINK = "memory"
PATIENCE_S = 10.0


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db", [SINK]) as outbox:
        yield outbox


def put_one_by_one(writer: OutboxWriter, events: Sequence[Event]) -> None:
    for event in events:
        writer.put([event])


def ids(outbox: Outbox) -> list[str]:
    return [event.id for _, event in outbox.read(SINK, 10_000)]


def test_all_is_stored_in_order_once_it_is_stopped(outbox: Outbox) -> None:
    stored: list[Event] = []
    writer = OutboxWriter(outbox, on_stored=stored.extend)
    writer.start()
    events = numbered(1000)
    for first in range(0, 1000, 5):
        writer.put(events[first : first + 5])
    writer.stop()
    assert ids(outbox) == [event.id for event in events]
    assert stored == events


def test_no_events_are_no_call(outbox: Outbox) -> None:
    writer = OutboxWriter(outbox)
    writer.put([])
    writer.stop()
    assert ids(outbox) == []


def test_after_the_end_nothing_is_taken(outbox: Outbox) -> None:
    writer = OutboxWriter(outbox)
    writer.start()
    writer.stop()
    writer.stop()
    with pytest.raises(OutboxClosed):
        writer.put(numbered(1))


def test_what_waits_is_stored_as_one(outbox: Outbox) -> None:
    """Calls that came while nobody could store become one transaction, within bounds."""
    batches: list[int] = []
    writer = OutboxWriter(outbox, on_stored=lambda events: batches.append(len(events)))
    put_one_by_one(writer, numbered(300))
    writer.start()
    writer.stop()
    assert batches == [256, 44]


def test_a_failure_is_told_and_raised_to_whoever_emits_next(tmp_path: Path) -> None:
    told: list[Exception] = []
    known = threading.Event()

    def on_failure(error: Exception) -> None:
        told.append(error)
        known.set()

    options = OutboxOptions(max_bytes=100_000)
    with Outbox.open(tmp_path / "outbox.db", [SINK], options) as outbox:
        writer = OutboxWriter(outbox, on_failure=on_failure)
        writer.start()
        with pytest.raises(OutboxAtLimit):
            put_one_by_one(writer, numbered(10_000))
        assert known.wait(PATIENCE_S)
        assert [type(error) for error in told] == [OutboxAtLimit]
        held = ids(outbox)
        with pytest.raises(OutboxAtLimit):
            writer.put(numbered(1))
        writer.stop()
        assert held == ids(outbox) == [event.id for event in numbered(len(held))]


def test_whoever_emits_waits_where_storing_falls_behind(outbox: Outbox) -> None:
    may_go_on = threading.Event()

    def stored(_events: Sequence[Event]) -> None:
        may_go_on.wait(PATIENCE_S)

    writer = OutboxWriter(outbox, on_stored=stored)
    count = MAX_WAITING + 600
    put: list[int] = []

    def emit() -> None:
        for number, event in enumerate(numbered(count)):
            writer.put([event])
            put.append(number)

    writer.put(numbered(1, camera="first"))
    writer.start()
    emitter = threading.Thread(target=emit)
    emitter.start()
    emitter.join(0.5)
    assert emitter.is_alive()
    assert len(put) <= MAX_WAITING + 256
    may_go_on.set()
    emitter.join(PATIENCE_S)
    writer.stop()
    assert len(ids(outbox)) == count + 1


def test_what_is_said_last_is_stored_and_delivered_before_the_end(outbox: Outbox) -> None:
    sink = MemorySink(name=SINK)
    writer = OutboxWriter(outbox)
    delivery = StoredDelivery(writer, Publisher(outbox, [sink]))
    delivery.start()
    events = numbered(500)
    put_one_by_one(writer, events)
    delivery.stop(drain_timeout_s=PATIENCE_S)
    assert sink.events == events
