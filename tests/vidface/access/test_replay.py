from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.events.event import Event
from tests.pipeline.events.examples import NOON_NS
from tests.vidface.access.made import ALICE, BOB, MALLORY, SECOND_NS, door, revised, seen, site
from vidface.access.reason import Reason
from vidface.access.replay import replay
from vidface.access.summary import Summary

DOORS = site(door(hold_off_ns=10 * SECOND_NS))


def written(path: Path, *events: Event | str) -> Path:
    lines = [event if isinstance(event, str) else event.to_json() for event in events]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def reasons(path: Path) -> list[Reason]:
    return [decision.reason for decision in replay(DOORS, path)]


def test_time_is_taken_from_the_events(tmp_path: Path) -> None:
    day_ns = 86_400 * SECOND_NS
    late = seen(track=8, now_ns=NOON_NS + SECOND_NS)
    next_day = seen(track=9, now_ns=NOON_NS + day_ns)
    path = written(tmp_path / "events.jsonl", seen(), late, next_day)
    assert reasons(path) == [Reason.ALLOWED, Reason.HOLD_OFF, Reason.ALLOWED]
    assert [each.decided_ns for each in replay(DOORS, path)] == [event.time_ns for event in (seen(), late, next_day)]


@pytest.mark.parametrize(
    ("took_s", "live", "reason"),
    [
        pytest.param(2.9, True, Reason.ALLOWED, id="decided-in-time"),
        pytest.param(3.1, True, Reason.STALE, id="decided-too-late"),
        pytest.param(3600, False, Reason.ALLOWED, id="a-recording-knows-no-age"),
        pytest.param(-3600, False, Reason.ALLOWED, id="a-recording-quicker-than-life"),
    ],
)
def test_age(tmp_path: Path, took_s: float, live: bool, reason: Reason) -> None:
    event = seen(age_s=0, decided_ns=NOON_NS + round(took_s * SECOND_NS), live=live)
    assert reasons(written(tmp_path / "events.jsonl", event)) == [reason]


def test_what_is_wrong_in_the_file_is_told_and_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", "first", seen(), seen(), "{}", revised(ALICE, None), "last")
    assert reasons(path) == [
        Reason.MALFORMED,
        Reason.ALLOWED,
        Reason.DUPLICATE,
        Reason.MALFORMED,
        Reason.TAKEN_BACK,
        Reason.MALFORMED,
    ]


def test_nothing_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "events.jsonl", seen())
    assert reasons(path) == reasons(path) == [Reason.ALLOWED]
    assert list(tmp_path.iterdir()) == [path]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        reasons(tmp_path / "events.jsonl")


def test_the_summary(tmp_path: Path) -> None:
    events = [
        seen(),
        seen(track=8, now_ns=NOON_NS + SECOND_NS),
        seen(track=9, now_ns=NOON_NS + 2 * SECOND_NS),
        seen(BOB, track=10),
        seen(MALLORY, track=11),
        seen(camera="attic"),
    ]
    summary = Summary()
    for decision in replay(DOORS, written(tmp_path / "events.jsonl", *events)):
        summary.add(decision)
    told = summary.to_json()
    assert (told["opened"], told["refused"]) == (2, 4)
    assert told["refused_by_reason"] == {"hold_off": 2, "not_permitted": 1, "unknown_camera": 1}
    assert [(each["door"], each["person"]["name"], each["opened"], each["refused"]) for each in told["tallies"]] == [
        ("main", "Alice", 1, 2),
        ("main", "Bob", 1, 0),
        ("main", "Mallory", 0, 1),
        (None, "Alice", 0, 1),
    ]
    assert told["tallies"][0]["refused_by_reason"] == {"hold_off": 2}


def test_an_opening_for_two_is_one_opening_of_each() -> None:
    from tests.vidface.access.made import Bench

    bench = Bench(site(door(two_people_ns=SECOND_NS)))
    summary = Summary()
    for event in (seen(), seen(BOB, track=8)):
        for decision in bench(event):
            summary.add(decision)
    bench.close()
    assert summary.opened == 1
    assert [(each.name, each.opened) for each in summary.tallies()] == [("Alice", 1), ("Bob", 1)]
