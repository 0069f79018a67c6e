"""``vidface bench``: what this machine can take, and where the time goes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from vidface.cli.bench_models import models, show_models
from vidface.cli.options import JsonOption
from vidface.cli.output import note, progress, show, warn
from vidface.errors import UsageError

MODELS = "models"
"""The command below this one, and what its saved runs say that they are."""

if TYPE_CHECKING:
    from vidface.evaluation.bench import BenchOptions, Mode, Told


class PlayedAs(StrEnum):
    """How clips are played."""

    RECORDED = "recorded"
    LIVE = "live"


class Against(StrEnum):
    """What the service is held against."""

    LOOP = "loop"


def register(app: typer.Typer) -> None:
    """Add the command, and the one below it."""
    app.command(cls=_Bench)(bench)


class _Bench(TyperCommand):
    """``vidface bench CLIP...``, and ``vidface bench models``: the first word decides. A clip may be ``./models``."""

    @property
    def below(self) -> dict[str, TyperCommand]:
        """The commands below this one, by name. Not ``commands``, as in a group: a clip may follow as well."""
        app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
        app.command(name=MODELS)(models)
        command = get_command(app)
        assert isinstance(command, TyperCommand)
        return {MODELS: command}

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand over to the command below where it is named: what is run is the context's command."""
        if args and args[0] in self.below:
            return self.below[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def bench(
    clips: Annotated[
        list[Path],
        typer.Argument(metavar="CLIP...", help="Recorded footage; or one saved run, to be shown again unmeasured."),
    ],
    *,
    mode: Annotated[
        PlayedAs,
        typer.Option("--mode", help="As recordings, as fast as can be; or looped, at their own pace, as live cameras."),
    ] = PlayedAs.RECORDED,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Find the largest number of live cameras that this machine holds.")
    ] = False,
    streams: Annotated[
        int | None,
        typer.Option("--streams", "--cameras", min=1, metavar="N", help="Play the clips as so many cameras at once."),
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option("--detect-every", min=1, metavar="K", help="Look for faces in each K-th frame.")
    ] = None,
    detect_fps: Annotated[
        float | None,
        typer.Option("--detect-fps", min=0.1, metavar="F", help="Look for faces F times a second; 5 for --capacity."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, metavar="S", help="How long live cameras, or a probe, are measured.")
    ] = 10.0,
    max_age_ms: Annotated[
        float,
        typer.Option("--max-age-ms", min=1.0, metavar="MS", help="The p95 age of decisions that --capacity allows."),
    ] = 500.0,
    against: Annotated[
        Against | None,
        typer.Option("--against", help="Run the plain loop that one would write, never quantised, in turns."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", min=1, metavar="N", help="Turns of --against (2), confirmation runs of --capacity (3)."
        ),
    ] = None,
    loop_frames: Annotated[
        int | None, typer.Option("--loop-frames", min=1, metavar="N", help="End the plain loop after N frames.")
    ] = None,
    enrol: Annotated[
        Path | None, typer.Option("--enrol", metavar="DIR", help="Photos of people to enrol first, NAME.jpg.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Options to measure; its cameras, sinks and data are not used."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OLD.json", help="Show a saved run beside this one.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE.json", help="Save this run.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report with plots, in one file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what this machine can take, with everything on: track, embed, match, publish.

    Recordings are measured beside their floors, decoding alone and detection alone; the events are first checked to be
    those that `vidface serve` publishes for the same clips. Live cameras are measured by how many of the wanted
    detections come, and by the age of decisions. 'vidface bench models' compares models.
    """
    from vidface.evaluation import saved
    from vidface.evaluation.bench import BenchOptions, Mode

    if detect_every is not None and detect_fps is not None:
        raise UsageError("give --detect-every or --detect-fps, not both")
    if capacity and against:
        raise UsageError("give --capacity or --against, not both")
    if against and mode is PlayedAs.LIVE:
        raise UsageError("--against plays recordings: the plain loop can't keep to a camera's pace")
    old = saved.read(compare) if compare is not None else None  # before minutes of measuring
    kind = Mode.CAPACITY if capacity else Mode(mode.value)
    if len(clips) == 1 and clips[0].suffix.lower() == ".json":
        document = saved.read(clips[0])
    else:
        options = BenchOptions(
            streams=streams,
            detect_every=detect_every,
            detect_fps=5.0 if capacity and detect_every is None and detect_fps is None else detect_fps,
            seconds=seconds,
            max_age_ms=max_age_ms,
            against_loop=against is not None,
            rounds=rounds or (3 if capacity else 2),
            loop_frames=loop_frames,
        )
        document = _measured(kind, clips, options, config=config, enrol=enrol)
    if document["mode"] == MODELS:
        _refuse_comparison(compare)
        show_models(document, save=save, report=report, as_json=as_json)
    else:
        _show_run(document, old, save=save, report=report, as_json=as_json)


def _show_run(
    document: dict[str, Any], old: dict[str, Any] | None, *, save: Path | None, report: Path | None, as_json: bool
) -> None:
    from vidface.cli.bench_tables import say_document
    from vidface.evaluation import saved

    if save is not None:
        saved.write(document, save)
    comparison = saved.compare(old, document) if old is not None else None
    if report is not None:
        from vidface.evaluation.report import as_html

        saved.write_text(as_html(document, old), report)
    for warning in comparison.warnings if comparison is not None else ():
        warn(warning)
    value = document
    if comparison is not None:
        changes = [
            {"figure": each.name, "old": each.old, "new": each.new, "percent": each.percent}
            for each in comparison.changes
        ]
        value = {**document, "comparison": {"warnings": list(comparison.warnings), "changes": changes}}
    written = [f"{what}: {path}" for what, path in (("saved", save), ("report", report)) if path is not None]
    show(value, lambda: say_document(document, comparison, written), as_json=as_json)


def _refuse_comparison(compare: Path | None) -> None:
    if compare is not None:
        raise UsageError("--compare holds runs of 'vidface bench CLIP' against each other, not comparisons of models")


def _measured(
    mode: Mode, clips: list[Path], options: BenchOptions, *, config: Path | None, enrol: Path | None
) -> dict[str, Any]:
    from vidface.cli.weights import pull_progress
    from vidface.evaluation.bench import run_bench
    from vidface.evaluation.run import clip_config, enrol_folder

    played = [clips[place % len(clips)].absolute() for place in range(max(options.streams or 1, len(clips)))]
    every, fps = options.detect_every, options.detect_fps
    with tempfile.TemporaryDirectory(prefix="vidface-bench-") as folder, pull_progress() as pulling:
        measured = clip_config(played, Path(folder), base=config, detect_every=every, detect_fps=fps)
        reference = clip_config(
            list(dict.fromkeys(played)), Path(folder), base=config, detect_every=every, detect_fps=fps
        )
        if enrol is not None:
            for refusal in enrol_folder(measured, enrol, pulling):
                note(f"{refusal.photo}: {refusal.reason}")
        with _told() as told:
            return run_bench(mode, measured, reference, options, progress=pulling, told=told)


@contextmanager
def _told() -> Iterator[Told]:
    """A bar on a terminal: a step's name, and how far it is where that is known."""
    from vidface.evaluation.bench import Told

    with progress() as bar:
        task = bar.add_task("measuring", total=None)
        yield Told(
            step=lambda text: bar.reset(task, description=text, total=None),
            part=lambda done: bar.update(task, total=1.0, completed=min(1.0, done)),
        )
