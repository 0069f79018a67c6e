"""Where time and frames go: counters that cost nothing to keep and are read by snapshot."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
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
        cpu_s: Processor time of the calling thread in them. What an engine's own threads did for it is not in it.
    """

    calls: int
    items: int
    wall_s: float
    cpu_s: float = 0.0


class StageTimes:
    """Sums the time of each stage. Any thread may measure and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, tuple[int, int, int, int]] = {}

    @contextmanager
    def measure(self, stage: str, items: int = 1) -> Iterator[None]:
        """Time a block as one call of `stage` that handles `items`."""
        began_ns, cpu_began_ns = time.perf_counter_ns(), time.thread_time_ns()
        try:
            yield
        finally:
            wall_ns = time.perf_counter_ns() - began_ns
            self.add(stage, items, wall_ns, time.thread_time_ns() - cpu_began_ns)

    def add(self, stage: str, items: int, wall_ns: int, cpu_ns: int = 0) -> None:
        """Count one call that took `wall_ns`, of which its thread computed for `cpu_ns`."""
        with self._lock:
            calls, all_items, all_ns, all_cpu_ns = self._sums.get(stage, (0, 0, 0, 0))
            self._sums[stage] = (calls + 1, all_items + items, all_ns + wall_ns, all_cpu_ns + cpu_ns)

    def snapshot(self) -> Mapping[str, StageTime]:
        """The sums so far, by stage, in the order in which stages first ran."""
        with self._lock:
            return {
                stage: StageTime(calls=calls, items=items, wall_s=wall_ns / 1e9, cpu_s=cpu_ns / 1e9)
                for stage, (calls, items, wall_ns, cpu_ns) in self._sums.items()
            }


AGE_BOUNDS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of the buckets in which ages are counted, in seconds; the last bucket has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeHistogram:
    """How old a camera's frames were when they were decided about.

    Attributes:
        counts: One for each of `AGE_BOUNDS_S`, not cumulative, and one for what was older.
        sum_s: All ages summed.
    """

    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """How many ages were added."""
        return sum(self.counts)


class Ages:
    """The ages of live cameras' decisions: from a frame's reception to the end of its analysis. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def add(self, camera: str, age_s: float) -> None:
        """Count one analysed frame's age."""
        with self._lock:
            counts = self._counts.setdefault(camera, [0] * (len(AGE_BOUNDS_S) + 1))
            counts[bisect_left(AGE_BOUNDS_S, age_s)] += 1
            self._sums_s[camera] = self._sums_s.get(camera, 0.0) + age_s

    def snapshot(self) -> Mapping[str, AgeHistogram]:
        """The counts so far, by camera."""
        with self._lock:
            return {
                camera: AgeHistogram(counts=tuple(counts), sum_s=self._sums_s[camera])
                for camera, counts in self._counts.items()
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
