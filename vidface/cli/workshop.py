"""The commands of the weights workshop: ``vidface weights optimise``, ``quantise``, ``train-detector`` ..."""

from __future__ import annotations

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vidface.cli.options import JsonOption, parse_canvas
from vidface.cli.output import note, progress, say, show, show_table
from vidface.errors import UsageError
from weights.errors import MissingWorkshop
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Task, load_manifest
from weights.store import default_cache_dir

NEEDED = ("torch", "torchvision", "torch_pruning", "nncf", "onnxscript")


class Format(StrEnum):
    """What a model is exported as."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch"
    TENSORRT = "tensorrt"


class Architecture(StrEnum):
    """What a checkpoint is of."""

    OWN = "own"
    RETINAFACE_MOBILENET = "retinaface-mobilenet0.25"
    RETINAFACE_RESNET50 = "retinaface-resnet50"
    MOBILEFACENET = "mobilefacenet"


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model from 'vidface weights list'.")]
DataOption = Annotated[
    Path,
    typer.Option("--data", metavar="FOLDER_OR_CLIP", help="Pictures like those of your cameras; no labels needed."),
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="What the result is called.")]
WorkOption = Annotated[
    Path | None,
    typer.Option("--work-dir", metavar="DIR", help="Where half-done work is kept. [default: in the cache folder]"),
]
OutputOption = Annotated[Path, typer.Option("--output", metavar="DIR", help="Checkpoints and logs go here.")]
MinutesOption = Annotated[float, typer.Option("--minutes", min=0.05, metavar="M", help="How long to train.")]
RateOption = Annotated[float, typer.Option("--learning-rate", metavar="R", help="The highest.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of all that is random.")]
ComparedOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER_OR_CLIP", help="Pictures to compare on. [default: photos pulled]"),
]
CanvasOption = Annotated[str, typer.Option("--canvas", metavar="WxH", help="The size to measure at.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``vidface weights``."""
    group.command()(optimise)
    group.command()(quantise)
    group.command(name="import")(import_weights)
    group.command()(export)
    group.command(name="train-detector")(train_detector)
    group.command(name="train-embedder")(train_embedder)


def optimise(
    model: ModelArgument,
    data: DataOption,
    *,
    speedup: Annotated[
        float, typer.Option("--speedup", min=1.0, metavar="X", help="Times as fast as float32 in ONNX Runtime.")
    ] = 3.0,
    keep: Annotated[
        float, typer.Option("--keep", min=0.0, max=1.0, metavar="F1", help="The least agreement with the full model.")
    ] = 0.95,
    minutes: Annotated[float, typer.Option("--minutes", min=1.0, metavar="M", help="How long it may take.")] = 50.0,
    canvas: CanvasOption = "640x384",
    name: NameOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a report. [default: in the work folder]")
    ] = None,
    work_dir: WorkOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a detector faster for your pictures: prune, distil, quantise, measure, and register what meets the goal.

    Interrupted, the same command goes on where it was. If the goal is not met, it says what was reached, registers
    nothing, and ends with exit status 1; the default stays what it is in either case.
    """
    _there(data)
    _require()
    from vidface.evaluation.saved import write_text
    from vidface.workshop.goal import Goal, Told
    from vidface.workshop.optimise import optimise as run
    from vidface.workshop.report import as_html

    model = _known(model)
    name = _new_name(name or f"{model}-fast", of=Task.DETECT)
    work_dir = work_dir or default_cache_dir() / "workshop" / name
    goal = Goal(speedup=speedup, keep=keep, minutes=minutes, canvas=parse_canvas(canvas), seed=seed)
    with progress() as bar:
        task = bar.add_task("optimising", total=None)
        told = Told(
            step=lambda text: bar.reset(task, description=text, total=None),
            part=lambda done: bar.update(task, total=1.0, completed=min(1.0, done)),
        )
        document = run(model, data, goal, name=name, work_dir=work_dir, told=told)
    report = report or work_dir / "report.html"
    write_text(as_html(document), report)
    value = {**document, "report": report}
    show(value, lambda: _say_optimised(document, report), as_json=as_json)
    if document["registered"] is None:
        raise typer.Exit(1)


def _say_optimised(document: dict[str, Any], report: Path) -> None:
    goal = document["goal"]
    rows = [
        (
            line["name"],
            f"{line['speedup']:.2f}",
            f"{document['timings'][line['name']]['median_ms']:.2f}",
            f"{line['agreement']['f1']:.4f}",
            f"{line['agreement']['small_recall']:.4f}",
            f"{line['agreement']['landmark_error_px']:.2f}",
            "yes" if all(line["met"].values()) else f"no: {', '.join(k for k, ok in line['met'].items() if not ok)}",
        )
        for line in document["candidates"]
    ]
    head = ("candidate", "times as fast", "median ms", "F1", "recall under 30 px", "landmarks, px", "meets the goal")
    show_table(head, rows)
    if document["registered"]:
        say(f"registered as {document['registered']}: in cameras.yaml, detector: {{model: {document['registered']}}}")
    else:
        best = max(document["candidates"], key=lambda line: line["speedup"])
        say(
            f"the goal of {goal['speedup']:g} times the speed at F1 {goal['keep']:g} was not met: the fastest has "
            f"{best['speedup']:.2f} times at F1 {best['agreement']['f1']:.3f}; nothing was registered. More --minutes, "
            "more pictures, or a lower --speedup may help"
        )
    note(f"report: {report}")


def quantise(
    model: ModelArgument,
    data: DataOption,
    *,
    keep: Annotated[
        float,
        typer.Option("--keep", min=0.0, max=1.0, metavar="F1", help="A detector's agreement with float to aim at."),
    ] = 0.985,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, metavar="M", help="The longest time an embedder learns.")
    ] = None,
    canvas: CanvasOption = "640x384",
    name: NameOption = None,
    work_dir: WorkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the int8 version of a model: one file for OpenVINO, ONNX Runtime and TensorRT.

    Of a detector the layers that hurt most are left in float. An embedder learns what rounding lost, for some minutes;
    its templates can be compared with those of its source: a gallery stays as it is.
    """
    _there(data)
    _require()
    from vidface.workshop.quantise import quantise_model

    model = _known(model)
    name = _new_name(name or f"{model}-int8", of=load_manifest().model(model).task)
    with progress() as bar:
        task = bar.add_task(f"quantising {model}", total=None)
        made = quantise_model(
            model,
            data,
            name=name,
            work_dir=work_dir or default_cache_dir() / "workshop" / name,
            canvas=parse_canvas(canvas),
            floor=keep,
            minutes=minutes,
            on_step=lambda what, value: bar.update(task, description=f"{what}: {value:.4f}"),
        )

    def human() -> None:
        like = (
            f"F1 {made['agreement']['f1']:.4f} against it"
            if "agreement" in made
            else f"templates like it, cosine similarity {made['similarity']['mean']:.4f}"
        )
        say(f"{made['name']}: {made['times_as_fast']:.2f} times as fast as {model} in OpenVINO's float32, {like}")
        say(
            f"{made['layers_in_int8']} layers in int8, {len(made['left_in_float'])} left in float; "
            f"{made['source_bytes'] / 1e6:.2f} MB before, {made['target_bytes'] / 1e6:.2f} MB after"
        )
        if not made["reached"]:
            say(f"the agreement aimed at, {keep:g}, was not reached: {made['measured']:.4f}")

    show(made, human, as_json=as_json)


def import_weights(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A PyTorch checkpoint, or an ONNX file with model.toml.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What it is called from now on.")],
    architecture: Annotated[
        Architecture,
        typer.Option("--architecture", help="What a checkpoint is of; 'own' for one that was trained here."),
    ] = Architecture.OWN,
    data: ComparedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a model from elsewhere: convert a checkpoint, compare it with its source, and register it."""
    name = _new_name(name)
    _there(file)
    from_onnx = file.suffix.lower() in {".onnx", ".toml"}
    if from_onnx:
        value = _import_onnx(file, name, data)
    elif file.is_dir() or file.suffix.lower() in {".tflite", ".xml"}:
        raise UsageError(f"{file}: neither a PyTorch checkpoint nor an ONNX file")
    else:
        _require()
        value = _import_checkpoint(file, name, architecture, data)
    made = f"{value['name']}: {value['path']}"
    show(value, lambda: _say_made(made, value["max_error"], engines=from_onnx), as_json=as_json)


def _say_made(what: str, max_error: float | None, *, engines: bool) -> None:
    say(what)
    if max_error is not None:
        between = "between ONNX Runtime's and OpenVINO's outputs" if engines else "of an output from its source's"
        say(f"largest difference {between}: {max_error:.2g}")


def _import_onnx(file: Path, name: str, data: Path | None) -> dict[str, Any]:
    from dataclasses import replace

    from vidface.workshop.exporting import engines_differ
    from vidface.workshop.network import real_pictures
    from weights.local import FILE_NAME, read_and_check
    from weights.local import register as register_file

    manifest = file if file.suffix.lower() == ".toml" else file.with_name(FILE_NAME)
    if not manifest.is_file():
        raise UsageError(
            f"{file}: a model.toml beside it has to say how it is fed; there is none. 'vidface weights export' writes "
            "one beside what it exports, to begin from"
        )
    model = read_and_check(manifest)
    sample = real_pictures(data, model.spec)
    error = engines_differ(model.path, model.spec, sample)  # it opens, and is what its manifest says
    like = replace(model.spec, name=model.spec.based_on or model.spec.name)
    made = register_file(
        model.path,
        name=name,
        like=like,
        architecture=model.spec.architecture,
        accuracy=model.spec.accuracy,
        same_templates=bool(model.spec.templates_of),
    )
    return {"name": made.spec.name, "path": made.path, "max_error": error}


def _import_checkpoint(file: Path, name: str, architecture: Architecture, data: Path | None) -> dict[str, Any]:
    import tempfile

    from vidface.workshop.network import export as write
    from vidface.workshop.network import like_spec, public_network, real_pictures, registered
    from weights.workshop import checkpoint
    from weights.workshop.layers import fold_normalisation
    from weights.workshop.mobilefacenet import MobileFaceNet

    if architecture is Architecture.OWN:
        network = fold_normalisation(checkpoint.load(file))
    else:
        network = public_network(file, architecture.value)
    spec = like_spec(Task.EMBED if isinstance(network, MobileFaceNet) else Task.DETECT)
    sample = real_pictures(data, spec)
    with tempfile.TemporaryDirectory(prefix="vidface-import-") as folder:
        path = Path(folder, "model.onnx")
        made, error = write(network, spec, path, sample)
        model = registered(path, made, name=name, based_on=spec, how=f"imported from {file.name}")
    return {"name": model.spec.name, "path": model.path, "max_error": error}


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where the files go.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.ONNX,
    data: ComparedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model for other programs, with a model.toml that says how to feed it, and its measured error."""
    from vidface.workshop.exporting import export_model

    if form is Format.TORCH:
        _require()
    made = export_model(_known(model), form.value, output, data)
    paths = "\n".join(str(path) for path in made["paths"])
    show(made, lambda: _say_made(paths, made["max_error"], engines=form is not Format.TORCH), as_json=as_json)


def train_detector(
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="label.txt: '# PICTURE', then a line a face: x y w h, 5 x (x y 0), 0."),
    ],
    *,
    output: OutputOption,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="The pictures. [default: 'images' beside LABELS]")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option("--validation", metavar="LABELS", help="Annotations that are not learnt from.")
    ] = None,
    start: Annotated[
        str,
        typer.Option("--start", metavar="FROM", help="A pulled model, a checkpoint, or 'mobilenet0.25', 'resnet50'."),
    ] = DEFAULT_DETECTOR,
    minutes: MinutesOption = 30.0,
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Pictures a step, of all processes.")] = 8,
    size: Annotated[int, typer.Option("--size", min=32, metavar="PX", help="Side of the training pictures.")] = 320,
    learning_rate: RateOption = 1e-3,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train or fine-tune a RetinaFace on labelled pictures; 'vidface weights import' makes a model of the checkpoint.

    Under torchrun each process takes its part of every batch.
    """
    _there(labels)
    _require()
    from vidface.workshop.training import train_detector as run

    made = _trained(
        "training the detector",
        lambda told: run(
            labels,
            output,
            images=images,
            validation=validation,
            start=start,
            minutes=minutes,
            batch=batch,
            size_px=size,
            learning_rate=learning_rate,
            resume=resume,
            seed=seed,
            on_step=told,
        ),
    )
    show(made, lambda: _say_trained(made), as_json=as_json)


def train_embedder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Aligned 112x112 faces, a folder for each person.")],
    *,
    output: OutputOption,
    align: Annotated[
        bool, typer.Option("--align", help="FOLDER has whole photos: first cut out the middle face, into --output.")
    ] = False,
    start: Annotated[
        str, typer.Option("--start", metavar="FROM", help="A pulled model, a checkpoint, or 'nothing' to begin anew.")
    ] = DEFAULT_EMBEDDER,
    minutes: MinutesOption = 30.0,
    batch: Annotated[int, typer.Option("--batch", min=2, metavar="N", help="Faces a step, of all processes.")] = 64,
    learning_rate: RateOption = 1e-4,
    resume: ResumeOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train or fine-tune a MobileFaceNet with ArcFace on faces sorted by person."""
    _there(folder)
    _require()
    from vidface.workshop.training import train_embedder as run

    made = _trained(
        "training the embedder",
        lambda told: run(
            folder,
            output,
            align=align,
            start=start,
            minutes=minutes,
            batch=batch,
            learning_rate=learning_rate,
            resume=resume,
            seed=seed,
            on_step=told,
        ),
    )
    show(made, lambda: _say_trained(made), as_json=as_json)


def _trained(what: str, run: Any) -> Any:
    with progress() as bar:
        task = bar.add_task(what, total=None)

        def told(step: int, total: int, losses: Any) -> None:
            loss = losses.get("loss")
            words = what if loss is None else f"{what}: loss {loss:.3f}"
            bar.update(task, total=total, completed=step, description=words)

        return run(told)


def _say_trained(made: dict[str, Any]) -> None:
    say(f"{made['steps']} steps, {made['stopped']}: {made['checkpoint']}")
    if made["validation"] is not None:
        say(f"validation: {made['validation']:.4f} after {made['best_step']} steps")
    note(f"to use it: vidface weights import {made['checkpoint']} --name NAME")


def _require() -> None:
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingWorkshop(
            f"the weights workshop needs {', '.join(absent)}: pip install 'vidface[cpu,train]' (3 GB of torch); in a "
            "checkout: make workshop"
        )


def _known(model: str) -> str:
    return load_manifest().model(model).name


def _new_name(name: str, *, of: Task | None = None) -> str:
    """A name that may be given; a model `of` a task may take the place of an older one of the same task."""
    there = load_manifest().models.get(name)
    if there is not None and not there.based_on:
        raise UsageError(f"{name}: this program ships a model of that name; give another --name")
    if there is not None and there.task is not of:
        raise UsageError(
            f"{name}: there is a model of that name; give another --name, or vidface weights remove {name}"
        )
    return name


def _there(path: Path) -> None:
    """Raise before anything is asked for, torch above all, unless there is something to work on."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
