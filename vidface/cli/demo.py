"""``vidface demo``: the whole product in one command, on public photos, checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidface.cli.options import JsonOption
from vidface.cli.output import complain, progress, say, show, show_table
from vidface.cli.weights import TransferBar

if TYPE_CHECKING:
    from vidface.demo.check import Seen
    from vidface.demo.run import DemoResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    output_dir: Annotated[
        Path, typer.Option("--output-dir", metavar="DIR", help="Where clip, events and annotated video go.")
    ] = Path("demo"),
    seconds: Annotated[float, typer.Option("--seconds", min=6, max=120, metavar="N", help="The clip's length.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """See it work: render a clip of known people and strangers, enrol, serve, and say who was seen when.

    Exit status 1 if somebody was named wrongly or a known person was missed.
    """
    from vidface.demo.run import run_demo

    with progress() as display:
        # Through the display's own console: lines of another one would be overwritten by the bar.
        result = run_demo(
            output_dir,
            seconds=seconds,
            progress=TransferBar(display),
            tell=lambda line: display.console.print(line, style="dim"),
        )
    show(_as_json(result), lambda: _say(result), as_json=as_json)
    for problem in result.problems:
        complain(problem)
    if result.problems:
        raise typer.Exit(1)


def _say(result: DemoResult) -> None:
    from vidface.demo.check import clock

    rows = [
        (
            clock(seen.from_s),
            clock(seen.to_s),
            seen.name or "-",
            seen.answer,
            _number(seen.score),
            _number(seen.margin),
            seen.shots,
            "-" if seen.decided_after_s is None else f"{seen.decided_after_s:.1f} s",
        )
        for seen in result.seen
    ]
    show_table(("from", "to", "who", "decision", "score", "margin", "shots", "decided after"), rows)
    say()
    absent = [name for name in result.enrolled if name not in _names(result.seen)]
    for name in absent:
        say(f"{name} is enrolled, is not in the clip, and was rightly not seen")
    say(f"{result.frames} frames served in {result.served_s:.1f} s, annotated video included")
    say(f"annotated video  {result.annotated}")
    say(f"clip             {result.clip}, what is true of it {result.truth_path}")
    say(f"events           {result.events}")
    say(f"configuration    {result.config}")


def _names(seen: tuple[Seen, ...]) -> set[str]:
    return {name for each in seen for name in each.names_given}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _as_json(result: DemoResult) -> dict[str, Any]:
    return {
        "ok": not result.problems,
        "problems": result.problems,
        "enrolled": result.enrolled,
        "named": sorted(_names(result.seen)),
        "sightings": [dataclasses.asdict(seen) for seen in result.seen],
        "frames": result.frames,
        "served_s": round(result.served_s, 3),
        "annotated_video": result.annotated,
        "clip": result.clip,
        "truth": result.truth_path,
        "events": result.events,
        "config": result.config,
    }
