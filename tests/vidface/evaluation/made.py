"""Measurements made up: what a run might have found."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.events.event import Event
from pipeline.faces import Faces
from pipeline.metrics import StageTime
from vidface.evaluation.capacity import Probe, find_capacity, judge
from vidface.evaluation.figures import capacity_figures, live_figures, loop_figures, recorded_figures
from vidface.evaluation.live import CameraRun, LiveRun, Tick
from vidface.evaluation.loop import LoopRun, agreement
from vidface.evaluation.throughput import BenchResult, Served, Throughput

STAGES = {
    "scale": StageTime(calls=40, items=50, wall_s=0.05, cpu_s=0.04),
    "detect": StageTime(calls=40, items=50, wall_s=0.5, cpu_s=0.01),
    "events": StageTime(calls=40, items=3, wall_s=0.03, cpu_s=0.02),
    "outbox": StageTime(calls=3, items=3, wall_s=0.02, cpu_s=0.015),
}
CPU_S = {"decode": 0.2, "inference": 0.6, "detect": 0.07, "analysis": 0.05, "sinks": 0.01, "total": 1.0}


def live_run(
    *,
    cameras: int = 2,
    seconds: float = 4.0,
    age_ms: float = 100.0,
    share: float = 1.0,
    worst_share: float | None = None,
    cpu_cores: float = 1.0,
    drops: int = 0,
) -> LiveRun:
    shares = [share] * (cameras - 1) + [share if worst_share is None else worst_share]
    runs = [
        CameraRun(
            camera=f"clip-{number}",
            wanted_fps=5.0,
            delivered_fps=5.0 * got,
            decoded_fps=25.0,
            ages_ms=np.full(round(5 * got * seconds), age_ms),
            outcomes={"decoded": round(25 * seconds), "detected": round(5 * got * seconds), "superseded": drops},
        )
        for number, got in enumerate(shares, start=1)
    ]
    ticks = [
        Tick(
            t_s=float(t_s),
            decisions=10,
            age_p50_ms=age_ms if t_s != 2 else None,
            age_p95_ms=age_ms * 1.5 if t_s != 2 else None,
            drops={"superseded": drops} if drops else {},
            cpu_cores=cpu_cores,
            rss_mib=300.0 + t_s,
        )
        for t_s in range(1, round(seconds) + 1)
    ]
    return LiveRun(
        seconds=seconds,
        cameras=tuple(runs),
        ticks=tuple(ticks),
        stages=STAGES,
        cpu_s={**CPU_S, "total": cpu_cores * seconds},
        identified=("Ada",),
        sightings=3,
    )


def faces(*lefts_px: float) -> Faces:
    boxes = np.array([[left, 0, left + 50, 50] for left in lefts_px], np.float32).reshape(-1, 4)
    count = len(boxes)
    return Faces(
        boxes_xyxy=boxes, scores=np.full(count, 0.9, np.float32), landmarks_xy=np.zeros((count, 5, 2), np.float32)
    )


def loop_run(*, frames: int = 20, frames_of: dict[str, int] | None = None, wall_s: float = 1.0) -> LoopRun:
    return LoopRun(
        frames=frames,
        wall_s=wall_s,
        cpu_s=2 * wall_s,
        faces_by_frame={frame: faces(10, 100) for frame in range(frames)},
        frames_of=frames_of or {},
    )


def throughput(fps: float, frames: int = 50) -> Throughput:
    return Throughput(frames=frames, detected=frames, faces=2 * frames, wall_s=frames / fps, cpu_s=1.0)


def document(mode: str, **changes: Any) -> dict[str, Any]:
    """A whole run, as it is saved."""
    return {
        "format": 1,
        "mode": mode,
        "made_at": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": "A <fast> CPU", "cores": 2, "engines": {"detector": "openvino cpu f32"}, "versions": {}},
        "options": {"clips": ["</script><b>.mp4"], "detect_fps": 5.0, "streams": 2},
        **_figures(mode),
        **changes,
    }


def _figures(mode: str) -> dict[str, Any]:
    if mode == "live":
        return live_figures(live_run(drops=7))
    if mode == "capacity":

        def play(cameras: int, seconds: float, confirming: bool) -> Probe:
            run = live_run(cameras=cameras, seconds=seconds, age_ms=60.0 * cameras * cameras)
            return judge(run, max_age_ms=500.0, cores=2, confirming=confirming)

        capacity = find_capacity(play, probe_s=2, confirm_s=4, rounds=2)
        return capacity_figures(capacity, live_run(cameras=capacity.cameras), max_age_ms=500.0)
    served = Served(throughput=throughput(100), events=no_events(), stages=STAGES, cpu_s=CPU_S, faces_by_frame={})
    result = BenchResult(
        decode=throughput(500),
        machine_decode=throughput(900),
        detect=throughput(150),
        everything=served,
        peak_rss_bytes=2**28,
    )
    loops = [loop_run(), loop_run(wall_s=2.0)]
    found = agreement(loops[0], loops[0].faces_by_frame, no_events(), 3)
    return {
        **recorded_figures(result, streams=1),
        "against_loop": loop_figures(
            loops,
            [throughput(90), throughput(110)],
            found,
            models={"detector": "retinaface"},
            engines={"detector": "onnxruntime"},
        ),
    }


def no_events() -> list[Event]:
    return []
