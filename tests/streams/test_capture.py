"""Capture times from arrivals and the sender's clocks; pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.capture import CaptureClock

MS = 1_000_000
S = 1000 * MS
STEP_NS = 40 * MS
ELSEWHEN_NS = 1_600_000_000 * S


def _captured(
    delays_ns: list[int],
    *,
    is_reported: bool = True,
    pts: dict[int, int] | None = None,
    sender: dict[int, int] | None = None,
) -> tuple[list[int], CaptureClock]:
    """Pictures taken every 40 ms; `pts` and `sender` are added from the picture of their key on, in ns."""
    clock, captured, arrived_ns = CaptureClock(), [], 0
    for number, delay_ns in enumerate(delays_ns):
        taken_ns = number * STEP_NS
        arrived_ns = max(arrived_ns, taken_ns + delay_ns)
        pts_ns = 7 * S + taken_ns + sum(step for at, step in (pts or {}).items() if number >= at)
        sender_ns = ELSEWHEN_NS + taken_ns + sum(step for at, step in (sender or {}).items() if number >= at)
        captured.append(
            clock.captured_ns(arrived_ns=arrived_ns, pts_ns=pts_ns, sender_ns=sender_ns if is_reported else None)
        )
    return captured, clock


@pytest.mark.parametrize("is_reported", [True, False])
@given(st.lists(st.integers(0, 300 * MS), min_size=1, max_size=60))
def test_no_capture_is_behind_its_arrival_and_none_knows_more_than_the_least_delay(
    is_reported: bool, delays_ns: list[int]
) -> None:
    captured, clock = _captured(delays_ns, is_reported=is_reported)
    arrived_ns, least_ns = 0, 10 * S
    for number, (delay_ns, captured_ns) in enumerate(zip(delays_ns, captured, strict=True)):
        arrived_ns = max(arrived_ns, number * STEP_NS + delay_ns)
        least_ns = min(least_ns, arrived_ns - number * STEP_NS)
        assert captured_ns <= arrived_ns
        assert captured_ns == number * STEP_NS + least_ns
    assert clock.steps == 0


def test_a_burst_behind_a_hiccup_is_as_old_as_it_is() -> None:
    hiccup_ns = [(800 - 40 * at) * MS for at in range(15)]
    captured, _ = _captured([5 * MS] * 10 + hiccup_ns + [5 * MS] * 5)
    assert captured == [number * STEP_NS + 5 * MS for number in range(30)]


@pytest.mark.parametrize(
    ("pts", "sender"),
    [
        pytest.param({}, {20: 3600 * S}, id="wall-clock-set-forward"),
        pytest.param({}, {20: -3600 * S}, id="wall-clock-set-back"),
        pytest.param({}, {20: 5 * S, 30: -5 * S}, id="wall-clock-set-and-set-back"),
        pytest.param({20: 95_000 * S}, {}, id="media-time-jumps"),
        pytest.param({20: -7 * S}, {}, id="media-time-starts-again"),
    ],
)
def test_a_clock_that_is_set_moves_no_capture(pts: dict[int, int], sender: dict[int, int]) -> None:
    delays_ns = [20 * MS, 5 * MS] + [30 * MS] * 58
    captured, clock = _captured(delays_ns, pts=pts, sender=sender)
    assert captured[1:] == [number * STEP_NS + 5 * MS for number in range(1, 60)]
    assert clock.steps == len(pts) + len(sender)


@pytest.mark.parametrize(
    "pts",
    [
        pytest.param({20: 95_000 * S}, id="forward"),
        pytest.param({20: -7 * S}, id="back"),
        pytest.param({20: -95_000 * S}, id="far-back"),
    ],
)
def test_without_reports_a_jump_begins_anew(pts: dict[int, int]) -> None:
    delays_ns = [5 * MS] * 20 + [30 * MS] * 10 + [10 * MS] * 10
    captured, _ = _captured(delays_ns, is_reported=False, pts=pts)
    known_ns = [5 * MS] * 20 + [30 * MS] * 10 + [10 * MS] * 10
    assert captured == [number * STEP_NS + known_ns[number] for number in range(40)]


def test_both_clocks_set_at_once_begin_anew() -> None:
    captured, clock = _captured([5 * MS] * 20 + [9 * MS] * 5, pts={20: -300 * S}, sender={20: -90 * S})
    assert captured[20:] == [number * STEP_NS + 9 * MS for number in range(20, 25)]
    assert clock.steps >= 1


def test_reports_that_begin_late_and_fail_in_between_keep_what_is_known() -> None:
    clock = CaptureClock()
    captured = [
        clock.captured_ns(
            arrived_ns=number * STEP_NS + (5 if number == 1 else 30) * MS,
            pts_ns=number * STEP_NS,
            sender_ns=ELSEWHEN_NS + number * STEP_NS if number in range(10, 20) or number > 30 else None,
        )
        for number in range(40)
    ]
    assert captured[1:] == [number * STEP_NS + 5 * MS for number in range(1, 40)]
    assert clock.steps == 0


def test_pictures_that_are_sent_out_of_order_keep_their_own_times() -> None:
    clock = CaptureClock()
    shown = [0, 3, 1, 2, 6, 4, 5]  # an encoder sends what it needs first
    sent_ns = [number * STEP_NS + 120 * MS for number in range(7)]
    captured = [
        clock.captured_ns(arrived_ns=at_ns, pts_ns=number * STEP_NS)
        for number, at_ns in zip(shown, sent_ns, strict=True)
    ]
    assert captured[1:] == [number * STEP_NS + 40 * MS for number in shown[1:]]


def test_repeats_and_missing_times() -> None:
    clock = CaptureClock()
    assert clock.captured_ns(arrived_ns=100, pts_ns=None) == 100
    assert clock.captured_ns(arrived_ns=200, pts_ns=50) == 200
    assert clock.captured_ns(arrived_ns=300, pts_ns=50) == 200  # the same picture's time, the later part of it
    assert clock.captured_ns(arrived_ns=400, pts_ns=None) == 400
    assert clock.captured_ns(arrived_ns=410, pts_ns=250) == 400


def test_clocks_that_drift_are_followed() -> None:
    clock = CaptureClock()
    for number in range(25 * 120):  # two minutes, the camera's clock 100 ppm fast: 12 ms in all
        arrived_ns = number * STEP_NS + 5 * MS
        captured_ns = clock.captured_ns(arrived_ns=arrived_ns, pts_ns=number * STEP_NS * 9999 // 10000)
        assert arrived_ns - 4 * MS <= captured_ns <= arrived_ns


def test_a_delay_that_nobody_would_buffer_is_a_clock_that_stood_still() -> None:
    clock = CaptureClock()
    times = [(0, 0), (STEP_NS, STEP_NS), (12 * S, 2 * STEP_NS), (12 * S + STEP_NS, 3 * STEP_NS)]
    captured = [clock.captured_ns(arrived_ns=arrived_ns, pts_ns=pts_ns) for arrived_ns, pts_ns in times]
    assert captured == [arrived_ns for arrived_ns, _ in times]
    assert clock.steps == 1
