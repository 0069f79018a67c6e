"""Two snapshots of a service as rates. Pure: the time between them is the service's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.metrics import AGE_BOUNDS_S
from vidface.status import CameraStatus, Phase, ServiceStatus

DROPS = ("superseded", "expired", "undelivered")
"""Outcomes of frames that were wanted and not looked at; ``not_due`` ones were never wanted. Always told."""

_NO_DROP = frozenset({"decoded", "detected", "not_due", *DROPS})


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRates:
    """One camera over the time between two snapshots.

    Attributes:
        camera: Its id.
        state: At the end; None before it began.
        cause: Of that state.
        epoch: At the end.
        decoded_fps: Frames decoded a second.
        detected_fps: Frames looked at a second.
        wanted_fps: Configured detections a second; None for all.
        age_p50_s: Median age of its decisions; None where there were none.
        age_p95_s: 95th percentile of them. Infinite beyond the last bucket would be no JSON: it is the last bound.
        drops_per_s: Frames dropped a second, by cause.
        bad_per_s: Damaged pictures a second.
        overloaded: Whether the machine can't look at it as often as wanted.
    """

    camera: str
    state: str | None
    cause: str | None
    epoch: int
    decoded_fps: float
    detected_fps: float
    wanted_fps: float | None
    age_p50_s: float | None
    age_p95_s: float | None
    drops_per_s: Mapping[str, float]
    bad_per_s: float
    overloaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkRates:
    """One sink: events it took a second, and how it stands."""

    sink: str
    delivered_per_s: float
    pending: int
    refused: int
    dropped: int
    failing: bool
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRates:
    """A service over the time between two snapshots.

    Attributes:
        version: Of vidface.
        phase: At the end.
        failure: Why a stage failed; None while all work.
        uptime_s: At the end.
        over_s: The time between the snapshots.
        cameras: In the order of the configuration.
        stage_load: Share of that time spent in each stage, 0 to 1; more where a stage runs twice at once.
        sinks: In the order of the configuration.
        events_per_s: By type, of those that were emitted at all.
    """

    version: str
    phase: Phase
    failure: str | None
    uptime_s: float
    over_s: float
    cameras: tuple[CameraRates, ...]
    stage_load: Mapping[str, float]
    sinks: tuple[SinkRates, ...]
    events_per_s: Mapping[str, float]


def rates_between(earlier: ServiceStatus, later: ServiceStatus) -> ServiceRates:
    """What happened a second between two snapshots of a service.

    Where the service was started anew in between, what counts is the time since that start.
    """
    over_s = (later.taken_ns - earlier.taken_ns) / 1e9
    anew = over_s <= 0 or later.uptime_s < over_s
    if anew:
        over_s = max(later.uptime_s, 1e-3)
    before = {} if anew else {camera.camera: camera for camera in earlier.cameras}
    delivered = {} if anew else {sink.name: sink.delivered for sink in earlier.sinks}
    spent_s = {} if anew else {stage: time.wall_s for stage, time in earlier.stages.items()}
    events = {} if anew else earlier.events
    return ServiceRates(
        version=later.version,
        phase=later.phase,
        failure=later.failure,
        uptime_s=later.uptime_s,
        over_s=over_s,
        cameras=tuple(_camera(before.get(camera.camera), camera, over_s) for camera in later.cameras),
        stage_load={stage: (time.wall_s - spent_s.get(stage, 0.0)) / over_s for stage, time in later.stages.items()},
        sinks=tuple(
            SinkRates(
                sink=sink.name,
                delivered_per_s=(sink.delivered - delivered.get(sink.name, 0)) / over_s,
                pending=sink.pending,
                refused=sink.refused,
                dropped=sink.dropped,
                failing=sink.failing,
                last_error=sink.last_error,
            )
            for sink in later.sinks
        ),
        events_per_s={kind: (count - events.get(kind, 0)) / over_s for kind, count in later.events.items()},
    )


def _camera(before: CameraStatus | None, now: CameraStatus, over_s: float) -> CameraRates:
    had = before.frames if before else {}
    rate = {outcome: (count - had.get(outcome, 0)) / over_s for outcome, count in now.frames.items()}
    ages: Sequence[int] = now.ages.counts if now.ages else ()
    if now.ages and before and before.ages:
        ages = [count - old for count, old in zip(now.ages.counts, before.ages.counts, strict=True)]
    return CameraRates(
        camera=now.camera,
        state=now.state,
        cause=now.cause,
        epoch=now.source.epoch,
        decoded_fps=rate.get("decoded", 0.0),
        detected_fps=rate.get("detected", 0.0),
        wanted_fps=now.wanted_fps,
        age_p50_s=quantile_s(ages, 0.5),
        age_p95_s=quantile_s(ages, 0.95),
        drops_per_s={cause: rate.get(cause, 0.0) for cause in (*DROPS, *sorted(rate.keys() - _NO_DROP))},
        bad_per_s=(now.source.bad_frames - (before.source.bad_frames if before else 0)) / over_s,
        overloaded=now.load is not None and now.load.overloaded,
    )


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The age below which a share of the ages lies, as Prometheus' ``histogram_quantile`` estimates it.

    Args:
        counts: One for each of `AGE_BOUNDS_S`, not cumulative, and one for what was older.
        share: 0 to 1.

    Returns:
        Seconds, linear within a bucket; the last bound for what is beyond it; None of no ages.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    low_s, below = 0.0, 0
    for high_s, count in zip(AGE_BOUNDS_S, counts, strict=False):
        if count and below + count >= rank:
            return low_s + (high_s - low_s) * (rank - below) / count
        low_s, below = high_s, below + count
    return AGE_BOUNDS_S[-1]
