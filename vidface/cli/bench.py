"""``vidface bench``: how much footage this machine can take, and where the time goes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidface.cli.options import JsonOption
from vidface.cli.output import note, progress, say, show, show_table
from vidface.errors import UsageError

if TYPE_CHECKING:
    from vidface.evaluation.bench import BenchResult, Throughput


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Recorded footage.")],
    *,
    streams: Annotated[
        int | None, typer.Option("--streams", min=1, metavar="N", help="Play the clips as so many cameras at once.")
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option("--detect-every", min=1, metavar="K", help="Look for faces in each K-th frame.")
    ] = None,
    detect_fps: Annotated[
        float | None, typer.Option("--detect-fps", min=0.1, metavar="F", help="Look for faces F times a second.")
    ] = None,
    enrol: Annotated[
        Path | None, typer.Option("--enrol", metavar="DIR", help="Photos of people to enrol first, NAME.jpg.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Options to measure; its cameras, sinks and data are not used."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure throughput on recorded footage, with everything on: track, embed, match, publish.

    The decode-only and the detect-only floor are measured in the same run. The events are first checked to be those
    that `vidface serve` publishes for the same clips.
    """
    if detect_every is not None and detect_fps is not None:
        raise UsageError("give --detect-every or --detect-fps, not both")
    from vidface.cli.weights import pull_progress
    from vidface.evaluation.bench import measure
    from vidface.evaluation.run import clip_config, enrol_folder

    played = [clips[place % len(clips)].absolute() for place in range(max(streams or len(clips), len(clips)))]
    with tempfile.TemporaryDirectory(prefix="vidface-bench-") as folder, pull_progress() as pulling:
        measured = clip_config(played, Path(folder), base=config, detect_every=detect_every, detect_fps=detect_fps)
        reference = clip_config(
            list(dict.fromkeys(played)), Path(folder), base=config, detect_every=detect_every, detect_fps=detect_fps
        )
        if enrol is not None:
            for refusal in enrol_folder(measured, enrol, pulling):
                note(f"{refusal.photo}: {refusal.reason}")
        with progress() as bar:
            task = bar.add_task("measuring", total=5)

            def on_step(step: str) -> None:
                bar.update(task, description=step, advance=1)

            result = measure(measured, reference, progress=pulling, on_step=on_step)
    value = as_value(result, streams=len(played))
    show(value, lambda: _say(value), as_json=as_json)


def as_value(result: BenchResult, *, streams: int) -> dict[str, Any]:
    """The figures as JSON prints them."""
    everything, decode, detect = result.everything, result.decode, result.detect
    return {
        "fps": round(everything.fps, 1),
        "decode_fps": round(decode.fps, 1),
        "detect_only_fps": round(detect.fps, 1),
        "ratio_to_decode": round(everything.fps / decode.fps, 4),
        "ratio_to_detect_only": round(everything.fps / detect.fps, 4),
        "faces_per_frame": round(everything.faces / max(1, everything.detected), 3),
        "streams": streams,
        "frames": everything.frames,
        "detected_frames": everything.detected,
        "events": result.events,
        "outputs_checked": True,
        "peak_rss_mib": round(result.peak_rss_bytes / 2**20, 1),
        "runs": {name: _run(run) for name, run in (("decode", decode), ("detect", detect), ("everything", everything))},
        "stages": {
            stage: {
                "calls": time.calls,
                "items": time.items,
                "wall_s": round(time.wall_s, 3),
                "ms_per_item": round(1e3 * time.wall_s / max(1, time.items), 3),
            }
            for stage, time in result.stages.items()
        },
    }


def _run(run: Throughput) -> dict[str, float]:
    return {
        "fps": round(run.fps, 1),
        "wall_s": round(run.wall_s, 3),
        "cpu_s": round(run.cpu_s, 3),
        "cpu_ms_per_frame": round(1e3 * run.cpu_s / run.frames, 3),
    }


def _say(value: dict[str, Any]) -> None:
    rows = [
        (name, run["fps"], run["cpu_ms_per_frame"], f"{run['fps'] / value['decode_fps']:.2f}")
        for name, run in value["runs"].items()
    ]
    show_table(("run", "frames/s", "CPU ms/frame", "of decoding"), rows)
    say()
    stages = [(stage, time["items"], time["ms_per_item"], time["wall_s"]) for stage, time in value["stages"].items()]
    show_table(("stage", "items", "ms/item", "seconds"), stages)
    say()
    say(
        f"{value['streams']} stream(s), {value['frames']} frames, {value['faces_per_frame']} faces a frame, "
        f"{value['events']} events as serve publishes them; peak memory {value['peak_rss_mib']:.0f} MiB"
    )
