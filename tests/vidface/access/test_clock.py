from __future__ import annotations

import pytest

from tests.vidface.access.made import SECOND_NS
from vidface.access.clock import WatchedClock


class Times:
    """A wall clock and a steady one, in seconds."""

    def __init__(self) -> None:
        self.wall_s = 1000.0
        self.steady_s = 5.0

    def clock(self) -> WatchedClock:
        return WatchedClock(lambda: round(self.wall_s * SECOND_NS), lambda: round(self.steady_s * SECOND_NS))

    def pass_by(self, seconds: float, set_by_s: float = 0.0) -> None:
        self.wall_s += seconds + set_by_s
        self.steady_s += seconds


@pytest.mark.parametrize(
    ("steps", "is_believed"),
    [
        pytest.param([(10, 0)], True, id="time-goes-by"),
        pytest.param([(10, 3600)], True, id="set-forward"),
        pytest.param([(0, -5)], False, id="set-back"),
        pytest.param([(60, -5)], False, id="set-back-less-than-has-gone-by"),
        pytest.param([(60, -0.05)], True, id="set-back-by-nothing-much"),
        pytest.param([(60, -5), (4.9, 0)], False, id="set-back-and-not-caught-up"),
        pytest.param([(60, -5), (5.1, 0)], True, id="set-back-and-caught-up"),
        pytest.param([(60, -5), (1, -5), (5.1, 0)], False, id="set-back-twice"),
    ],
)
def test_a_clock_that_was_set_back_is_believed_when_it_has_caught_up(
    steps: list[tuple[float, float]], is_believed: bool
) -> None:
    times = Times()
    clock = times.clock()
    for seconds, set_by_s in steps:
        times.pass_by(seconds, set_by_s)
        moment = clock.look()
    assert moment.now_ns == round(times.wall_s * SECOND_NS)
    assert (moment.floor_ns <= moment.now_ns) is is_believed


def test_the_real_clocks() -> None:
    clock = WatchedClock()
    first, second = clock.look(), clock.look()
    assert first.floor_ns == second.floor_ns == 0
    assert first.now_ns <= second.now_ns
