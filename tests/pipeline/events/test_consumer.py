"""The consumer over files: no broker, the same loop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.consumer import EventConsumer, Retry, stopped_by
from pipeline.events.errors import FeedError, HandlerFailed
from pipeline.events.event import Event
from pipeline.events.feed_jsonl import JsonlFeed
from pipeline.events.freshness import Freshness
from pipeline.events.ledger import Ledger
from pipeline.events.payload import CameraStatePayload, SightingPayload
from pipeline.events.publisher import Backoff
from pipeline.events.received import ConsumerStatistics, Gap, Malformed, Received, Refused
from tests.pipeline.events.examples import NOON_NS, camera_state, sighting
from tests.schemas import assert_valid

AT_ONCE = Backoff(initial_s=0.0, max_s=0.0)


def told(numbers: Sequence[int], *, camera: str = "lobby", epoch: int = 1, **changes: Any) -> list[Event]:
    """Sighting events of one camera, numbered so within an epoch."""
    events = [
        sighting(camera=camera, epoch=epoch, track=number, camera_sequence=number, **changes).to_event()
        for number in numbers
    ]
    for event in events:
        assert_valid(event)
    return events


def write(path: Path, events: Sequence[Event | str]) -> Path:
    lines = [each if isinstance(each, str) else each.to_json() for each in events]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def consumed(path: Path, handle: Callable[[Received], None] | None = None, **options: Any) -> ConsumerStatistics:
    with EventConsumer.from_jsonl(path, **{"max_age_s": 1.0, **options}) as consumer:
        consumer.run(handle or (lambda _received: None))
        return consumer.statistics


def test_events_come_typed_and_in_order(path: Path) -> None:
    events = [camera_state(1).to_event(), *told([1, 2]), *told([1], camera="gate"), *told([3])]
    seen: list[Received] = []
    statistics = consumed(write(path, events), seen.append)
    assert [each.event for each in seen] == events
    assert [type(each.payload) for each in seen] == [CameraStatePayload, *[SightingPayload] * 4]
    assert [each.age_s for each in seen] == [None, *[0.084] * 4]
    assert seen[1].place == f"{path}, line at byte {len(events[0].to_json()) + 1}"
    assert statistics == ConsumerStatistics(handled=5)


def test_what_comes_twice_is_handled_once_also_after_a_restart(path: Path, tmp_path: Path) -> None:
    first, second = told([1, 2])
    write(path, [first, second, first, second, second])
    seen: list[Received] = []
    ledger = tmp_path / "ledger.db"
    assert consumed(path, seen.append, ledger=ledger) == ConsumerStatistics(handled=2, duplicates=3)
    assert consumed(path, seen.append, ledger=ledger) == ConsumerStatistics(duplicates=5)
    assert [each.event for each in seen] == [first, second]
    assert ledger.stat().st_mode & 0o077 == 0


def test_the_same_id_of_another_source_is_another_event(path: Path) -> None:
    payload = sighting(camera_sequence=1)
    write(path, [payload.to_event(), payload.to_event(site="berlin")])
    assert consumed(path) == ConsumerStatistics(handled=2)


@pytest.mark.parametrize(
    ("event", "options", "refused"),
    [
        pytest.param(sighting(decided_ns=NOON_NS + 10**9), {}, None, id="just-fresh"),
        pytest.param(sighting(decided_ns=NOON_NS + 10**9 + 10**6), {}, "captured 1.001 s ago", id="just-stale"),
        pytest.param(sighting(decided_ns=NOON_NS + 10**15), {"max_age_s": None}, None, id="any-age"),
        pytest.param(sighting(decided_ns=NOON_NS - 3 * 10**9), {}, "3.000 s in the future", id="future"),
        pytest.param(sighting(decided_ns=NOON_NS - 10**9), {}, None, id="clocks-differ-a-little"),
        pytest.param(sighting(live=False), {}, "of a recording", id="recording"),
        pytest.param(sighting(live=False), {"max_age_s": None}, "of a recording", id="recording-of-any-age"),
        pytest.param(sighting(live=False), {"recordings": True}, None, id="recording-allowed"),
        pytest.param(camera_state(), {}, None, id="camera-state"),
    ],
)
def test_what_is_too_old_is_refused(
    path: Path, event: SightingPayload | CameraStatePayload, options: dict[str, Any], refused: str | None
) -> None:
    if isinstance(event, SightingPayload):
        event = replace(event, camera_sequence=1)
    seen: list[Received] = []
    refusals: list[Refused] = []
    statistics = consumed(write(path, [event.to_event()]), seen.append, on_refused=refusals.append, **options)
    assert (statistics.handled, statistics.stale) == ((1, 0) if refused is None else (0, 1))
    assert len(seen) == statistics.handled
    if refused is not None:
        assert refused in refusals[0].reason
        assert refusals[0].event.id == event.event_id


def test_age_counts_to_the_moment_of_handling(path: Path) -> None:
    """An event that was fresh when it was decided has waited since."""
    write(path, told([1]))
    assert consumed(path, as_recorded=False).stale == 1
    assert consumed(path, as_recorded=True).stale == 0


def test_an_event_that_grows_old_while_its_handler_fails_is_refused(path: Path) -> None:
    write(path, told([1]))
    now_ns = [NOON_NS + 10**8]

    def fail_and_take_long(_received: Received) -> None:
        now_ns[0] += 6 * 10**8
        raise ConnectionError("the door does not answer")

    feed = JsonlFeed([path])
    with EventConsumer(
        feed,
        Ledger.open(None, feed.name),
        Freshness(max_age_s=1.0),
        retry=Retry(attempts=None, backoff=AT_ONCE),
        now_ns=lambda: now_ns[0],
    ) as consumer:
        consumer.run(fail_and_take_long)
    assert consumer.statistics == ConsumerStatistics(failures=2, stale=1)
    assert feed.committed == {str(path): path.stat().st_size}


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_an_age_that_means_nothing_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="max_age_s"):
        Freshness(max_age_s=limit)
    if limit:
        with pytest.raises(ValueError, match="max_skew_s"):
            Freshness(max_age_s=1.0, max_skew_s=limit)


@pytest.mark.parametrize(
    ("events", "gaps"),
    [
        pytest.param(told([1, 2, 3]), [], id="none"),
        pytest.param(told([1, 2, 5]), [(1, 3, 5)], id="jump"),
        pytest.param([*told([1, 2]), *told([3], epoch=2)], [(2, 1, 3)], id="epoch-starts-late"),
        pytest.param([*told([1, 2]), *told([1], epoch=7)], [], id="new-epoch"),
        pytest.param(told([4, 5]), [(1, 1, 4)], id="first-ever-starts-late"),
        pytest.param(told([1, 2, 1, 2, 3]), [], id="duplicates"),
        pytest.param([*told([1, 4]), *told([1, 4, 5])], [(1, 2, 4)], id="a-gap-is-told-once"),
        pytest.param([*told([1, 4, 2, 3, 5])], [(1, 2, 4)], id="late-ones"),
        pytest.param([*told([1]), *told([1], camera="gate"), *told([2])], [], id="cameras-apart"),
        pytest.param([*told([1]), *told([1], epoch=2), *told([2]), *told([2], epoch=2)], [], id="old-epoch-again"),
        pytest.param([*told([1, 2], live=False), *told([4])], [(1, 3, 4)], id="refused-ones-were-not-lost"),
        pytest.param([*told([1]), "nonsense", *told([3])], [(1, 2, 3)], id="poison-is-a-loss"),
    ],
)
def test_gaps(path: Path, events: list[Event | str], gaps: list[tuple[int, int, int]]) -> None:
    found: list[Gap] = []
    statistics = consumed(write(path, events), on_gap=found.append)
    assert [(gap.epoch, gap.expected, gap.found) for gap in found] == gaps
    assert {gap.source for gap in found} <= {"/vidface/cameras/lobby"}
    assert (statistics.gaps, statistics.missing) == (len(gaps), sum(late - first for _, first, late in gaps))


def test_a_gap_across_a_restart_is_found(path: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    assert consumed(write(path, told([1, 2])), ledger=ledger).gaps == 0
    assert consumed(write(path, told([3, 5])), ledger=ledger).missing == 1


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param("", id="empty"),
        pytest.param("nonsense", id="no-json"),
        pytest.param("[" * 100_000, id="too-deep"),
        pytest.param('{"specversion":"1.0"}', id="no-data"),
        pytest.param(told([2])[0].to_json().replace('"quality":0.83', '"quality":NaN'), id="nan"),
        pytest.param(told([2])[0].to_json().replace('"quality":0.83,', ""), id="field-missing"),
        pytest.param(told([2])[0].to_json().replace('"id":"lobby/1/2/3"', '"id":"other"'), id="id-of-another"),
    ],
)
def test_poison_is_counted_told_and_passed_over(path: Path, poison: str, caplog: pytest.LogCaptureFixture) -> None:
    first, third = told([1, 3])
    seen: list[Received] = []
    malformed: list[Malformed] = []
    statistics = consumed(write(path, [first, poison, third]), seen.append, on_malformed=malformed.append)
    assert [each.event for each in seen] == [first, third]
    assert (statistics.malformed, statistics.handled) == (1, 2)
    place = f"{path}, line at byte {len(first.to_json().encode()) + 1}"
    assert malformed[0].place == place
    assert malformed[0].value.decode() == poison + "\n"
    assert poison not in repr(malformed[0]) or not poison
    assert place in caplog.text


def test_types_of_the_future_are_passed_over(path: Path) -> None:
    event = replace(told([1])[0], type="vidface.visitor.counted")
    assert consumed(write(path, [event])) == ConsumerStatistics(unknown=1)


def failing(times: int, seen: list[str]) -> Callable[[Received], None]:
    left = [times]

    def handle(received: Received) -> None:
        seen.append(received.event.id)
        if received.event.id == "lobby/1/2/3" and left[0]:
            left[0] -= 1
            raise RuntimeError("no")

    return handle


def test_a_handler_that_raises_stops_and_commits_what_was_before_it(path: Path) -> None:
    events = told([1, 2, 3])
    write(path, events)
    feed = JsonlFeed([path])
    seen: list[str] = []
    handle = failing(1, seen)
    with EventConsumer(feed, Ledger.open(None, feed.name), Freshness(max_age_s=None)) as consumer:
        with pytest.raises(HandlerFailed, match=r"lobby/1/2/3 .*events.jsonl.* attempt 1: RuntimeError: no") as caught:
            consumer.run(handle)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert feed.committed == {str(path): len(events[0].to_json().encode()) + 1}
        assert consumer.statistics == ConsumerStatistics(handled=1, failures=1)
        consumer.run(handle)  # whoever runs it again gets that event again, and none is skipped
    assert seen == [events[0].id, events[1].id, events[1].id, events[2].id]
    assert consumer.statistics == ConsumerStatistics(handled=3, failures=1)
    assert feed.committed == {str(path): path.stat().st_size}


@pytest.mark.parametrize(("attempts", "done"), [(2, False), (3, True), (None, True)])
def test_a_handler_is_tried_as_often_as_the_policy_says(path: Path, attempts: int | None, done: bool) -> None:
    events = told([1, 2, 3])
    seen: list[str] = []
    with EventConsumer.from_jsonl(
        write(path, events), max_age_s=1.0, retry=Retry(attempts=attempts, backoff=AT_ONCE)
    ) as consumer:
        if done:
            consumer.run(failing(2, seen))
        else:
            with pytest.raises(HandlerFailed, match="attempt 2"):
                consumer.run(failing(2, seen))
    assert seen == [events[0].id, *[events[1].id] * (3 if done else 2), *([events[2].id] if done else [])]
    assert consumer.statistics.handled == (3 if done else 1)


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least once"):
        Retry(attempts=0)


def test_what_was_handled_before_a_failure_is_not_handled_again_by_the_next_process(path: Path, tmp_path: Path) -> None:
    write(path, told([1, 2, 3]))
    seen: list[str] = []
    ledger = tmp_path / "ledger.db"
    with pytest.raises(HandlerFailed):
        consumed(path, failing(1, seen), ledger=ledger)
    consumed(path, failing(0, seen), ledger=ledger)
    assert seen == ["lobby/1/1/3", "lobby/1/2/3", "lobby/1/2/3", "lobby/1/3/3"]


def test_a_callback_that_raises_is_not_swallowed(path: Path) -> None:
    def refuse(_malformed: Malformed) -> None:
        raise LookupError("told")

    with pytest.raises(LookupError, match="told"):
        consumed(write(path, ["nonsense"]), on_malformed=refuse)


def test_a_handler_may_stop_it_and_it_goes_on_from_there(path: Path) -> None:
    events = told([1, 2, 3])
    seen: list[Event] = []
    with EventConsumer.from_jsonl(write(path, events), max_age_s=1.0) as consumer:

        def handle(received: Received) -> None:
            seen.append(received.event)
            consumer.stop()

        consumer.run(handle)
        assert seen == events[:1]
        consumer.run(handle)
        assert seen == events[:2]


def test_a_handler_may_close_it(path: Path) -> None:
    with EventConsumer.from_jsonl(write(path, told([1, 2])), max_age_s=1.0) as consumer:
        consumer.run(lambda _received: consumer.close())
        assert consumer.statistics.handled == 1
        with pytest.raises(RuntimeError, match="closed"):
            consumer.run(lambda _received: None)


def test_closing_from_another_thread_waits_for_the_handler(path: Path) -> None:
    events = told([1, 2, 3])
    consumer = EventConsumer.from_jsonl(write(path, events), max_age_s=1.0)
    inside, go_on = threading.Event(), threading.Event()
    seen: list[Event] = []

    def handle(received: Received) -> None:
        inside.set()
        assert go_on.wait(30)
        seen.append(received.event)

    runner = threading.Thread(target=consumer.run, args=(handle,))
    closer = threading.Thread(target=consumer.close)
    runner.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match="one thread"):
        consumer.run(handle)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    go_on.set()
    closer.join(30)
    runner.join(30)
    assert seen == events[:1]
    assert consumer.statistics.handled == 1


def test_a_signal_stops_it_in_order(path: Path) -> None:
    write(path, told([1, 2]))
    before = signal.getsignal(signal.SIGUSR1)
    with EventConsumer.from_jsonl(path, max_age_s=1.0) as consumer, stopped_by(consumer, signal.SIGUSR1):
        consumer.run(lambda _received: signal.raise_signal(signal.SIGUSR1))
    assert consumer.statistics.handled == 1
    assert signal.getsignal(signal.SIGUSR1) is before


def test_several_files_are_one_story(tmp_path: Path) -> None:
    paths = [write(tmp_path / "1.jsonl", told([1, 2])), write(tmp_path / "2.jsonl", told([3, 4]))]
    with EventConsumer.from_jsonl(*paths, max_age_s=1.0) as consumer:
        seen: list[str] = []
        with pytest.raises(HandlerFailed):
            consumer.run(failing(1, seen))
        consumer.run(lambda received: seen.append(received.event.id))
    assert seen == [f"lobby/1/{number}/3" for number in (1, 2, 2, 3, 4)]
    assert consumer.statistics.gaps == 0


def test_half_a_line_is_left(path: Path) -> None:
    write(path, told([1]))
    with path.open("a") as file:
        file.write('{"half')
    assert consumed(path) == ConsumerStatistics(handled=1)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(FeedError, match=r"events\.jsonl: No such file"):
        consumed(path)


def test_nothing_that_names_people_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        consumed(write(path, [*told([1, 3]), *told([4], live=False)]))
    assert "missing before" in caplog.text
    assert "Alice" not in caplog.text
