"""``vidface eval detector``: average precision on labelled pictures, and WIDER FACE's three subsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidface.cli.options import JsonOption, parse_canvas
from vidface.cli.output import progress, say, show, show_table
from vidface.cli.weights import pull_progress
from vidface.errors import BadInput, UsageError
from weights import store
from weights.manifest import DEFAULT_DETECTOR, load_manifest

if TYPE_CHECKING:
    from pipeline.canvas import Canvas
    from pipeline.faces import Faces
    from pipeline.retinaface import RetinaFace
    from vidface.evaluation.detector import PassOptions, PictureDetector
    from vidface.evaluation.face_labels import LabelledPicture
    from vidface.evaluation.widerface import WiderFolder

LABEL_FILES = ("label.txt", "labels.txt")
"""Names under which labels are looked for in the folder of pictures and beside it."""


def detector(
    pictures: Annotated[
        Path, typer.Argument(metavar="PICTURES", help="Their folder; or the one with WIDER_val and its ground truth.")
    ],
    *,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="label.txt of WIDER FACE, with landmarks or without, or its bbx_gt.txt."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="From 'vidface weights list'; or a model.toml.")
    ] = DEFAULT_DETECTOR,
    canvas: Annotated[
        str | None,
        typer.Option("--canvas", metavar="WxH", help="The size that pictures are scaled to. [default: 640x384]"),
    ] = None,
    original_size: Annotated[
        bool, typer.Option("--original-size", help="Keep the pictures' own size instead.")
    ] = False,
    scales: Annotated[
        str, typer.Option("--scales", metavar="S,...", help="A pass each: factors on that size, such as 0.5,1,2.")
    ] = "1",
    flip: Annotated[bool, typer.Option("--flip", help="Look at the mirrored pictures as well.")] = False,
    merge: Annotated[
        str, typer.Option("--merge", help="How several passes become one: vote (box voting), or nms.")
    ] = "vote",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.001, max=0.99, metavar="T", help="Leave out less confident faces.")
    ] = 0.02,
    level_thresholds: Annotated[
        str | None,
        typer.Option(
            "--level-thresholds", metavar="T,...", help="Instead, one for each stride, the finest first: 0.5,0.6,0.7."
        ),
    ] = None,
    nms_iou: Annotated[
        float, typer.Option("--nms-iou", min=0.01, max=0.99, metavar="T", help="Overlap of boxes of the same face.")
    ] = 0.4,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino or onnxruntime.")] = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, f32, bf16 or fp16.")] = "f32",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only so many pictures, spread over all.")
    ] = None,
    save_faces: Annotated[
        Path | None,
        typer.Option(
            "--save-faces", metavar="DIR", help="Draw right faces green, wrong ones orange, missed ones blue."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a detector on labelled pictures: average precision at an overlap of 0.5, and its landmarks' error.

    On the validation set of WIDER FACE, with the .mat files of its evaluation tools, also the average precision on the
    easy, medium and hard faces by its own protocol. The landmarks' error is their mean distance from the labelled ones,
    over the root of the labelled box's area.
    """
    from vidface.evaluation.detector import Merge, PassOptions, PictureDetector

    if canvas is not None and original_size:
        raise UsageError("give --canvas or --original-size, not both")
    if merge not in set(Merge):
        raise UsageError(f"--merge is {merge!r}; legal are {', '.join(Merge)}")
    options = PassOptions(
        original_size=original_size,
        scales=numbers(scales, "--scales", low=0.05, high=8.0),
        flip=flip,
        merge=Merge(merge),
        nms_iou=nms_iou,
    )
    by_level = numbers(level_thresholds, "--level-thresholds", low=0.0, high=1.0) if level_thresholds else None
    size = parse_canvas(canvas)
    chosen, wider, is_whole = _labelled(pictures, labels, limit)
    if save_faces is not None:
        save_faces.mkdir(parents=True, exist_ok=True)
    opened = _opened(
        model,
        canvas=size,
        threshold=threshold,
        by_level=by_level,
        nms_iou=nms_iou,
        engine=engine,
        precision=precision,
    )
    found = _found(PictureDetector(opened, options), chosen, save_faces)
    value = {
        "model": opened.name,
        "engine": opened.description,
        **_figures(found, chosen, wider if is_whole else None),
        "options": _told(opened, options, threshold, by_level),
    }
    if save_faces is not None:
        value["saved"] = str(save_faces)
    show(value, lambda: _say(value), as_json=as_json)


def numbers(text: str, option: str, *, low: float, high: float) -> tuple[float, ...]:
    """``0.5,1,2`` as numbers within bounds. Raises `UsageError`."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(low <= value <= high for value in values):
        raise UsageError(f"{option} {text}: expected numbers from {low:g} to {high:g} with commas between them")
    return values


def _labelled(
    folder: Path, labels: Path | None, limit: int | None
) -> tuple[tuple[LabelledPicture, ...], WiderFolder | None, bool]:
    """The pictures with their labels, the data set that they are, if any, and whether they are all of it."""
    from vidface.evaluation.face_labels import read_labels
    from vidface.evaluation.models_data import spread
    from vidface.evaluation.widerface import find_wider

    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder")
    wider = find_wider(folder)
    images = wider.images if wider is not None else folder
    if labels is None:
        places = [place / name for place in (folder, folder.parent) for name in LABEL_FILES]
        labels = next((place for place in places if place.is_file()), wider.labels if wider is not None else None)
    if labels is None:
        raise BadInput(f"{folder}: there is no label.txt in it, and no WIDER_val with its labels; give --labels FILE")
    read = read_labels(labels, images)
    chosen = read if limit is None else tuple(read[row] for row in spread(len(read), limit))
    return chosen, wider, len(chosen) == len(read)


def _opened(
    name: str,
    *,
    canvas: Canvas,
    threshold: float,
    by_level: tuple[float, ...] | None,
    nms_iou: float,
    engine: str,
    precision: str,
) -> RetinaFace:
    from pipeline.engine import Backend, EngineOptions, Precision
    from pipeline.retinaface import DetectorOptions, RetinaFace
    from weights.local import read_and_check

    for option, value, legal in (("--engine", engine, Backend), ("--precision", precision, Precision)):
        if value not in set(legal):
            raise UsageError(f"{option} is {value!r}; legal are {', '.join(legal)}")
    if name.endswith(".toml"):
        local = read_and_check(Path(name))
        spec, path = local.spec, local.path
    else:
        spec = load_manifest().model(name)
        with pull_progress() as pulling:
            path = store.ensure(name, progress=pulling)
    return RetinaFace.open(
        path,
        spec,
        DetectorOptions(canvas=canvas, score_threshold=threshold, level_thresholds=by_level, nms_iou=nms_iou),
        EngineOptions(backend=Backend(engine), precision=Precision(precision)),
    )


def _found(detector: PictureDetector, pictures: Sequence[LabelledPicture], save_faces: Path | None) -> list[Faces]:
    from vidface.evaluation.detector import find_all, save_verdict

    with progress() as bar:
        task = bar.add_task("finding faces", total=len(pictures))

        def done(picture: LabelledPicture, faces: Faces) -> None:
            if save_faces is not None:
                save_verdict(picture, faces, save_faces)
            bar.advance(task)

        on_picture: Callable[[LabelledPicture, Faces], None] = done
        return find_all(detector, pictures, on_picture)


def _figures(found: Sequence[Faces], pictures: Sequence[LabelledPicture], wider: WiderFolder | None) -> dict[str, Any]:
    from vidface.evaluation.average_precision import score_detector
    from vidface.evaluation.widerface import read_subset, subset_average_precision

    score = score_detector(found, pictures)
    value: dict[str, Any] = {
        "pictures": len(pictures),
        "faces": score.faces,
        "average_precision": round(score.average_precision, 5),
        "recall": round(score.recall, 5),
        "found": score.found,
        "right": score.right,
        "nme": None if score.nme is None else round(score.nme, 5),
        "landmark_faces": score.landmark_faces,
        "wider": {},
    }
    if wider is not None:
        by_name = {picture.name.rpartition(".")[0]: faces for picture, faces in zip(pictures, found, strict=True)}
        value["wider"] = {
            subset: round(subset_average_precision(read_subset(path), by_name), 5)
            for subset, path in wider.subsets.items()
        }
    return value


def _told(
    detector: RetinaFace, options: PassOptions, threshold: float, by_level: tuple[float, ...] | None
) -> dict[str, Any]:
    size = "original" if options.original_size else f"{detector.canvas.width}x{detector.canvas.height}"
    return {
        "size": size,
        "scales": list(options.scales),
        "flip": options.flip,
        "merge": options.merge.value,
        "threshold": threshold if by_level is None else None,
        "level_thresholds": None if by_level is None else list(by_level),
        "nms_iou": options.nms_iou,
    }


def _say(value: Mapping[str, Any]) -> None:
    rows: Iterable[tuple[str, str]] = [
        ("average precision at an overlap of 0.5", f"{value['average_precision']:.2%}"),
        *((f"WIDER FACE, {subset}, its own protocol", f"{ap:.2%}") for subset, ap in value["wider"].items()),
        ("labelled faces found at all", f"{value['recall']:.2%} ({value['right']} of {value['faces']})"),
    ]
    if value["nme"] is not None:
        rows = [*rows, ("landmarks' normalised mean error", f"{value['nme']:.2%} of {value['landmark_faces']} faces")]
    show_table(("figure", value["model"]), rows)
    options = value["options"]
    passes = len(options["scales"]) * (2 if options["flip"] else 1)
    say(
        f"{value['pictures']} pictures, size {options['size']}, {passes} pass(es) each, {value['found']} faces found "
        f"from a score of {options['threshold'] or options['level_thresholds']} on; {value['engine']}"
    )
    if "saved" in value:
        say(f"pictures with what was found: {value['saved']}")
