from __future__ import annotations

from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tests.vidface.access.made import at, schedule
from vidface.access.hours import Openness, Schedule, Weekday

OPEN, OUTSIDE, HOLIDAY = Openness.OPEN, Openness.OUTSIDE, Openness.HOLIDAY

DAY = schedule("07:00", "19:00", Weekday.MON, Weekday.FRI)
NIGHT = schedule("22:00", "06:00", Weekday.FRI)
EVENING = schedule("18:00", "24:00", Weekday.FRI)
WHOLE = schedule("00:00", "24:00", Weekday.SAT)


@pytest.mark.parametrize(
    ("hours", "clock", "openness"),
    [
        # 2026-02-02 is a Monday, 2026-02-06 a Friday.
        pytest.param(DAY, "2026-02-02 06:59:59", OUTSIDE, id="a-second-too-early"),
        pytest.param(DAY, "2026-02-02 07:00:00", OPEN, id="the-first-second"),
        pytest.param(DAY, "2026-02-02 18:59:59", OPEN, id="the-last-second"),
        pytest.param(DAY, "2026-02-02 19:00:00", OUTSIDE, id="the-end-does-not-belong-to-it"),
        pytest.param(DAY, "2026-02-03 12:00:00", OUTSIDE, id="another-day"),
        pytest.param(NIGHT, "2026-02-06 21:59:59", OUTSIDE, id="before-the-night"),
        pytest.param(NIGHT, "2026-02-06 22:00:00", OPEN, id="the-night-begins"),
        pytest.param(NIGHT, "2026-02-07 00:00:00", OPEN, id="midnight"),
        pytest.param(NIGHT, "2026-02-07 05:59:59", OPEN, id="the-morning-after"),
        pytest.param(NIGHT, "2026-02-07 06:00:00", OUTSIDE, id="the-night-ends"),
        pytest.param(NIGHT, "2026-02-06 05:00:00", OUTSIDE, id="the-morning-of-the-day-itself"),
        pytest.param(NIGHT, "2026-02-07 23:00:00", OUTSIDE, id="the-next-evening"),
        pytest.param(EVENING, "2026-02-06 23:59:59", OPEN, id="up-to-midnight"),
        pytest.param(EVENING, "2026-02-07 00:00:00", OUTSIDE, id="not-midnight-itself"),
        pytest.param(WHOLE, "2026-02-07 00:00:00", OPEN, id="a-whole-day-begins"),
        pytest.param(WHOLE, "2026-02-07 23:59:59", OPEN, id="a-whole-day-ends"),
        pytest.param(WHOLE, "2026-02-08 00:00:00", OUTSIDE, id="the-day-after-a-whole-day"),
    ],
)
def test_hours_of_the_week(hours: Schedule, clock: str, openness: Openness) -> None:
    assert hours.at(at(clock)) is openness


# In Berlin the clock is set from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25, both Sundays.
EARLY = schedule("02:30", "04:00", Weekday.SUN)
LATE_NIGHT = schedule("23:00", "02:30", Weekday.SAT)
IN_THE_GAP = schedule("02:00", "03:00", Weekday.SUN)


@pytest.mark.parametrize(
    ("hours", "utc", "openness", "shown"),
    [
        pytest.param(EARLY, "2026-03-29 00:59:59", OUTSIDE, "01:59:59", id="spring-the-last-second-of-winter"),
        pytest.param(EARLY, "2026-03-29 01:00:00", OPEN, "03:00:00", id="spring-the-clock-jumps-into-the-hours"),
        pytest.param(EARLY, "2026-03-29 01:59:59", OPEN, "03:59:59", id="spring-up-to-their-end"),
        pytest.param(EARLY, "2026-03-29 02:00:00", OUTSIDE, "04:00:00", id="spring-their-end"),
        pytest.param(IN_THE_GAP, "2026-03-29 00:59:59", OUTSIDE, "01:59:59", id="spring-before-an-hour-that-never-is"),
        pytest.param(IN_THE_GAP, "2026-03-29 01:00:00", OUTSIDE, "03:00:00", id="spring-after-an-hour-that-never-is"),
        pytest.param(LATE_NIGHT, "2026-03-29 00:59:59", OPEN, "01:59:59", id="spring-a-night-up-to-the-jump"),
        pytest.param(LATE_NIGHT, "2026-03-29 01:00:00", OUTSIDE, "03:00:00", id="spring-a-night-that-the-jump-ends"),
        pytest.param(EARLY, "2026-10-25 00:29:59", OUTSIDE, "02:29:59", id="autumn-before-the-hours"),
        pytest.param(EARLY, "2026-10-25 00:30:00", OPEN, "02:30:00", id="autumn-the-first-half-past-two"),
        pytest.param(EARLY, "2026-10-25 01:00:00", OUTSIDE, "02:00:00", id="autumn-the-clock-is-set-back-out-of-them"),
        pytest.param(EARLY, "2026-10-25 01:30:00", OPEN, "02:30:00", id="autumn-the-second-half-past-two"),
        pytest.param(EARLY, "2026-10-25 03:00:00", OUTSIDE, "04:00:00", id="autumn-their-end"),
        pytest.param(LATE_NIGHT, "2026-10-25 00:29:59", OPEN, "02:29:59", id="autumn-a-night-up-to-its-end"),
        pytest.param(LATE_NIGHT, "2026-10-25 00:30:00", OUTSIDE, "02:30:00", id="autumn-its-end"),
        pytest.param(LATE_NIGHT, "2026-10-25 01:15:00", OPEN, "02:15:00", id="autumn-the-hour-comes-again"),
    ],
)
def test_daylight_saving(hours: Schedule, utc: str, openness: Openness, shown: str) -> None:
    moment = at(utc, ZoneInfo("UTC"))
    assert f"{hours.local(moment):%H:%M:%S}" == shown
    assert hours.at(moment) is openness


def test_a_summer_and_a_winter_morning_are_an_hour_apart_in_utc() -> None:
    winter, summer = at("2026-01-05 07:00"), at("2026-07-06 07:00")
    assert winter // 10**9 % 86_400 == 6 * 3600
    assert summer // 10**9 % 86_400 == 5 * 3600
    assert DAY.at(winter) is DAY.at(summer) is OPEN
    assert DAY.at(winter - 1) is DAY.at(summer - 1) is OUTSIDE


# 2026-12-25 is a Friday.
XMAS = frozenset({date(2026, 12, 25)})


@pytest.mark.parametrize(
    ("start", "end", "clock", "openness"),
    [
        pytest.param("07:00", "19:00", "2026-12-25 12:00", HOLIDAY, id="in-the-hours"),
        pytest.param("07:00", "19:00", "2026-12-25 06:00", OUTSIDE, id="outside-of-them-anyway"),
        pytest.param("07:00", "19:00", "2026-12-24 12:00", OPEN, id="the-day-before"),
        pytest.param("22:00", "06:00", "2026-12-24 23:59", OPEN, id="the-night-before"),
        pytest.param("22:00", "06:00", "2026-12-25 00:00", HOLIDAY, id="a-night-that-runs-into-it"),
        pytest.param("22:00", "06:00", "2026-12-25 23:00", HOLIDAY, id="a-night-that-begins-on-it"),
        pytest.param("22:00", "06:00", "2026-12-26 05:00", HOLIDAY, id="and-its-morning-after"),
        pytest.param("22:00", "06:00", "2026-12-26 22:00", OPEN, id="the-next-night"),
    ],
)
def test_holidays(start: str, end: str, clock: str, openness: Openness) -> None:
    assert schedule(start, end, holidays=XMAS).at(at(clock)) is openness


def test_a_holiday_is_one_where_the_door_is() -> None:
    """23:30 UTC on the 24th is the 25th in Berlin."""
    moment = at("2026-12-24 23:30", ZoneInfo("UTC"))
    assert schedule("00:00", "24:00", holidays=XMAS).at(moment) is HOLIDAY
    assert schedule("00:00", "24:00", zone=ZoneInfo("UTC"), holidays=XMAS).at(moment) is OPEN


def test_the_answer_changes_at_its_turns_alone() -> None:
    hours = schedule("22:00", "02:30", Weekday.SAT, holidays=frozenset({date(2026, 10, 31)}))
    turns = sorted(set(hours.turns(date(2026, 10, 26), 12)))
    for first, second in pairwise(turns):
        step = max(1, (second - first) // 7)
        assert len({hours.at(moment) for moment in range(first, second, step)}) == 1, hours.local(first)
