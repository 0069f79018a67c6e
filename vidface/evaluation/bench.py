"""One run of `vidface bench`: models compiled once, everything measured with them, one document in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.engine import usable_cpus
from vidface.assemble import Models, identify_options, max_batch, open_models
from vidface.config.model import Config
from vidface.evaluation.capacity import Probe, find_capacity, judge
from vidface.evaluation.figures import capacity_figures, live_figures, loop_figures, recorded_figures
from vidface.evaluation.live import SETTLE_S, LiveRun, as_cameras, play_live
from vidface.evaluation.loop import PlainLoop, agreement, check_agreement
from vidface.evaluation.saved import FORMAT
from vidface.evaluation.system import describe_machine
from vidface.evaluation.throughput import measure, serve_once
from weights.progress import Progress

CONFIRM_FACTOR = 2.0
"""How much longer the runs are that decide about a capacity than the probes that find its place."""


class Mode(StrEnum):
    """What is measured."""

    RECORDED = "recorded"
    LIVE = "live"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What a run is asked for; saved beside its figures.

    Attributes:
        streams: Cameras or streams at once; of a capacity the number to begin with, None for the default.
        detect_every: Detect each so-manieth frame.
        detect_fps: Detect so many times a second.
        seconds: The window of a live run, or of a probe.
        max_age_ms: The bound of a capacity's 95th percentile of ages.
        against_loop: Whether the plain loop is run beside recordings.
        rounds: Turns of the plain loop and the service; confirmation runs of a capacity.
        loop_frames: The plain loop stops after so many frames; None for all.
    """

    streams: int | None = None
    detect_every: int | None = None
    detect_fps: float | None = None
    seconds: float = 10.0
    max_age_ms: float = 500.0
    against_loop: bool = False
    rounds: int = 2
    loop_frames: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where a run tells how far it is.

    Attributes:
        step: What is measured next.
        part: How far the step is, 0 to 1; None where that is not known.
    """

    step: Callable[[str], None]
    part: Callable[[float], None]


SILENT = Told(step=lambda _text: None, part=lambda _done: None)


def run_bench(
    mode: Mode,
    config: Config,
    reference: Config,
    options: BenchOptions,
    *,
    progress: Progress | None = None,
    told: Told = SILENT,
) -> dict[str, Any]:
    """Measure, and describe what was measured.

    Args:
        mode: What to measure.
        config: The cameras ``clip-1`` ... with recordings, once for each stream.
        reference: The same, with each distinct recording once.
        options: What is asked for.
        progress: Told about weights that are pulled.
        told: Told how far it is.

    Raises:
        VidfaceError: A clip is no video, or outputs differ.
        SourceError: A clip can't be opened.
    """
    told.step("compiling models")
    models = open_models(
        config.detector, config.embedder, config.engine, max_batch=max_batch(config), progress=progress
    )
    if mode is Mode.RECORDED:
        figures = _recorded(config, reference, models, options, told)
    elif mode is Mode.LIVE:
        figures = live_figures(
            _live(config, models, cameras=len(config.cameras), seconds=options.seconds, name="live", told=told)
        )
    else:
        figures = _capacity(config, models, options, told)
    return {
        "format": FORMAT,
        "mode": mode.value,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(models),
        "options": _described(mode, config, options),
        **figures,
    }


def _described(mode: Mode, config: Config, options: BenchOptions) -> Mapping[str, Any]:
    """The options that this mode heeds."""
    heeded = {
        Mode.RECORDED: {"against_loop", *({"rounds", "loop_frames"} if options.against_loop else ())},
        Mode.LIVE: {"seconds"},
        Mode.CAPACITY: {"seconds", "max_age_ms", "rounds"},
    }[mode]
    unheeded = {"against_loop", "rounds", "loop_frames", "seconds", "max_age_ms"} - heeded
    return {
        "clips": list(dict.fromkeys(Path(camera.source).name for camera in config.cameras)),
        **{name: value for name, value in asdict(options).items() if name not in unheeded},
        "streams": len(config.cameras),
        "canvas": list(config.detector.canvas),
        "models": {"detector": config.detector.model, "embedder": config.embedder.model},
        "decode_threads": config.cameras[0].decode_threads,
        "max_batch": max_batch(config),
    }


def _recorded(config: Config, reference: Config, models: Models, options: BenchOptions, told: Told) -> dict[str, Any]:
    result = measure(config, reference, models, on_step=told.step)
    figures = recorded_figures(result, streams=len(config.cameras))
    if options.against_loop:
        figures["against_loop"] = _against_loop(config, models, options, told)
    return figures


def _against_loop(config: Config, models: Models, options: BenchOptions, told: Told) -> dict[str, Any]:
    """The plain loop and the service in turns: machines drift, and so both feel the same of it."""
    told.step("compiling the plain loop's models")
    loop = PlainLoop(config)
    loops, served = [], []
    for number in range(1, options.rounds + 1):
        told.step(f"plain loop, round {number} of {options.rounds}")
        loops.append(loop.run(options.loop_frames))
        told.step(f"everything, round {number} of {options.rounds}")
        served.append(serve_once(config, models))
    first = config.cameras[0].id
    events = [event for event in served[0].events if event.camera == first]
    min_shots = identify_options(config)(0).min_shots
    found = agreement(loops[0], served[0].faces_by_frame, events, min_shots)
    check_agreement(found)
    return loop_figures(loops, [run.throughput for run in served], found, models=loop.models, engines=loop.engines)


def _live(config: Config, models: Models, *, cameras: int, seconds: float, name: str, told: Told) -> LiveRun:
    told.step(f"{name}: {cameras} camera(s), {seconds:g} s")
    span_s = seconds + SETTLE_S
    return play_live(
        as_cameras(config, cameras), models, seconds=seconds, on_tick=lambda t_s: told.part((t_s + SETTLE_S) / span_s)
    )


def _capacity(config: Config, models: Models, options: BenchOptions, told: Told) -> dict[str, Any]:
    runs: dict[int, LiveRun] = {}

    def play(cameras: int, seconds: float, confirming: bool) -> Probe:
        run = _live(
            config,
            models,
            cameras=cameras,
            seconds=seconds,
            name="confirming" if confirming else "probing",
            told=told,
        )
        runs[cameras] = run
        return judge(run, max_age_ms=options.max_age_ms, cores=usable_cpus(), confirming=confirming)

    capacity = find_capacity(
        play,
        probe_s=options.seconds,
        confirm_s=options.seconds * CONFIRM_FACTOR,
        rounds=options.rounds,
        **({"first": options.streams} if options.streams else {}),
    )
    return capacity_figures(capacity, runs.get(capacity.cameras), max_age_ms=options.max_age_ms)
