"""When a door may open: hours of the week as a wall clock at the door shows them, and the days on which there are none.

Pure. A moment is turned into the zone's local date and time, and that is compared. So over a change of daylight saving
the hours are what the wall clock says: an hour that the clock skips never comes, and one that comes twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)


class Weekday(StrEnum):
    """A day of the week, in the order of `date.weekday`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK = tuple(Weekday)


class Openness(StrEnum):
    """What a schedule says of a moment."""

    OPEN = "open"
    OUTSIDE = "outside"
    HOLIDAY = "holiday"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """From a time of day up to another, on some days.

    Attributes:
        days: The days on which they begin.
        start: The first moment that belongs to them.
        end: The first that does not; before `start` it is on the next day; midnight is the end of the day.
    """

    days: frozenset[Weekday]
    start: time
    end: time

    @property
    def over_midnight(self) -> bool:
        """Whether they end on the day after they began."""
        return time.min < self.end <= self.start

    def cover(self, local: datetime) -> date | None:
        """The date on which the hours began that a local time lies in; None if it lies in none."""
        today, clock = local.date(), local.time()
        if self.over_midnight:
            began = today if clock >= self.start else today - _DAY
            covered = clock >= self.start or clock < self.end
        else:
            began = today
            covered = clock >= self.start and (clock < self.end or self.end == time.min)
        return began if covered and _WEEK[began.weekday()] in self.days else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Hours of the week in a time zone, less the holidays.

    Attributes:
        name: What the configuration calls it.
        zone: Whose clock counts.
        hours: Any of them is enough.
        holidays: On these dates nothing is open, and neither is the rest of the night that began on one.
    """

    name: str
    zone: ZoneInfo
    hours: tuple[Hours, ...]
    holidays: frozenset[date] = frozenset()

    def at(self, unix_ns: int) -> Openness:
        """What it says of a moment, Unix nanoseconds."""
        local = self.local(unix_ns)
        began = [day for hours in self.hours if (day := hours.cover(local)) is not None]
        if not began:
            return Openness.OUTSIDE
        if local.date() in self.holidays or all(day in self.holidays for day in began):
            return Openness.HOLIDAY
        return Openness.OPEN

    def local(self, unix_ns: int) -> datetime:
        """The time on the door's wall clock."""
        return (
            datetime.fromtimestamp(unix_ns // 1_000_000_000, UTC)
            .astimezone(self.zone)
            .replace(microsecond=unix_ns % 1_000_000_000 // 1000)
        )

    def turns(self, first: date, days: int) -> Iterator[int]:
        """Moments between which it says the same, but where the clock is set back; Unix nanoseconds, for some days."""
        for offset in range(days):
            day = first + offset * _DAY
            for clock in {time.min, *(end for hours in self.hours for end in (hours.start, hours.end))}:
                for fold in (0, 1):
                    moment = datetime.combine(day, clock, self.zone).replace(fold=fold)
                    yield int(moment.timestamp()) * 1_000_000_000
