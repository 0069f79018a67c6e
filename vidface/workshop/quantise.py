"""A model in int8, for one's own pictures: calibrated, measured against its source, and registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.align import stack_aligned
from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.engine import Backend, Device, EngineOptions, Precision
from pipeline.faces import U8Image
from pipeline.mobilefacenet import MobileFaceNet
from vidface.errors import BadInput
from vidface.evaluation.models_data import aligned_subject, aligner
from vidface.workshop.judge import Judge
from vidface.workshop.network import export, pulled_network, registered
from vidface.workshop.pictures import Pictures, Readable, open_pictures, read_all, thinned
from weights import store
from weights.manifest import DEFAULT_DETECTOR, Measurement, ModelSpec, Task, load_manifest

CALIBRATION: Final = 200
"""Pictures that a detector is calibrated with."""

FACES: Final = 1500
"""Faces that an embedder is calibrated with and learns from; those of as many photos."""

EXAM: Final = 150
"""Pictures that a detector is measured on."""

ROUNDS: Final = 60
"""How often each version is timed, by turns."""


def quantise_model(
    model: str,
    origin: Path,
    *,
    name: str,
    work_dir: Path,
    canvas: Canvas,
    floor: float,
    minutes: float | None,
    on_step: Callable[[str, float], None],
) -> dict[str, Any]:
    """Make the int8 version of a model.

    Args:
        model: Its name in the manifest.
        origin: A folder of pictures, or a clip; no labels are needed.
        name: What the result will be called.
        work_dir: Where files are made.
        canvas: At which a detector is calibrated and measured.
        floor: The least agreement with the float model that is aimed at: F1 of a detector. Layers that cost most are
            left in float until it is reached.
        minutes: The longest time that an embedder learns.
        on_step: Told what was tried and what the measure says.

    Returns:
        What was made and measured, as plain values.

    Raises:
        BadInput: The pictures won't do.
    """
    spec = load_manifest().model(model)
    source = store.ensure(model)
    pictures = open_pictures(origin)
    work_dir.mkdir(parents=True, exist_ok=True)
    target = work_dir / f"{name}.onnx"
    if spec.task is Task.DETECT:
        return _detector(spec, source, pictures, target, name=name, canvas=canvas, floor=floor, on_step=on_step)
    if spec.task is Task.EMBED:
        return _embedder(spec, source, pictures, target, name=name, minutes=minutes, on_step=on_step)
    raise BadInput(f"{model}: neither a detector nor an embedder")


def _detector(
    spec: ModelSpec,
    source: Path,
    pictures: Pictures,
    target: Path,
    *,
    name: str,
    canvas: Canvas,
    floor: float,
    on_step: Callable[[str, float], None],
) -> dict[str, Any]:
    from weights.workshop.compose import Composer, Photos
    from weights.workshop.pictures import prepared
    from weights.workshop.quantise import first_convolution, quantise

    judge = Judge(spec, source, canvas=canvas)

    def composed(numbers: tuple[int, ...], count: int, seed: int) -> Any:
        photos = Photos(len(pictures), Readable(pictures, judge.fill_bgr))
        generator = np.random.default_rng(seed)
        size = (canvas.width, canvas.height)
        return Composer(photos, numbers, size_wh=size, fill_bgr=judge.fill_bgr, generator=generator).batch(count)

    choose, report = (
        judge.exam(read_all(pictures, thinned(numbers, EXAM)), composed(numbers, EXAM // 3, seed))
        for seed, numbers in enumerate((pictures.choose, pictures.report))
    )
    raw = composed(pictures.learn, CALIBRATION, 2)
    calibration = [prepared(picture[None], mean=spec.mean, scale=spec.scale) for picture in raw]
    made_spec, float_file = spec, source
    if spec.name == DEFAULT_DETECTOR:  # the only one whose graph can be turned into its fastest form
        float_file = target.with_suffix(".f32.onnx")
        made_spec, _error = export(pulled_network(spec.name), spec, float_file, raw[:4], cells=True)
    made = quantise(
        float_file,
        target,
        input_name=spec.input_name,
        calibration=calibration,
        keep=first_convolution(float_file),
        measure=lambda file: judge.agreement(judge.open(file, made_spec), choose).f1,
        floor=floor,
        on_step=on_step,
    )
    detector = judge.open(target, made_spec)
    agreed = judge.agreement(detector, report)
    times = judge.times({**judge.full_detectors, "int8": detector}, report, rounds=ROUNDS)
    on = f"{pictures.origin.name}: pictures that were not calibrated with"
    model = registered(
        target,
        made_spec,
        name=name,
        based_on=spec,
        how="int8",
        accuracy=[Measurement(dataset=on, metric="F1 against the float model at score 0.5", value=agreed.f1, note="")],
    )
    return {
        "kind": "quantise",
        "model": spec.name,
        "name": model.spec.name,
        "path": str(model.path),
        "agreement": agreed.as_json(),
        "times": {each: timing.as_json() for each, timing in times.items()},
        "times_as_fast": times["openvino f32"].median_ms / times["int8"].median_ms,
        **_what(made),
    }


def _embedder(
    spec: ModelSpec,
    source: Path,
    pictures: Pictures,
    target: Path,
    *,
    name: str,
    minutes: float | None,
    on_step: Callable[[str, float], None],
) -> dict[str, Any]:
    import time

    from weights.workshop.quantise_embedder import quantise_embedder

    crops = aligned_faces(pictures, pictures.learn, FACES)
    held_out = aligned_faces(pictures, (*pictures.choose, *pictures.report), EXAM)
    if not len(held_out):
        raise BadInput(f"{pictures.origin}: no faces among the pictures that were held out")
    made = quantise_embedder(
        source,
        target,
        crops=crops,
        mean=spec.mean,
        scale=spec.scale,
        colour=spec.colour.value,
        input_name=spec.input_name,
        minutes=minutes,
        on_step=on_step,
    )
    options = EngineOptions(backend=Backend.AUTO, device=Device.CPU, precision=Precision.F32, streams=2)
    embedders = {
        "float": MobileFaceNet.open(source, spec, options),
        "int8": MobileFaceNet.open(target, spec, options),
    }
    alike = (embedders["float"].embed(held_out) * embedders["int8"].embed(held_out)).sum(axis=1)
    taken: dict[str, list[float]] = {each: [] for each in embedders}
    batch = held_out[np.arange(8) % len(held_out)]
    for _turn in range(ROUNDS):
        for each, embedder in embedders.items():
            begun = time.perf_counter()
            embedder.embed(batch)
            taken[each].append(1e3 * (time.perf_counter() - begun))
    medians = {each: float(np.median(values[3:])) for each, values in taken.items()}
    on = f"{pictures.origin.name}: faces that were not calibrated with"
    model = registered(
        target,
        spec,
        name=name,
        based_on=spec,
        how="int8",
        accuracy=[
            Measurement(
                dataset=on, metric="mean cosine similarity to the float model", value=float(alike.mean()), note=""
            )
        ],
        same_templates=True,
    )
    return {
        "kind": "quantise",
        "model": spec.name,
        "name": model.spec.name,
        "path": str(model.path),
        "similarity": {"mean": float(alike.mean()), "least": float(alike.min()), "faces": len(held_out)},
        "batch_of_8_ms": medians,
        "times_as_fast": medians["float"] / medians["int8"],
        **_what(made),
    }


def aligned_faces(pictures: Pictures, numbers: tuple[int, ...], most: int) -> U8Image:
    """The face nearest to the middle of each of some pictures, aligned; ``(N, 112, 112, 3)`` uint8 BGR."""
    detector = aligner(DEFAULT_CANVAS, 0)
    return stack_aligned([aligned_subject(photo, detector) for photo in read_all(pictures, thinned(numbers, most))])


def _what(made: Any) -> dict[str, Any]:
    return {
        "layers_in_int8": made.layers,
        "left_in_float": list(made.left_in_float),
        "merged": list(made.merged),
        "measured": made.measured,
        "reached": made.reached,
        "source_bytes": made.source_bytes,
        "target_bytes": made.target_bytes,
    }
