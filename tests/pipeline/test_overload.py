"""Who is told as overloaded: from counts alone, with the time passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.overload import LEFT_OUT, WINDOW_S, CameraLoad, LoadWatch
from pipeline.scheduler import Policy, Share

DOOR = frozenset({"door"})
WANTS_TEN = Share(camera="door", policy=Policy.LIVE, fps=10.0)


class Watched:
    """A watch over one camera that wants 10 detections a second, fed second by second."""

    def __init__(self) -> None:
        self.watch = LoadWatch([WANTS_TEN])
        self.now_s = 100.0
        self.counts: dict[str, int] = {"detected": 0}

    def second(self, *, live: bool = True, **frames: int) -> tuple[CameraLoad | None, bool]:
        """One second passes; the load, and whether a change was told."""
        for outcome, count in frames.items():
            self.counts[outcome] = self.counts.get(outcome, 0) + count
        self.now_s += 1.0
        loads, changed = self.watch.look(self.now_s, {"door": dict(self.counts)}, DOOR if live else frozenset())
        return loads.get("door"), changed == ("door",)

    def seconds(self, count: int, **frames: int) -> list[bool]:
        """Whether each told a change."""
        return [self.second(live=True, **frames)[1] for _ in range(count)]


def test_nothing_is_said_before_a_whole_window() -> None:
    watched = Watched()
    window = int(WINDOW_S)
    assert [watched.second(detected=1, superseded=20) for _ in range(window)] == [(None, False)] * window
    load, told = watched.second(detected=1, superseded=20)
    assert told
    assert load == CameraLoad(wanted_fps=10.0, granted_fps=1.0, left_out_fps=20.0, overloaded=True)


@pytest.mark.parametrize("outcome", sorted(LEFT_OUT))
def test_whatever_was_left_out_for_lack_of_time_is_overload(outcome: str) -> None:
    assert Watched().seconds(6, detected=1, **{outcome: 20}) == [False] * 5 + [True]


@pytest.mark.parametrize("others", [{}, {"not_due": 20}, {"undelivered": 20}])
def test_a_camera_that_sends_little_is_no_overload(others: Mapping[str, int]) -> None:
    assert not any(Watched().seconds(20, detected=1, **others))


def test_a_few_frames_left_out_are_no_overload() -> None:
    assert not any(Watched().seconds(20, detected=9, superseded=3))


def test_a_rate_between_the_bounds_changes_nothing() -> None:
    watched = Watched()
    assert sum(watched.seconds(10, detected=5, superseded=5)) == 1
    assert not any(watched.seconds(20, detected=9, superseded=1))
    load, _ = watched.second(detected=9, superseded=1)
    assert load is not None
    assert load.overloaded


@pytest.mark.parametrize("after", [{"detected": 10, "superseded": 1}, {"detected": 3}])
def test_it_recovers_by_its_rate_or_because_nothing_is_left_out(after: Mapping[str, int]) -> None:
    watched = Watched()
    assert sum(watched.seconds(10, detected=5, superseded=5)) == 1
    told = watched.seconds(12, **after)
    assert sum(told) == 1
    assert told.index(True) < WINDOW_S + 1
    load, _ = watched.second(live=True, **after)
    assert load is not None
    assert not load.overloaded


def test_a_camera_that_was_away_begins_anew() -> None:
    watched = Watched()
    assert sum(watched.seconds(10, detected=5, superseded=5)) == 1
    assert watched.second(detected=0, live=False) == (None, False)
    assert watched.seconds(6, detected=5, superseded=5) == [False] * 5 + [True], "told again, for the new connection"


def test_cameras_are_told_apart() -> None:
    watch = LoadWatch([WANTS_TEN, replace(WANTS_TEN, camera="hall")])
    for second in range(6):
        counts = {"door": {"detected": 2 * second, "superseded": 9 * second}, "hall": {"detected": 10 * second}}
        loads, changed = watch.look(float(second), counts, frozenset({"door", "hall"}))
    assert changed == ("door",)
    assert {camera: load.overloaded for camera, load in loads.items()} == {"door": True, "hall": False}


def test_a_recording_is_not_watched() -> None:
    watch = LoadWatch([replace(WANTS_TEN, policy=Policy.RECORDED)])
    assert watch.look(9.0, {"door": {"superseded": 9}}, DOOR) == ({}, ())


@pytest.mark.parametrize(
    ("every", "outcomes", "wanted_fps", "overloaded"),
    [
        (1, {"detected": 4, "superseded": 3, "skipped_late": 3}, 10.0, True),
        (1, {"detected": 9, "superseded": 1}, 10.0, False),
        (5, {"detected": 4, "not_due": 16}, 4.0, False),
        (5, {"detected": 2, "not_due": 8, "skipped_late": 15}, 5.0, True),
        (5, {"detected": 4, "not_due": 16, "skipped_unreferenced": 1}, 4.2, False),
        (1, {}, 0.0, False),
    ],
)
def test_a_camera_without_a_rate_wants_the_frames_that_there_are(
    every: int, outcomes: Mapping[str, int], wanted_fps: float, overloaded: bool
) -> None:
    watch = LoadWatch([Share(camera="door", policy=Policy.LIVE, every=every)])
    for second in range(int(WINDOW_S) + 1):
        counts = {"door": {outcome: frames * second for outcome, frames in outcomes.items()}}
        loads, _ = watch.look(float(second), counts, DOOR)
    assert loads["door"].wanted_fps == pytest.approx(wanted_fps)
    assert loads["door"].overloaded == overloaded


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20), st.booleans()), max_size=60))
def test_what_is_told_is_always_a_change(seconds: list[tuple[int, int, bool]]) -> None:
    watched = Watched()
    overloaded = False
    for detected, superseded, live in seconds:
        load, told = watched.second(detected=detected, superseded=superseded, live=live)
        if not live:
            overloaded = False
            assert load is None
        if load is not None:
            assert told == (load.overloaded != overloaded)
            overloaded = load.overloaded
        assert not (told and load is None)
