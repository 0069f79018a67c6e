"""Clips played at their own pace as live cameras: rates, ages of decisions, drops, processor time and memory.

Each camera plays its clip over and over, and begins at another place in it, as cameras do that are joined at any
moment: were all in step, their frames and their faces would come in bursts that real cameras don't make.

What is measured is a window of so many seconds, which begins some seconds after every camera has shown a picture. A
frame's age is from its reception, before it was decoded, to the end of its analysis, on the monotonic clock.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import AnalysedFrame
from pipeline.events.event import Event
from pipeline.metrics import StageTime
from streams.source import open_media
from vidface.assemble import Models, source_spec
from vidface.config.model import CameraConfig, Config
from vidface.errors import BadInput
from vidface.evaluation.account import stages_between
from vidface.evaluation.system import CpuAccount, rss_bytes
from vidface.service import Service

SETTLE_S = 2.0
"""Between the last camera's first picture and the beginning of the window."""

PATIENCE_S = 60.0
"""Within this every camera must have shown a picture."""

TICK_S = 1.0
"""A point of the time series."""

SPREAD_S = 60.0
"""Cameras begin within so much of their clips, counted modulo the clip's length."""

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly however many there are (Weyl, 1916)."""

NO_DROPS = frozenset({"decoded", "detected", "not_due"})
"""What becomes of frames that nothing is wrong with. Every other outcome is a cause of drops."""


def as_cameras(config: Config, count: int) -> Config:
    """The configuration's recordings as so many live cameras, looped and out of step."""
    cameras = config.cameras
    return config.model_copy(
        update={
            "cameras": tuple(
                cameras[place % len(cameras)].model_copy(
                    update={
                        "id": f"clip-{place + 1}",
                        "real_time": True,
                        "loop": True,
                        "start_s": round(place * GOLDEN_RATIO % 1.0 * SPREAD_S, 3),
                    }
                )
                for place in range(count)
            )
        }
    )


def wanted_fps(camera: CameraConfig) -> float:
    """Detections a second that a camera asks for: no more than its clip has frames.

    Raises:
        SourceError: The clip can't be opened.
    """
    media = open_media(source_spec(camera), threading.Event())
    try:
        clip_fps = 1e9 / media.step_ns
    finally:
        media.close()
    if camera.detect_fps is not None:
        return min(camera.detect_fps, clip_fps)
    return clip_fps / (camera.detect_every or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRun:
    """What one camera got in the window.

    Attributes:
        camera: Its id.
        wanted_fps: Detections a second that it asked for.
        delivered_fps: Detections a second that were analysed to the end.
        decoded_fps: Frames a second that were decoded.
        ages_ms: ``(N,)`` float64 ages of its N decisions.
        outcomes: Its frames by what became of them.
    """

    camera: str
    wanted_fps: float
    delivered_fps: float
    decoded_fps: float
    ages_ms: NDArray[np.float64]
    outcomes: Mapping[str, int]

    @property
    def share(self) -> float:
        """Delivered of wanted."""
        return self.delivered_fps / self.wanted_fps


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One second of the window.

    Attributes:
        t_s: Its end, from the window's beginning.
        decisions: Frames that were analysed to the end.
        age_p50_ms: Median of their ages; None where there were none.
        age_p95_ms: Likewise.
        drops: Frames by cause.
        cpu_cores: Processors' worth of time that the process took.
        rss_mib: Its memory.
    """

    t_s: float
    decisions: int
    age_p50_ms: float | None
    age_p95_ms: float | None
    drops: Mapping[str, int]
    cpu_cores: float
    rss_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """What was measured in a window.

    Attributes:
        seconds: The window's length.
        cameras: Each camera's part.
        ticks: The window second by second.
        stages: Time by stage.
        cpu_s: Seconds of processor time by kind of thread, and `total`.
        identified: Names that were published, in order.
        sightings: How many sightings began.
    """

    seconds: float
    cameras: tuple[CameraRun, ...]
    ticks: tuple[Tick, ...]
    stages: Mapping[str, StageTime]
    cpu_s: Mapping[str, float]
    identified: tuple[str, ...]
    sightings: int

    @property
    def ages_ms(self) -> NDArray[np.float64]:
        """All cameras' ages."""
        return np.concatenate([camera.ages_ms for camera in self.cameras])

    @property
    def worst(self) -> CameraRun:
        """The camera that got the least of what it wanted."""
        return min(self.cameras, key=lambda camera: camera.share)

    @property
    def cpu_cores(self) -> float:
        """Processors' worth of time that the process took."""
        return self.cpu_s["total"] / self.seconds


@dataclass(slots=True)
class _Decisions:
    """Every analysed frame: whose, and from when to when. Filled by the analysis thread, read by another."""

    cameras: Mapping[str, int]
    who: array[int] = field(default_factory=lambda: array("q"))
    received_ns: array[int] = field(default_factory=lambda: array("q"))
    done_ns: array[int] = field(default_factory=lambda: array("q"))

    def observe(self, analysed: AnalysedFrame) -> None:
        meta = analysed.frame.meta
        self.who.append(self.cameras[meta.camera])
        self.received_ns.append(meta.received_ns)
        self.done_ns.append(time.monotonic_ns())  # last: a row counts once this is there

    def between(self, begin_ns: int, end_ns: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(camera's number, age in ms) of what was done from `begin_ns` to before `end_ns`."""
        rows = len(self.done_ns)
        # Slices, not views: the arrays grow meanwhile.
        done, received, who = (np.array(a[:rows], np.int64) for a in (self.done_ns, self.received_ns, self.who))
        inside = (done >= begin_ns) & (done < end_ns)
        return who[inside], (done[inside] - received[inside]) / 1e6


class _Tally:
    """A sink that keeps names and numbers only: events kept for minutes would look like a leak."""

    name = "bench"

    def __init__(self) -> None:
        self.people: set[str] = set()
        self.types: Counter[str] = Counter()

    def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            self.types[event.type] += 1
            identity: Any = event.data.get("identity")
            if identity:
                self.people.add(identity["name"])

    def close(self) -> None:
        """Nothing to let go of."""


def play_live(
    config: Config,
    models: Models,
    *,
    seconds: float,
    settle_s: float = SETTLE_S,
    on_tick: Callable[[float], None] = lambda _t_s: None,
) -> LiveRun:
    """Run a configuration of looped recordings and measure a window of it.

    Args:
        config: See `as_cameras`.
        models: The compiled models.
        seconds: The window.
        settle_s: How long the cameras run before it begins.
        on_tick: Told the seconds since the window began, each second.

    Raises:
        BadInput: A camera showed no picture in time, or ended.
        SourceError: A clip can't be opened.
    """
    by_source = {camera.source: wanted_fps(camera) for camera in config.cameras}
    wanted = [by_source[camera.source] for camera in config.cameras]
    numbers = {camera.id: number for number, camera in enumerate(config.cameras)}
    decisions, tally = _Decisions(numbers), _Tally()
    with Service(config, models=models, observer=decisions.observe, extra_sinks=[tally]) as service:
        _until_all_show(service, len(numbers))
        if service.wait(settle_s):
            raise _ended(service)
        cpu = CpuAccount()
        counts, stages = service.counts.snapshot(), service.times.snapshot()
        began_ns = time.monotonic_ns()
        ticks = []
        for tick in _ticks(service, decisions, cpu, began_ns, seconds):
            ticks.append(tick)
            on_tick(tick.t_s)
        ended_ns = time.monotonic_ns()
        cpu.sample()
        counts_after, stages_after = service.counts.snapshot(), service.times.snapshot()
        service.stop()
    window_s = (ended_ns - began_ns) / 1e9
    who, ages_ms = decisions.between(began_ns, ended_ns)
    cameras = []
    for camera, number in numbers.items():
        mine = ages_ms[who == number]
        outcomes = _difference(counts.get(camera, {}), counts_after.get(camera, {}))
        cameras.append(
            CameraRun(
                camera=camera,
                wanted_fps=wanted[number],
                delivered_fps=len(mine) / window_s,
                decoded_fps=outcomes.get("decoded", 0) / window_s,
                ages_ms=mine,
                outcomes=outcomes,
            )
        )
    return LiveRun(
        seconds=window_s,
        cameras=tuple(cameras),
        ticks=tuple(ticks),
        stages=stages_between(stages, stages_after),
        cpu_s=cpu.seconds(),
        identified=tuple(sorted(tally.people)),
        sightings=tally.types["vidface.sighting.started"],
    )


def age_percentiles(ages_ms: NDArray[np.float64]) -> dict[str, float | None]:
    """``p50``, ``p95``, ``p99`` and ``max`` of some ages; None where there are none."""
    if not len(ages_ms):
        return {"p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99, most = np.percentile(ages_ms, [50, 95, 99, 100])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(most)}


def _until_all_show(service: Service, cameras: int) -> None:
    """Wait until every camera has shown a picture."""
    patient_until_s = time.monotonic() + PATIENCE_S
    while sum(1 for outcomes in service.counts.snapshot().values() if outcomes.get("decoded")) < cameras:
        if service.wait(TICK_S / 10):
            raise _ended(service)
        if time.monotonic() > patient_until_s:
            raise BadInput(f"not every camera showed a picture within {PATIENCE_S:g} s; try fewer cameras")


def _ended(service: Service) -> Exception:
    for error in service.failed_cameras.values():
        return error
    return BadInput("the clips ended, and can't be played again and again: convert them to MP4")


def _ticks(service: Service, decisions: _Decisions, cpu: CpuAccount, began_ns: int, seconds: float) -> Iterator[Tick]:
    """Watch the window go by, each second a tick."""
    since_ns, cpu_s, drops = began_ns, 0.0, _drops(service)
    while since_ns < began_ns + seconds * 1e9:
        until_ns = min(since_ns + round(TICK_S * 1e9), began_ns + round(seconds * 1e9))
        if service.wait(max(0.0, (until_ns - time.monotonic_ns()) / 1e9)):
            raise _ended(service)
        now_ns = time.monotonic_ns()
        cpu.sample()
        total_s, dropped = cpu.seconds()["total"], _drops(service)
        ages_ms = decisions.between(since_ns, now_ns)[1]
        ages = age_percentiles(ages_ms)
        yield Tick(
            t_s=(now_ns - began_ns) / 1e9,
            decisions=len(ages_ms),
            age_p50_ms=ages["p50"],
            age_p95_ms=ages["p95"],
            drops=_difference(drops, dropped),
            cpu_cores=(total_s - cpu_s) / ((now_ns - since_ns) / 1e9),
            rss_mib=rss_bytes() / 2**20,
        )
        since_ns, cpu_s, drops = now_ns, total_s, dropped


def _drops(service: Service) -> dict[str, int]:
    """Dropped frames of all cameras so far, by cause."""
    sums: Counter[str] = Counter()
    for outcomes in service.counts.snapshot().values():
        sums.update(drops_of(outcomes))
    return dict(sums)


def drops_of(outcomes: Mapping[str, int]) -> dict[str, int]:
    """The causes of drops among a camera's outcomes."""
    return {outcome: frames for outcome, frames in outcomes.items() if outcome not in NO_DROPS}


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {key: grown for key, value in after.items() if (grown := value - before.get(key, 0))}
