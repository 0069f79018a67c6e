"""How many cameras a machine holds: a search among noisy probes, which says how sure its answer is. Pure.

Short probes find the place: so many cameras are doubled until a probe fails, and the gap is halved. One probe near the
edge may fall on either side, so that place is a guess only. Then longer probes decide: the answer is the largest number
that held in more than half of its confirmation runs, while one camera more did not; both counts are told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vidface.evaluation.live import LiveRun, age_percentiles

MIN_SHARE: Final = 0.95
"""A camera is at its wanted rate when it gets so much of it."""

EDGE_FRAMES: Final = 1.0
"""A window of any length may begin just after a detection: it may hold one fewer than its length times the rate."""

HEADROOM: Final = 1.1
"""How far beyond the number that a probe's load foretells the next probe may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One measured number of cameras.

    Attributes:
        cameras: How many.
        seconds: How long was measured.
        confirming: Whether it is one of the longer runs that decide.
        holds: Whether both bounds were kept.
        age_p95_ms: Of all cameras' decisions; None where nothing was decided.
        worst_share: What the worst camera got of its wanted rate.
        delivered_fps: Detections a second of all cameras.
        load: The part of the machine's processors that the process took, 0 to 1.
        rss_mib: Memory at the window's end.
        why: Which bound was not kept; empty where it holds.
    """

    cameras: int
    seconds: float
    confirming: bool
    holds: bool
    age_p95_ms: float | None
    worst_share: float
    delivered_fps: float
    load: float
    rss_mib: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How often a number of cameras held in confirmation runs."""

    cameras: int
    held: int
    of: int

    @property
    def mostly(self) -> bool:
        """Whether more than half of the runs held."""
        return 2 * self.held > self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The answer.

    Attributes:
        cameras: The largest number that mostly held; 0 where not even one camera did.
        confirmed: Its confirmation runs; None for 0 cameras.
        beyond: Those of one camera more; None where the search's limit was reached.
        probes: Every probe, in order.
    """

    cameras: int
    confirmed: Tally | None
    beyond: Tally | None
    probes: tuple[Probe, ...]

    @property
    def statement(self) -> str:
        """How sure it is, in a sentence."""
        seconds = round(next(probe.seconds for probe in self.probes if probe.confirming))
        if self.confirmed is None:
            tried = self.beyond.of if self.beyond is not None else 0
            return f"not even one camera is held within the bounds, in {tried} run(s) of {seconds} s"
        text = f"{self.cameras} held in {self.confirmed.held} of {self.confirmed.of} run(s) of {seconds} s"
        if self.beyond is None:
            return f"{text}; more were not tried"
        return f"{text}; {self.beyond.cameras} held in {self.beyond.held} of {self.beyond.of}"


Play = Callable[[int, float, bool], Probe]
"""Measures (cameras, seconds, confirming)."""


@dataclass(slots=True)
class _Search:
    play: Play
    limit: int
    probe_s: float
    confirm_s: float
    rounds: int
    probes: list[Probe] = field(default_factory=list)
    tallies: dict[int, Tally] = field(default_factory=dict)

    def short(self, cameras: int) -> Probe:
        probe = self.play(cameras, self.probe_s, False)
        self.probes.append(probe)
        return probe

    def confirm(self, cameras: int) -> Tally:
        """Run a number's confirmation runs, once."""
        if cameras not in self.tallies:
            runs = [self.play(cameras, self.confirm_s, True) for _ in range(self.rounds)]
            self.probes += runs
            held = sum(run.holds for run in runs)
            self.tallies[cameras] = Tally(cameras=cameras, held=held, of=len(runs))
        return self.tallies[cameras]

    def guess(self, first: int) -> int:
        """The largest number that held in short probes, by galloping and then halving the gap."""
        held, failed = 0, self.limit + 1
        cameras = min(first, self.limit)
        while failed - held > 1:
            probe = self.short(cameras)
            if probe.holds:
                held = cameras
            else:
                failed = cameras
            if failed <= self.limit:
                cameras = (held + failed) // 2
            else:
                foretold = math.ceil(cameras * HEADROOM / max(probe.load, 0.01))
                cameras = min(max(held + 1, min(2 * held, foretold)), self.limit)
        return held


def find_capacity(
    play: Play, *, probe_s: float, confirm_s: float, rounds: int = 3, first: int = 4, limit: int = 256
) -> Capacity:
    """Search for the largest number of cameras that holds.

    Args:
        play: Measures one number of cameras.
        probe_s: The length of the probes that find the place.
        confirm_s: The length of the runs that decide.
        rounds: Confirmation runs of a number.
        first: The number to begin with.
        limit: No more cameras than this are tried.
    """
    search = _Search(play, limit, probe_s, confirm_s, rounds)
    cameras = search.guess(first)
    while cameras and not search.confirm(cameras).mostly:
        cameras -= 1
    # A number that was confirmed to fail is not tried twice, so this goes one way only.
    while cameras < limit and search.confirm(cameras + 1).mostly:
        cameras += 1
    return Capacity(
        cameras=cameras,
        confirmed=search.tallies[cameras] if cameras else None,
        beyond=search.tallies.get(cameras + 1),
        probes=tuple(search.probes),
    )


def judge(run: LiveRun, *, max_age_ms: float, cores: int, confirming: bool) -> Probe:
    """Hold a live run against the bounds.

    Args:
        run: What was measured.
        max_age_ms: The 95th percentile of all decisions' ages must not be over it.
        cores: The machine's processors.
        confirming: See `Probe`.
    """
    p95_ms = age_percentiles(run.ages_ms)["p95"]
    worst = run.worst
    missing = worst.wanted_fps * MIN_SHARE - worst.delivered_fps - EDGE_FRAMES / run.seconds
    reasons = []
    if p95_ms is None or p95_ms > max_age_ms:
        reasons.append(f"p95 age {'none' if p95_ms is None else f'{p95_ms:.0f} ms'} is over {max_age_ms:g} ms")
    if missing > 0:
        reasons.append(f"{worst.camera} got {100 * worst.share:.0f} % of its rate")
    return Probe(
        cameras=len(run.cameras),
        seconds=run.seconds,
        confirming=confirming,
        holds=not reasons,
        age_p95_ms=p95_ms,
        worst_share=worst.share,
        delivered_fps=sum(camera.delivered_fps for camera in run.cameras),
        load=min(1.0, run.cpu_cores / cores),
        rss_mib=run.ticks[-1].rss_mib,
        why="; ".join(reasons),
    )
