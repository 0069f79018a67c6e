"""Measurements as the JSON that is printed, saved, compared and drawn: numbers with their units in their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from pipeline.metrics import StageTime
from vidface.evaluation.account import account
from vidface.evaluation.capacity import EDGE_FRAMES, MIN_SHARE, Capacity
from vidface.evaluation.live import CameraRun, LiveRun, age_percentiles, drops_of
from vidface.evaluation.loop import Agreement, LoopRun
from vidface.evaluation.throughput import BenchResult, Throughput

Figures = dict[str, Any]


def recorded_figures(result: BenchResult, *, streams: int) -> Figures:
    """The figures of recordings."""
    served = result.everything
    everything, decode, machine = served.throughput, result.decode, result.machine_decode
    return {
        "fps": round(everything.fps, 1),
        "decode_fps": round(decode.fps, 1),
        "machine_decode_fps": round(machine.fps, 1),
        "detect_only_fps": round(result.detect.fps, 1),
        "ratio_to_decode": round(everything.fps / decode.fps, 4),
        "ratio_to_machine_decode": round(everything.fps / machine.fps, 4),
        "ratio_to_detect_only": round(everything.fps / result.detect.fps, 4),
        "faces_per_frame": round(everything.faces / max(1, everything.detected), 3),
        "streams": streams,
        "frames": everything.frames,
        "detected_frames": everything.detected,
        "events": len(served.events),
        "outputs_checked": True,
        "peak_rss_mib": round(result.peak_rss_bytes / 2**20, 1),
        "runs": {
            "decode": _run(decode),
            "machine_decode": _run(machine),
            "detect": _run(result.detect),
            "everything": _run(everything),
        },
        "stages": _stages(served.stages),
        "account": _account(served.cpu_s, served.stages, frames=everything.frames, seconds=everything.wall_s),
    }


def loop_figures(
    loops: Sequence[LoopRun],
    ours: Sequence[Throughput],
    found: Agreement,
    *,
    models: Mapping[str, str],
    engines: Mapping[str, str],
) -> Figures:
    """The figures of the plain loop beside the service, run in turns."""
    loop_fps, our_fps = median(run.fps for run in loops), median(run.fps for run in ours)
    pairs = list(zip(loops, ours, strict=True))
    return {
        "ratio": round(our_fps / loop_fps, 3),
        "ratio_by_round": [round(run.fps / loop.fps, 3) for loop, run in pairs],
        "fps": round(our_fps, 1),
        "loop_fps": round(loop_fps, 1),
        "fps_by_round": [round(run.fps, 1) for run in ours],
        "loop_fps_by_round": [round(run.fps, 1) for run in loops],
        "loop_frames": loops[0].frames,
        "loop_cpu_ms_per_frame": round(1e3 * median(run.cpu_s / run.frames for run in loops), 3),
        "loop_models": dict(models),
        "loop_engines": dict(engines),
        "outputs": {
            "frames_compared": found.frames,
            "faces_loop_found": round(found.loop_found, 4),
            "faces_service_found": round(found.service_found, 4),
            "people_both": len(found.people),
            "people_loop_only": len(found.loop_only),
            "people_service_only": len(found.service_only),
        },
    }


def live_figures(run: LiveRun) -> Figures:
    """The figures of live cameras."""
    frames = sum(camera.outcomes.get("decoded", 0) for camera in run.cameras)
    outcomes: Counter[str] = Counter()
    for camera in run.cameras:
        outcomes.update(camera.outcomes)
    delivered, wanted = sum(c.delivered_fps for c in run.cameras), sum(c.wanted_fps for c in run.cameras)
    memory = [tick.rss_mib for tick in run.ticks]
    return {
        "seconds": round(run.seconds, 2),
        "overall": {
            "cameras": len(run.cameras),
            "wanted_fps": round(wanted, 2),
            "delivered_fps": round(delivered, 2),
            "share": round(delivered / wanted, 4),
            "worst_camera": run.worst.camera,
            "worst_share": round(run.worst.share, 4),
            "decoded_fps": round(sum(c.decoded_fps for c in run.cameras), 1),
            "age_ms": _ages(age_percentiles(run.ages_ms)),
            "outcomes": dict(outcomes),
            "drops": drops_of(outcomes),
            "cpu_cores": round(run.cpu_cores, 3),
            "rss_mib": {"first": round(memory[0], 1), "last": round(memory[-1], 1), "peak": round(max(memory), 1)},
            "sightings": run.sightings,
            "people_identified": len(run.identified),
        },
        "cameras": [_camera(camera) for camera in run.cameras],
        "series": [
            {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(tick).items()}
            for tick in run.ticks
        ],
        "stages": _stages(run.stages),
        "account": _account(run.cpu_s, run.stages, frames=frames, seconds=run.seconds),
    }


def capacity_figures(capacity: Capacity, at_capacity: LiveRun | None, *, max_age_ms: float) -> Figures:
    """The figures of a search for the largest number of cameras."""
    return {
        "capacity": capacity.cameras,
        "statement": capacity.statement,
        "bounds": {"age_p95_ms": max_age_ms, "least_share_of_each_camera": MIN_SHARE, "edge_frames": EDGE_FRAMES},
        "confirmed": _none_or_dict(capacity.confirmed),
        "beyond": _none_or_dict(capacity.beyond),
        "probes": [
            {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(probe).items()}
            for probe in capacity.probes
        ],
        "at_capacity": live_figures(at_capacity) if at_capacity is not None else None,
    }


def _none_or_dict(value: Any) -> Figures | None:
    return None if value is None else asdict(value)


def _camera(camera: CameraRun) -> Figures:
    return {
        "camera": camera.camera,
        "wanted_fps": round(camera.wanted_fps, 2),
        "delivered_fps": round(camera.delivered_fps, 2),
        "share": round(camera.share, 4),
        "decoded_fps": round(camera.decoded_fps, 2),
        "age_ms": _ages(age_percentiles(camera.ages_ms)),
        "drops": drops_of(camera.outcomes),
    }


def _ages(ages: Mapping[str, float | None]) -> Figures:
    return {name: None if value is None else round(value, 1) for name, value in ages.items()}


def _run(run: Throughput) -> dict[str, float]:
    return {
        "fps": round(run.fps, 1),
        "frames": run.frames,
        "wall_s": round(run.wall_s, 3),
        "cpu_s": round(run.cpu_s, 3),
        "cpu_ms_per_frame": round(1e3 * run.cpu_s / run.frames, 3),
    }


def _stages(stages: Mapping[str, StageTime]) -> Figures:
    return {
        stage: {
            "calls": time.calls,
            "items": time.items,
            "wall_s": round(time.wall_s, 3),
            "cpu_s": round(time.cpu_s, 3),
            "ms_per_item": round(1e3 * time.wall_s / max(1, time.items), 3),
        }
        for stage, time in stages.items()
    }


def _account(
    cpu_s: Mapping[str, float], stages: Mapping[str, StageTime], *, frames: int, seconds: float
) -> list[Figures]:
    total_s = cpu_s["total"]
    return [
        {
            "part": row.part,
            "thread": row.thread,
            "cpu_s": round(row.cpu_s, 4),
            "cpu_ms_per_frame": round(1e3 * row.cpu_s / max(1, frames), 4),
            "cores": round(row.cpu_s / seconds, 4),
            "part_of_all": round(row.cpu_s / total_s, 4) if total_s else 0.0,
        }
        for row in account(cpu_s, stages)
    ]
