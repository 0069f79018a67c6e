"""``vidface bench models``: detectors and embedders on every engine, measured side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidface.cli.options import JsonOption, parse_canvas
from vidface.cli.output import progress, show
from vidface.errors import UsageError

if TYPE_CHECKING:
    from pipeline.faces import U8Image
    from vidface.evaluation.bench import Told
    from vidface.evaluation.candidates import Candidate
    from vidface.evaluation.models_data import AlignedFaces, Pictures
    from vidface.evaluation.models_lines import CompareOptions


def models(
    *,
    names: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="NAME", help="From 'vidface weights list'; again for another. [default: all]"),
    ] = None,
    engines: Annotated[
        str, typer.Option("--engines", metavar="NAME,...", help="What to run them on.")
    ] = "openvino,onnxruntime,cuda,tensorrt",
    precisions: Annotated[
        str,
        typer.Option("--precisions", metavar="P,...", help="f32, bf16, fp16; int8 is for files that are quantised."),
    ] = "f32,bf16,int8",
    canvas: Annotated[
        str | None,
        typer.Option("--canvas", metavar="WxH", help="The size of detectors' pictures. [default: 640x384]"),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", metavar="N,...", help="Pictures or faces of one call.")] = "1,8",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR|CLIP", help="Pictures: a folder, such as LFW's, or a clip. [default: photos pulled]"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Their true faces: label.txt of a folder, JSON of a clip."),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=1, metavar="N", help="At most so many of them, spread over all.")
    ] = 64,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            "--add", metavar="FILE.toml", help="A model from elsewhere: its model.toml, beside its ONNX file."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.01, metavar="S", help="How long each line and batch size is timed.")
    ] = 2.0,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, metavar="N", help="Instead, how many calls of each are timed.")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, metavar="N", help="Turns in which the lines are timed.")
    ] = 5,
    threads: Annotated[
        int, typer.Option("--threads", min=0, metavar="N", help="Threads of each engine; 0 for as many as there are.")
    ] = 0,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE.json", help="Save this comparison.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report with plots, in one file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare models: latency, throughput, memory, size and accuracy on each engine in each precision.

    All see the same pictures, in turns, each in a process of its own; preprocessing is in the time. A timing counts
    when the line's outputs agree with its full-precision model's. What this machine can't run is listed with the
    reason. Detectors are judged by average precision where there are labels, else by how far they find the same faces
    as the full-precision model of their family; embedders by LFW's pairs where --data has them, else by how similar
    their templates are to that model's.
    """
    from vidface.evaluation.models_bench import compare_models

    options = replace(
        _options(engines, precisions, canvas, batch), seconds=seconds, runs=runs, rounds=rounds, threads=threads
    )
    chosen, known = _models(names or [], add or [])
    with _told() as told:
        seen, faces = _data(chosen, options, data=data, labels=labels, limit=pictures, told=told)
        document = compare_models(chosen, known, options, pictures=seen, faces=faces, told=told)
    show_models(document, save=save, report=report, as_json=as_json)


def show_models(document: dict[str, Any], *, save: Path | None, report: Path | None, as_json: bool) -> None:
    """Print a comparison, and write what is to be written."""
    from vidface.cli.models_tables import say_models
    from vidface.evaluation import saved

    written = []
    if save is not None:
        saved.write(document, save)
        written.append(f"saved: {save}")
    if report is not None:
        from vidface.evaluation.models_report import as_html

        saved.write_text(as_html(document), report)
        written.append(f"report: {report}")
    show(document, lambda: say_models(document, written), as_json=as_json)


def _options(engines: str, precisions: str, canvas: str | None, batch: str) -> CompareOptions:
    from vidface.evaluation.models_lines import ENGINES, PRECISIONS, CompareOptions

    return CompareOptions(
        engines=_some_of(engines, "--engines", tuple(ENGINES)),
        precisions=_some_of(precisions, "--precisions", PRECISIONS),
        canvas=parse_canvas(canvas),
        batches=_batches(batch),
    )


def _some_of(text: str, option: str, legal: Sequence[str]) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = [part for part in given if part not in legal]
    if wrong:
        raise UsageError(f"{option} has {wrong[0]!r}; legal are {', '.join(legal)}, with commas between them")
    return given


def _batches(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or not all(1 <= size <= 256 for size in sizes):
        raise UsageError(f"--batch {text}: expected whole numbers from 1 to 256 with commas between them")
    return sizes


def _models(names: Sequence[str], added: Sequence[Path]) -> tuple[list[Candidate], dict[str, Candidate]]:
    """The models to compare, and all that are at hand."""
    from vidface.evaluation.candidates import ready_models
    from weights import store
    from weights.manifest import SHORT_NAMES

    for path in added:
        if path.suffix.lower() == ".onnx":
            raise UsageError(f"--add {path}: give its model.toml, which says how it is fed")
    ready = ready_models(added)
    known = {model.name: model for model in ready}
    wanted = [SHORT_NAMES.get(name, name) for part in names for name in part.split(",")]
    for name in wanted:
        if name not in known:
            store.verify(name)  # it is unknown, not pulled, or damaged: it says which, and what to do
            raise UsageError(f"{name}: not a detector or an embedder; legal are {', '.join(known) or 'none'}")
    if not known:
        raise UsageError("no model is installed; vidface weights pull fetches the default ones")
    if wanted:
        wanted += [model.name for model in ready[len(ready) - len(added) :]]
    return [known[name] for name in dict.fromkeys(wanted)] or list(known.values()), known


def _data(
    chosen: Sequence[Candidate],
    options: CompareOptions,
    *,
    data: Path | None,
    labels: Path | None,
    limit: int,
    told: Told,
) -> tuple[Pictures | None, AlignedFaces | None]:
    """What the models will see, as far as there are models of each kind."""
    from vidface.evaluation.models_data import aligner, faces_of, faces_of_pairs, find_pairs, read_pictures
    from weights.manifest import Task

    tasks = {model.spec.task for model in chosen}
    told.step("reading pictures")
    detector = aligner(options.canvas, options.threads)
    pairs = find_pairs(data) if Task.EMBED in tasks else None
    pictures: Pictures | None = None
    photos: list[U8Image] = []
    if Task.DETECT in tasks or pairs is None:
        pictures, photos = read_pictures(data, labels, options.canvas, detector.fill_bgr, limit)
    faces = None
    if Task.EMBED in tasks:
        told.step("aligning faces")
        faces = (
            faces_of(photos, detector)
            if pairs is None
            else faces_of_pairs(*pairs, detector, lambda done, of: told.part(done / of))
        )
    return (pictures if Task.DETECT in tasks else None), faces


@contextmanager
def _told() -> Iterator[Told]:
    """A bar on a terminal: a step's name, and how far it is where that is known."""
    from vidface.evaluation.bench import Told

    with progress() as bar:
        task = bar.add_task("comparing", total=None)
        yield Told(
            step=lambda text: bar.update(task, description=text),
            part=lambda done: bar.update(task, total=1.0, completed=min(1.0, done)),
        )
