"""Snapshots made by hand."""

from __future__ import annotations

from dataclasses import replace

from pipeline.events.publisher import SinkStatistics
from pipeline.metrics import AGE_BOUNDS_S, AgeHistogram, StageTime
from streams.source import SourceStatistics
from streams.state import CameraStateName, Cause
from vidface.status import CameraStatus, Phase, ServiceStatus

LIVE, LOST, CONNECTING, ENDED = (
    CameraStateName.LIVE,
    CameraStateName.LOST,
    CameraStateName.CONNECTING,
    CameraStateName.ENDED,
)

SOURCE = SourceStatistics(
    frames=100,
    bad_frames=4,
    connections=3,
    reconnects=2,
    failed_attempts=5,
    repaired_times=6,
    epoch=7,
    state=LIVE,
    last_frame_ns=1,
)

SINK = SinkStatistics(
    name="jsonl", delivered=20, retries=1, refused=2, dropped=4, pending=3, failing=True, last_error="the disk is full"
)


def ages(**counts: int) -> AgeHistogram:
    """Counts by bucket: ``b0`` is the first, ``b13`` what is older than all bounds."""
    held = [counts.get(f"b{place}", 0) for place in range(len(AGE_BOUNDS_S) + 1)]
    return AgeHistogram(counts=tuple(held), sum_s=2.5)


def camera(
    name: str = "door", state: CameraStateName | None = LIVE, cause: str | None = Cause.OPENED, *, live: bool = True
) -> CameraStatus:
    return CameraStatus(
        camera=name,
        state=state,
        cause=cause,
        since_unix_ns=1_700_000_000_000_000_000,
        live=live,
        wanted_fps=5.0,
        frames={"decoded": 100, "detected": 20, "not_due": 70, "superseded": 9},
        source=replace(SOURCE, state=state),
        ages=ages(b0=1, b3=18, b13=1),
    )


def service(
    *cameras: CameraStatus, phase: Phase = Phase.RUNNING, failure: str | None = None, at_s: float = 100.0
) -> ServiceStatus:
    return ServiceStatus(
        version="1.2.3",
        phase=phase,
        failure=failure,
        taken_ns=round(at_s * 1e9),
        uptime_s=at_s - 50,
        cameras=cameras or (camera(),),
        stages={"detect": StageTime(calls=10, items=20, wall_s=1.5)},
        sinks=(SINK,),
        events={"vidface.camera.state": 2},
    )
