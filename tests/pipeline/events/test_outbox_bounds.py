"""What happens at a bound: refusing, or dropping and saying so."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.errors import OutboxAtLimit, OutboxFull
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions, WhenFull
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE, DroppedPayload
from pipeline.events.read import payload_of
from tests.pipeline.events.examples import NOON_NS, camera_state, numbered
from tests.schemas import assert_valid

HOUR_S = 3600
MB = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOON_NS

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


Open = Callable[..., Outbox]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_outbox(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens the one outbox, and closes it before it is opened again."""
    opened: list[Outbox] = []

    def open_it(*sinks: str, **options: Any) -> Outbox:
        while opened:
            opened.pop().close()
        opened.append(Outbox.open(tmp_path / "outbox.db", sinks, OutboxOptions(**options), now_ns=clock))
        return opened[-1]

    yield open_it
    for outbox in opened:
        outbox.close()


def drain(outbox: Outbox, sink: str) -> list[Event]:
    events = []
    while rows := outbox.read(sink, 256):
        for _, event in rows:
            assert_valid(event)
            events.append(event)
        outbox.acknowledge(sink, rows[-1][0])
    return events


def told(events: list[Event]) -> list[DroppedPayload]:
    payloads = [payload_of(event) for event in events if event.type == OUTBOX_DROPPED_TYPE]
    assert all(isinstance(payload, DroppedPayload) for payload in payloads)
    return [payload for payload in payloads if isinstance(payload, DroppedPayload)]


def facts(events: list[Event]) -> list[str]:
    return [event.id for event in events if event.type != OUTBOX_DROPPED_TYPE]


def large(count: int, first: int = 1) -> list[Event]:
    """Events of some 2,300 bytes."""
    return [camera_state(number, detail="x" * 2000).to_event() for number in range(first, first + count)]


def fill(outbox: Outbox, count: int, first: int = 1) -> list[str]:
    events = large(count, first)
    for event in events:
        outbox.append([event])
    return [event.id for event in events]


def test_stop_by_size_refuses_and_loses_nothing(open_outbox: Open) -> None:
    outbox = open_outbox("a", "late", max_bytes=MB)
    stored: list[str] = []

    def store() -> None:
        for event in large(1000):
            outbox.append([event])
            stored.append(event.id)
            drain(outbox, "a")

    with pytest.raises(OutboxAtLimit, match=r"holds 1\.0 MB: \d+ events wait for late\. Nothing more is") as caught:
        store()
    assert isinstance(caught.value, OutboxFull)
    assert "raise outbox.max_mb" in str(caught.value)
    assert 200 < len(stored) < 500
    with pytest.raises(OutboxAtLimit):
        outbox.append(large(1))
    assert facts(drain(outbox, "late")) == stored
    outbox.append(large(1))  # and now there is room


def test_stop_by_age_refuses_until_the_sink_has_it(open_outbox: Open, clock: Clock) -> None:
    outbox = open_outbox("a", max_age_s=HOUR_S)
    outbox.append(numbered(1))
    clock.pass_s(HOUR_S)
    outbox.append(numbered(1, first=2))
    clock.pass_s(1)
    with pytest.raises(OutboxAtLimit, match=r"an event that waits too long.*raise outbox\.max_age_h"):
        outbox.append(numbered(1, first=3))
    outbox.acknowledge("a", 1)
    assert outbox.append(numbered(1, first=3)) == 3


def test_stop_by_age_does_not_count_the_time_in_which_nothing_ran(open_outbox: Open, clock: Clock) -> None:
    open_outbox("a", max_age_s=HOUR_S).append(numbered(1))
    clock.pass_s(72 * HOUR_S)
    outbox = open_outbox("a", max_age_s=HOUR_S)
    assert outbox.append(numbered(1, first=2)) == 2


def test_dropping_by_size_says_who_misses_what(open_outbox: Open, caplog: pytest.LogCaptureFixture) -> None:
    outbox = open_outbox("late", "quick", max_bytes=2 * MB, when_full=WhenFull.DROP_OLDEST, site="berlin")
    ids: list[str] = []
    quick: list[Event] = []
    with caplog.at_level(logging.WARNING):
        while not outbox.dropped("late"):
            ids += fill(outbox, 1, first=len(ids) + 1)
            quick += drain(outbox, "quick")
    late = drain(outbox, "late")
    quick += drain(outbox, "quick")
    (notice,) = told(late)
    assert told(quick) == [notice]
    assert facts(quick) == ids, "who keeps up misses nothing"
    (drop,) = notice.sinks
    assert (drop.sink, drop.first_sequence, drop.last_sequence) == ("late", 1, drop.dropped)
    assert drop.dropped == drop.total == outbox.dropped("late") == (len(ids) - 1) // 16
    assert outbox.dropped("quick") == 0
    assert facts(late) == ids[drop.dropped :], "the oldest are missing and no other"
    assert (drop.first_ns, drop.last_ns) == (NOON_NS + 1_000_000, NOON_NS + drop.dropped * 1_000_000)
    (event,) = [event for event in late if event.type == OUTBOX_DROPPED_TYPE]
    assert (event.source, event.subject) == (f"/vidface/berlin/outboxes/{notice.outbox}", "vidface:outbox")
    assert event.camera == event.subject
    assert f"reached its bound of size: the oldest events were dropped for late ({drop.dropped})" in caplog.text


def test_what_says_so_may_be_dropped_and_nothing_is_forgotten(open_outbox: Open) -> None:
    """A sink that is away for long gets the latest account, which holds the earlier ones."""
    outbox = open_outbox("late", max_bytes=2 * MB, when_full=WhenFull.DROP_OLDEST)
    ids = fill(outbox, 2000)
    late = drain(outbox, "late")
    last = told(late)[-1].sinks[0]
    delivered = facts(late)
    assert len(delivered) + last.dropped == len(ids)
    assert delivered == ids[last.dropped :]
    assert last.first_sequence == 1
    assert last.dropped == last.total > 1000
    # It was told: from here on it is counted anew, and the total goes on.
    more = fill(outbox, 1000, first=2001)
    late = drain(outbox, "late")
    fresh = told(late)[-1].sinks[0]
    assert facts(late) == more[fresh.dropped :]
    assert fresh.total == last.total + fresh.dropped
    assert fresh.first_sequence > last.last_sequence


def test_accounts_outlive_the_process_and_ids_do_not_repeat(open_outbox: Open) -> None:
    options: dict[str, Any] = {"max_bytes": 2 * MB, "when_full": WhenFull.DROP_OLDEST}
    outbox = open_outbox("late", **options)
    ids = fill(outbox, 1000)
    outbox = open_outbox("late", **options)
    ids += fill(outbox, 1000, first=1001)
    late = drain(outbox, "late")
    last = told(late)[-1].sinks[0]
    assert facts(late) == ids[last.dropped :]
    assert last.first_sequence == 1
    assert max(Counter((event.source, event.id) for event in late).values()) == 1


def test_each_sink_has_its_own_account(open_outbox: Open) -> None:
    outbox = open_outbox("half", "late", max_bytes=2 * MB, when_full=WhenFull.DROP_OLDEST)
    ids = fill(outbox, 300)
    assert facts(drain(outbox, "half")) == ids
    while not outbox.dropped("half"):
        ids += fill(outbox, 1, first=len(ids) + 1)
    half, late = drain(outbox, "half"), drain(outbox, "late")
    for sink, events, had in (("half", half, 300), ("late", late, 0)):
        (account,) = [drop for drop in told(events)[-1].sinks if drop.sink == sink]
        assert facts(events) == ids[had + account.dropped :]
        assert account.first_sequence == had + 1
    assert told(half)[-1] == told(late)[-1]


def test_an_acknowledgement_of_what_was_dropped_meanwhile_does_nothing(open_outbox: Open) -> None:
    outbox = open_outbox("late", max_bytes=2 * MB, when_full=WhenFull.DROP_OLDEST)
    fill(outbox, 100)
    rows = outbox.read("late", 10)  # being delivered
    fill(outbox, 1500, first=101)
    pending = outbox.pending("late")
    outbox.acknowledge("late", rows[-1][0])
    assert outbox.pending("late") == pending == len(drain(outbox, "late"))


def test_dropping_by_age(open_outbox: Open, clock: Clock) -> None:
    outbox = open_outbox("late", max_age_s=HOUR_S, when_full=WhenFull.DROP_OLDEST)
    outbox.append(numbered(3))
    clock.pass_s(HOUR_S / 2)
    outbox.append(numbered(2, first=4))
    clock.pass_s(HOUR_S / 2 + 1)
    outbox.append(numbered(1, first=6))
    late = drain(outbox, "late")
    assert facts(late) == [event.id for event in numbered(3, first=4)]
    (notice,) = told(late)
    assert (notice.reason.value, notice.sinks[0].dropped) == ("age", 3)
    assert notice.at_ns == clock.now_ns


def test_age_is_looked_after_while_nothing_is_appended(open_outbox: Open, clock: Clock) -> None:
    """Another sink's idle thread does it, and wakes the others for the event that says so."""
    outbox = open_outbox("idle", "late", max_age_s=HOUR_S, when_full=WhenFull.DROP_OLDEST)
    outbox.append(numbered(3))
    drain(outbox, "idle")
    answers: list[bool] = []
    idle = threading.Thread(target=lambda: answers.append(outbox.wait("idle", 60)))
    idle.start()
    clock.pass_s(HOUR_S + 1)
    outbox.wake()
    idle.join(60)
    assert answers == [True]
    assert told(drain(outbox, "idle"))[0].sinks[0].sink == "late"
    assert facts(drain(outbox, "late")) == []


def test_bounds_that_were_lowered_hold_from_the_opening_on(open_outbox: Open) -> None:
    ids = fill(open_outbox("late"), 2000)
    outbox = open_outbox("late", max_bytes=MB, when_full=WhenFull.DROP_OLDEST)
    late = drain(outbox, "late")
    assert len(told(late)) < 4
    assert facts(late) == ids[told(late)[-1].sinks[0].dropped :]
    assert 150 < len(late) < 500


def test_an_event_larger_than_the_bound_is_taken_all_the_same(open_outbox: Open) -> None:
    outbox = open_outbox("late", max_bytes=100_000, when_full=WhenFull.DROP_OLDEST)
    ids = fill(outbox, 20, first=101)
    for number in range(1, 6):
        event = camera_state(number, detail="x" * 200_000).to_event()
        outbox.append([event])
        ids.append(event.id)
    assert facts(drain(outbox, "late"))[-1] == ids[-1]
