"""Media time: a container's timestamps, made into times that start at 0 and always grow. Pure."""

from typing import Final

NS_PER_S: Final = 1_000_000_000


class Timeline:
    """Turns one connection's presentation timestamps into ns since its first frame.

    Cameras leave timestamps out (RTSP does, before the first sender report), repeat them, and jump when their clock
    is set. A timestamp that is missing or does not grow is replaced by the previous time plus a step, and the ones
    after it are shifted along, so that trackers may divide by the time between two frames.
    """

    def __init__(self, *, step_ns: int, max_gap_ns: int | None = None) -> None:
        """Start with no frame seen.

        Args:
            step_ns: What a frame is taken to last where its timestamp says nothing; above 0.
            max_gap_ns: A longer jump forward is taken for a set clock (live); None: every jump is real (recorded).
        """
        if step_ns <= 0:
            raise ValueError(f"step_ns must be above 0, got {step_ns}")
        self._step_ns = step_ns
        self._max_gap_ns = max_gap_ns
        self._offset_ns: int | None = None
        self._last_ns: int | None = None
        self._repaired = 0

    @property
    def repaired(self) -> int:
        """How many times had to be made up, the missing timestamp of a first frame not counted."""
        return self._repaired

    def place(self, pts_ns: int | None) -> int:
        """Media time of the next frame, in ns since the first.

        Args:
            pts_ns: Its timestamp in ns in the container's own time, or None where it has none.
        """
        if self._last_ns is None:
            at_ns = 0
            self._offset_ns = pts_ns
        else:
            expected_ns = self._last_ns + self._step_ns
            at_ns = expected_ns
            if pts_ns is None:
                self._repaired += 1
            elif self._offset_ns is None:
                self._offset_ns = pts_ns - expected_ns
            else:
                claimed_ns = pts_ns - self._offset_ns
                gap_ns = claimed_ns - self._last_ns
                if gap_ns > 0 and (self._max_gap_ns is None or gap_ns <= self._max_gap_ns):
                    at_ns = claimed_ns
                else:
                    self._repaired += 1
                    self._offset_ns = pts_ns - expected_ns
        self._last_ns = at_ns
        return at_ns
