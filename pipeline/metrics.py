"""Where time and frames go: counters that cost nothing to keep and are read by snapshot."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """The time spent in one stage.

    Attributes:
        calls: How often it ran.
        items: How many frames, faces or events went through it.
        wall_s: Seconds from begin to end, summed over calls.
    """

    calls: int
    items: int
    wall_s: float


class StageTimes:
    """Sums the time of each stage. Any thread may measure and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, tuple[int, int, int]] = {}

    @contextmanager
    def measure(self, stage: str, items: int = 1) -> Iterator[None]:
        """Time a block as one call of `stage` that handles `items`."""
        began_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(stage, items, time.perf_counter_ns() - began_ns)

    def add(self, stage: str, items: int, wall_ns: int) -> None:
        """Count one call that took `wall_ns`."""
        with self._lock:
            calls, all_items, all_ns = self._sums.get(stage, (0, 0, 0))
            self._sums[stage] = (calls + 1, all_items + items, all_ns + wall_ns)

    def snapshot(self) -> Mapping[str, StageTime]:
        """The sums so far, by stage, in the order in which stages first ran."""
        with self._lock:
            return {
                stage: StageTime(calls=calls, items=items, wall_s=wall_ns / 1e9)
                for stage, (calls, items, wall_ns) in self._sums.items()
            }


class FrameCounts:
    """Counts each camera's frames by what became of them. Any thread may count and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, camera: str, outcome: str, frames: int = 1) -> None:
        """Count frames of `camera` with `outcome`: decoded, detected, not_due, superseded, expired, undelivered."""
        with self._lock:
            self._counts[camera, outcome] += frames

    def snapshot(self) -> Mapping[str, Mapping[str, int]]:
        """By camera, by outcome."""
        with self._lock:
            counts = dict(self._counts)
        answer: dict[str, dict[str, int]] = {}
        for (camera, outcome), frames in counts.items():
            answer.setdefault(camera, {})[outcome] = frames
        return answer
