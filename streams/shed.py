"""Which packets of a live camera are left undecoded when the machine cannot keep up. Pure: the time is passed in.

A camera that is decoded too slowly falls behind: its packets wait, in the kernel, in the camera, or for their turn. How
far it is behind, its lag, is seen here, and nobody needs to tell it:

- a lag over `SKIP_UNREFERENCED_S`: frames that no other frame refers to are left out. That costs nothing else.
- a lag over `SKIP_TO_KEYFRAME_S` that does not shrink: everything is left out up to the next keyframe, since every
  frame between refers to one that was left out. Reading without decoding is a hundred times faster, so the lag is gone
  when the keyframe comes. A lag that shrinks is let be, up to `SKIP_AT_ONCE_S`: the machine was held up for a moment
  and catches up within a few frames, where the next keyframe may be seconds away.
- a lag over `SKIP_KEYFRAMES_S`: keyframes are left out as well.

And where what is decoded waits too long to be looked at, the consumer asks for the second of these itself, however
small the lag: it could not look at the frames between anyway.

So a camera decodes as long a stretch of each group of pictures as the machine has time for, down to the keyframe
alone, and is back to every frame by itself when there is time again. The lag is the least where a camera's priority is
higher: its bounds are that much wider.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

SKIP_UNREFERENCED_S: Final = 0.1
SKIP_TO_KEYFRAME_S: Final = 0.3
SKIP_AT_ONCE_S: Final = 0.6
SKIP_KEYFRAMES_S: Final = 1.0

NOT_SHRINKING: Final = 3
"""So many packets in a row, each read no less late than the one before it, mean that a lag does not shrink."""

MAX_TOLERANCE: Final = 2.0
"""However high its priority, a camera may not fall further behind than so many times the bounds."""


class Skipped(StrEnum):
    """Why a frame was not decoded; machine codes."""

    UNREFERENCED = "skipped_unreferenced"
    """Behind, and no other frame refers to it."""
    LATE = "skipped_late"
    """Far behind: everything up to the next keyframe is left out."""


class Shedder:
    """Decides packet by packet, for one connection of one camera. Used by one thread."""

    def __init__(self, *, tolerance: float = 1.0) -> None:
        """Start with nothing shed.

        Args:
            tolerance: The bounds on the lag are multiplied by this; over 0, and cut to `MAX_TOLERANCE`.
        """
        if tolerance <= 0:
            raise ValueError(f"tolerance must be over 0, got {tolerance}")
        self._tolerance = min(tolerance, MAX_TOLERANCE)
        self._to_keyframe = False
        self._last_lag_s = 0.0
        self._not_shrinking = 0

    def skip_to_keyframe(self) -> None:
        """Leave out everything before the next keyframe, whatever the lag."""
        self._to_keyframe = True

    def judge(self, *, lag_s: float, is_keyframe: bool, is_referenced: Callable[[], bool]) -> Skipped | None:
        """Whether the next packet is left undecoded, and why.

        Args:
            lag_s: How long after its turn, or its arrival, it is read.
            is_keyframe: Whether decoding can begin with it.
            is_referenced: Tells whether another frame may refer to it; asked only where that matters.
        """
        lag_s /= self._tolerance
        self._not_shrinking = self._not_shrinking + 1 if lag_s >= self._last_lag_s else 0
        self._last_lag_s = lag_s
        if is_keyframe:
            self._to_keyframe = lag_s > SKIP_KEYFRAMES_S
        elif lag_s > SKIP_AT_ONCE_S or (lag_s > SKIP_TO_KEYFRAME_S and self._not_shrinking >= NOT_SHRINKING):
            self._to_keyframe = True
        if self._to_keyframe:
            return Skipped.LATE
        if lag_s > SKIP_UNREFERENCED_S and not is_referenced():
            return Skipped.UNREFERENCED
        return None


class LagMeter:
    """How far behind a stream's packets are read, from their own times since it was last read in time.

    A packet that had to be waited for was read in time: that is the only thing that is believed without doubt, and it
    begins the measurement anew. So neither a camera's clock that runs off or is set, nor a first burst of packets, is
    ever taken for a lag that does not pass. Used by one thread.
    """

    def __init__(self) -> None:
        self._timely_delay_s: float | None = None

    def lag_s(self, now_s: float, media_s: float | None, *, waited: bool) -> float:
        """The lag of the next packet in seconds, never below 0.

        Args:
            now_s: Monotonic seconds at which it was read.
            media_s: Its own time (decoding order) in seconds; None where it has none: then it counts as in time.
            waited: Whether reading it had to wait.
        """
        if media_s is None:
            return 0.0
        delay_s = now_s - media_s
        if waited or self._timely_delay_s is None or delay_s < self._timely_delay_s:
            self._timely_delay_s = delay_s
        return delay_s - self._timely_delay_s
