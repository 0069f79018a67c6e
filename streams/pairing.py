"""Which picture of the main stream belongs to a moment of the sub stream. Pure but for a lock.

The two streams of a camera are encoded apart and share no clock that everyone can read: their pictures are compared by
when they were received, which for one camera and one network differs by a few tens of milliseconds. Two recordings of
one camera are compared by their media times, which is exact.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.frame import Picture

MAX_SHAPE_RATIO: Final = 1.5
"""How far the shapes of the two streams' pictures may differ. Cameras squeeze 16:9 into 4:3 (1.33) and 5:4 (1.42), and
that is undone; 16:9 beside 9:16 is no squeezed picture but a turned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A picture of the main stream and its time."""

    at_ns: int
    """In whatever clock the sub stream's moments are told."""
    picture: Picture


def nearest(candidates: Iterable[Timed | None], at_ns: int, *, tolerance_ns: int) -> Timed | None:
    """The candidate nearest in time, the earlier of two that are equally near; None where none is near enough."""
    near = [each for each in candidates if each is not None and abs(each.at_ns - at_ns) <= tolerance_ns]
    return min(near, key=lambda each: (abs(each.at_ns - at_ns), each.at_ns), default=None)


def show_alike(main_wh: tuple[int, int], sub_wh: tuple[int, int]) -> bool:
    """Whether pictures of these sizes can be the same view, if need be squeezed."""
    ratio = (main_wh[0] * sub_wh[1]) / (main_wh[1] * sub_wh[0])
    return 1 / MAX_SHAPE_RATIO <= ratio <= MAX_SHAPE_RATIO


class Recent:
    """The last few pictures of the main stream. Any thread may put and ask; nobody waits for a picture."""

    def __init__(self, count: int, *, tolerance_ns: int) -> None:
        """Hold nothing yet.

        Args:
            count: Most pictures that are held: 3 MB each at 1080p.
            tolerance_ns: A picture further away in time is none.
        """
        self._lock = threading.Lock()
        self._pictures: deque[Timed] = deque(maxlen=count)
        self._tolerance_ns = tolerance_ns

    def put(self, timed: Timed) -> None:
        """Add the newest; the oldest goes where there is no room."""
        with self._lock:
            self._pictures.append(timed)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._pictures.clear()

    def nearest(self, at_ns: int, earlier: Timed | None = None) -> Timed | None:
        """The picture nearest to a moment, `earlier` among them; None where none is near enough."""
        with self._lock:
            pictures = tuple(self._pictures)
        return nearest((earlier, *pictures), at_ns, tolerance_ns=self._tolerance_ns)
