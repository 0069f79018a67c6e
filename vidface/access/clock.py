"""The time of a decision, and whether it can be believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_SLACK_NS: Final = 100_000_000
"""Two clocks are never read at once; and a correction smaller than this makes no event fresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A look at the clock.

    Attributes:
        now_ns: Unix nanoseconds.
        floor_ns: What the time was before the clock was last set back; less than `now_ns` if all is well.
    """

    now_ns: int
    floor_ns: int


class WatchedClock:
    """The system's clock, compared with one that nobody can set. For one thread.

    A clock that was set back makes old pictures look fresh. The time at which that was noticed is the least that the
    clock must reach again before its word counts.
    """

    def __init__(
        self, wall_ns: Callable[[], int] = time.time_ns, steady_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self._last = (wall_ns(), steady_ns())
        self._floor_ns = 0

    def look(self) -> Moment:
        """The time, and what is known against it."""
        now_ns, steady_ns = self._wall_ns(), self._steady_ns()
        last_ns, last_steady_ns = self._last
        expected_ns = last_ns + steady_ns - last_steady_ns
        if now_ns < expected_ns - _SLACK_NS:
            self._floor_ns = max(self._floor_ns, expected_ns)
        self._last = (now_ns, steady_ns)
        return Moment(now_ns=now_ns, floor_ns=self._floor_ns)
