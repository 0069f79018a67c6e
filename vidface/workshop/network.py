"""Names of the manifest and files of others to networks, and networks to models that are registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.align import ALIGNED_PX
from pipeline.canvas import Canvas
from pipeline.engine import Backend
from pipeline.faces import U8Image
from pipeline.photo import load_photo
from vidface.errors import BadInput
from vidface.evaluation.models_data import default_pictures
from vidface.workshop.judge import raw_outputs
from vidface.workshop.pictures import some_pictures
from weights import store
from weights.local import LocalModel, register
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Measurement, ModelSpec, OutputForm, Task, load_manifest

EXPORT_CANVAS = Canvas(width=192, height=160)
"""Where an exported detector is held against its source: not square, so that swapped sides would show."""


def pulled_network(model: str) -> Any:
    """The network of one of the pulled models, with its weights, folded.

    Raises:
        BadInput: Another model's graph can't be turned back into a network.
    """
    from weights.workshop.from_onnx import load_onnx
    from weights.workshop.mobilefacenet import MobileFaceNet
    from weights.workshop.retinaface import RetinaFace

    makers: dict[str, type[Any]] = {DEFAULT_DETECTOR: RetinaFace, DEFAULT_EMBEDDER: MobileFaceNet}
    if model not in makers:
        names = ", ".join(makers)
        raise BadInput(f"{model}: only {names} can be turned into a network; give a checkpoint instead")
    network = makers[model]()
    load_onnx(network, store.ensure(model))
    return network


def public_network(path: Path, architecture: str) -> Any:
    """A network of a named architecture with the weights of another program's checkpoint, folded.

    Args:
        path: The checkpoint.
        architecture: ``retinaface-mobilenet0.25``, ``retinaface-resnet50`` or ``mobilefacenet``.

    Raises:
        CheckpointMismatch: The weights are another network's.
    """
    from weights.workshop import checkpoint
    from weights.workshop.layers import fold_normalisation
    from weights.workshop.mobilefacenet import MobileFaceNet, MobileFaceNetShape
    from weights.workshop.retinaface import Backbone, RetinaFace, RetinaFaceShape

    if architecture == "mobilefacenet":
        # How long its templates are is only known from its last layer.
        weights = checkpoint.unnested(checkpoint.read(path))
        lengths = [value.shape[0] for key, value in weights.items() if key.endswith("linear.weight")]
        network: Any = MobileFaceNet(MobileFaceNetShape.of_paper(lengths[0] if lengths else 128))
    else:
        backbone = Backbone(architecture.removeprefix("retinaface-"))
        network = RetinaFace(RetinaFaceShape(backbone=backbone, normalise=True))
    checkpoint.load_public(network, path)
    return fold_normalisation(network)


def real_pictures(data: Path | None, spec: ModelSpec, count: int = 4) -> U8Image:
    """Pictures that an export is compared on, ``(B, H, W, 3)`` uint8 in the model's channel order.

    Args:
        data: A folder of pictures or a clip; None for the photos that were pulled, or noise where none were.
        spec: The model.
        count: How many.

    Raises:
        BadInput: There is no picture in `data`.
    """
    size = (ALIGNED_PX, ALIGNED_PX) if spec.task is Task.EMBED else (EXPORT_CANVAS.width, EXPORT_CANVAS.height)
    photos = some_pictures(data, count) if data is not None else _pulled_photos(count)
    if not photos:
        return np.random.default_rng(0).integers(0, 256, (count, size[1], size[0], 3), np.uint8)
    import cv2

    batch = np.stack([np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8) for photo in photos])
    return np.ascontiguousarray(batch[..., ::-1]) if spec.colour == "RGB" else batch


def _pulled_photos(count: int) -> list[U8Image]:
    try:
        paths = default_pictures()
    except BadInput:
        return []
    return [load_photo(path) for path in paths[:count]]


def export(
    network: Any, spec: ModelSpec, path: Path, sample: U8Image, *, cells: bool = False
) -> tuple[ModelSpec, float]:
    """Write a network as ONNX.

    Args:
        network: One of ours.
        spec: How its input is prepared.
        path: Where to.
        sample: See `real_pictures`.
        cells: A detector in its fastest form, see `weights.manifest.OutputForm`.

    Returns:
        The spec of what was written, and its largest difference from the network.

    Raises:
        ExportDiffers: It is too large.
    """
    from weights.workshop.export import Sample, export_onnx, output_names
    from weights.workshop.mobilefacenet import MobileFaceNet

    form = OutputForm.CELLS if cells and spec.task is Task.DETECT else OutputForm.ANCHORS
    made = replace(spec, outputs=output_names(network, cells=form is OutputForm.CELLS), output_form=form)
    if isinstance(network, MobileFaceNet):
        made = replace(made, embedding_dim=network.shape.embedding_dim)
    exported = export_onnx(
        network,
        path,
        Sample(pictures=sample, mean=spec.mean, scale=spec.scale),
        lambda file, raw: raw_outputs(file, made, backend=Backend.ONNXRUNTIME)(raw),
        input_name=spec.input_name,
        cells=form is OutputForm.CELLS,
    )
    return made, exported.max_error


def registered(
    path: Path,
    spec: ModelSpec,
    *,
    name: str,
    based_on: ModelSpec,
    how: str,
    accuracy: Sequence[Measurement] = (),
    same_templates: bool = False,
) -> LocalModel:
    """Register a written file under a name."""
    return register(
        path,
        name=name,
        like=based_on,
        architecture=f"{based_on.architecture}; {how}",
        outputs=spec.outputs,
        output_form=spec.output_form,
        embedding_dim=spec.embedding_dim,
        accuracy=tuple(accuracy),
        same_templates=same_templates,
    )


def like_spec(task: Task) -> ModelSpec:
    """The shipped model of a task: how its kind is fed, unless something else is said."""
    return load_manifest().model(DEFAULT_DETECTOR if task is Task.DETECT else DEFAULT_EMBEDDER)
