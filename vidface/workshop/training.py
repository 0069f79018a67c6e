"""Training from the command line: files in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2

from pipeline.canvas import DEFAULT_CANVAS
from pipeline.photo import load_photo
from vidface.errors import BadInput
from vidface.workshop.network import pulled_network
from weights.manifest import SHORT_NAMES, load_manifest

OnStep = Callable[[int, int, Mapping[str, float]], None]


def train_detector(
    labels: Path,
    output: Path,
    *,
    images: Path | None,
    validation: Path | None,
    start: str,
    minutes: float,
    batch: int,
    size_px: int,
    learning_rate: float,
    resume: bool,
    seed: int,
    on_step: OnStep,
) -> dict[str, Any]:
    """Train a detector; see `weights.workshop.train_detector`.

    Args:
        labels: WIDER FACE annotations with landmarks.
        output: Where checkpoints and logs go.
        images: The pictures' folder; None for the one beside the labels.
        validation: Annotations whose loss decides which checkpoint is the best.
        start: A pulled model, a checkpoint of our own, or the name of a backbone for random weights.
        minutes: How long.
        batch: Pictures a step.
        size_px: Side of the training pictures.
        learning_rate: The highest.
        resume: Go on from the last checkpoint in `output`.
        seed: Of all that is random.
        on_step: Told each step.

    Raises:
        BadTrainingData: Labels or pictures can't be learnt from.
        BadInput: There is nothing of the name of `start`.
    """
    from weights.workshop.plan import Plan
    from weights.workshop.train_detector import DetectorTraining, held_out_loss
    from weights.workshop.train_detector import train_detector as train
    from weights.workshop.widerface import read_widerface

    network = _start(start, {"mobilenet0.25": _random_detector, "resnet50": _random_detector})
    options = DetectorTraining(
        plan=Plan(minutes=minutes, batch_size=batch, learning_rate=learning_rate, seed=seed), size_px=size_px
    )
    samples = read_widerface(labels, images)
    held_out = read_widerface(validation, images) if validation is not None else None
    trained = train(
        network,
        samples,
        options=options,
        out_dir=output,
        validation=None if held_out is None else lambda network: -held_out_loss(network, held_out, options),
        on_step=on_step,
        resume=resume,
    )
    return _told(trained)


def train_embedder(
    folder: Path,
    output: Path,
    *,
    align: bool,
    start: str,
    minutes: float,
    batch: int,
    learning_rate: float,
    resume: bool,
    seed: int,
    on_step: OnStep,
) -> dict[str, Any]:
    """Train an embedder; see `weights.workshop.train_embedder` and, for the other arguments, `train_detector`.

    With `align` the folders hold whole photos: the face nearest to the middle of each is cut out first, into the folder
    ``faces`` of `output`, and photos without a face are left out.
    """
    from weights.workshop.identities import read_identities
    from weights.workshop.plan import Plan
    from weights.workshop.train_embedder import EmbedderTraining
    from weights.workshop.train_embedder import train_embedder as train

    network = _start(start, {"nothing": _random_embedder})
    if align:
        folder = _aligned(folder, output / "faces")
    options = EmbedderTraining(plan=Plan(minutes=minutes, batch_size=batch, learning_rate=learning_rate, seed=seed))
    return _told(
        train(network, read_identities(folder), options=options, out_dir=output, on_step=on_step, resume=resume)
    )


def _aligned(folder: Path, target: Path) -> Path:
    """The same folders with aligned faces in place of photos; those that are there from an earlier run are kept."""
    from vidface.evaluation.models_data import aligned_subject, aligner
    from weights.workshop.identities import read_identities

    detector = aligner(DEFAULT_CANVAS, 0)
    people = read_identities(folder)
    for path, person in zip(people.paths, people.people, strict=True):
        made = target / people.names[person] / f"{path.name}.png"
        if made.exists():
            continue
        faces = aligned_subject(load_photo(path), detector)
        if len(faces):
            made.parent.mkdir(parents=True, exist_ok=True)
            half = made.with_name(f".half-{made.name}")
            half.write_bytes(cv2.imencode(".png", faces[0])[1].tobytes())
            half.replace(made)  # what is there is whole, so that a run that was cut off can keep it
    return target


def _start(start: str, makers: Mapping[str, Callable[[str], Any]]) -> Any:
    if start in makers:
        return makers[start](start)
    start = SHORT_NAMES.get(start, start)
    if start in load_manifest().models:
        return pulled_network(start)
    path = Path(start)
    if path.is_file():
        from weights.workshop import checkpoint

        return checkpoint.load(path)
    names = ", ".join([*load_manifest().models, *makers])
    raise BadInput(f"--start {start}: neither a checkpoint nor one of {names}")


def _random_detector(backbone: str) -> Any:
    from weights.workshop.retinaface import Backbone, RetinaFace, RetinaFaceShape

    return RetinaFace(RetinaFaceShape(backbone=Backbone(backbone), normalise=True))


def _random_embedder(_name: str) -> Any:
    from weights.workshop.mobilefacenet import MobileFaceNet, MobileFaceNetShape

    return MobileFaceNet(MobileFaceNetShape(normalise=True))


def _told(trained: Any) -> dict[str, Any]:
    return {
        "checkpoint": trained.path,
        "steps": trained.steps,
        "losses": dict(trained.losses),
        "validation": trained.validation,
        "best_step": trained.best_step,
        "stopped": trained.stopped.value,
    }
