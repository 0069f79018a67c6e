"""A model for other programs: its file in their form, how to feed it, and how exact it is."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine import Backend, Device, EngineOptions, Precision, open_engine
from pipeline.faces import U8Image
from pipeline.graph import Preprocessing
from vidface.evaluation.candidates import is_quantised
from vidface.workshop.judge import raw_outputs
from vidface.workshop.network import EXPORT_CANVAS, pulled_network, real_pictures
from weights import store
from weights.cache import sha256_of
from weights.errors import ExportDiffers
from weights.local import FILE_NAME, as_toml
from weights.manifest import Converter, Measurement, ModelSpec, load_manifest

ENGINE_TOLERANCE = 2e-3
"""The largest difference that another engine's float32 may make to an output."""

INT8_TOLERANCE = 0.25
"""Likewise of a quantised file, where a value that one engine rounds up and the other down goes through all layers."""


def export_model(model: str, form: str, output: Path, data: Path | None) -> dict[str, Any]:
    """Write a model.

    Args:
        model: Its name in the manifest.
        form: ``onnx``, ``openvino``, ``torch`` or ``tensorrt``.
        output: The folder; made if need be.
        data: Pictures that the export is compared on; None for the photos that were pulled, or noise.

    Returns:
        The paths and the measured error, as plain values.

    Raises:
        ExportDiffers: The file does not give what its source gives.
        DeviceMissing: TensorRT was asked for where there is no NVIDIA GPU.
    """
    spec, source = load_manifest().model(model), store.ensure(model)
    sample = real_pictures(data, spec)
    output.mkdir(parents=True, exist_ok=True)
    stem = output / model
    if form == "tensorrt":
        return _tensorrt(spec, source, output)
    if form == "torch":
        from weights.workshop.export import Sample, export_torch

        made = export_torch(
            pulled_network(model),
            stem.with_name(f"{model}.pt2"),
            Sample(pictures=sample, mean=spec.mean, scale=spec.scale),
        )
        return _written(spec, form, [made.path], made.max_error)
    error = engines_differ(source, spec, sample)  # before anything is written
    if form == "openvino":
        from pipeline.engine import save_openvino

        paths = save_openvino(source, stem.with_name(f"{model}.xml"))
    else:
        paths = [stem.with_name(f"{model}.onnx")]
        shutil.copyfile(source, paths[0])
    return _written(spec, form, paths, error)


def engines_differ(file: Path, spec: ModelSpec, sample: U8Image) -> float:
    """How much the outputs of a file differ at most between ONNX Runtime and OpenVINO, on some raw pictures.

    Raises:
        ExportDiffers: By too much.
        ModelMismatch: It can't be read, or is not what its spec says.
    """
    wanted, given = (raw_outputs(file, spec, backend=each)(sample) for each in (Backend.ONNXRUNTIME, Backend.OPENVINO))
    error = max(float(np.abs(first - second).max()) for first, second in zip(wanted, given, strict=True))
    scale = max(1.0, *(float(np.abs(each).max()) for each in wanted))
    tolerance = INT8_TOLERANCE if is_quantised(file) else ENGINE_TOLERANCE
    if not error <= tolerance * scale:
        raise ExportDiffers(f"{file}: the engines' outputs differ by {error:.3g}; it can't be trusted on either")
    return error


def _written(spec: ModelSpec, form: str, paths: list[Path], error: float) -> dict[str, Any]:
    """Write how to feed what was written, and say what there is."""
    manifest = paths[0].with_name(FILE_NAME)
    manifest.write_text(as_toml(_described(spec, paths[0], error)), encoding="utf-8")
    return {"model": spec.name, "format": form, "paths": [*paths, manifest], "max_error": error}


def _described(spec: ModelSpec, path: Path, error: float) -> ModelSpec:
    metric = "largest difference of an output, " + ("between engines" if path.suffix == ".onnx" else "from its source")
    measured = Measurement(dataset="the pictures of the export", metric=metric, value=error, note="")
    return replace(
        spec,
        artifact="",
        member=path.name,
        sha256=sha256_of(path) or "",
        converter=Converter.LOCAL,
        accuracy=(*(each for each in spec.accuracy if each.dataset != measured.dataset), measured),
        based_on=spec.based_on or spec.name,
    )


def _tensorrt(spec: ModelSpec, source: Path, output: Path) -> dict[str, Any]:
    """Build TensorRT's engine through ONNX Runtime's provider, which keeps it in the folder. It has not run here."""
    shape = (112, 112, 3) if spec.input_size_wh else (EXPORT_CANVAS.height, EXPORT_CANVAS.width, 3)
    options = EngineOptions(
        backend=Backend.ONNXRUNTIME,
        device=Device.TENSORRT,
        precision=Precision.FP16,
        cache_dir=output,
        profile=((1, *shape), (8, *shape), (32, *shape)),
    )
    engine = open_engine(
        source,
        input_name=spec.input_name,
        output_names=spec.outputs,
        preprocessing=Preprocessing(mean=spec.mean, scale=spec.scale),
        options=options,
    )
    engine.run({spec.input_name: np.zeros((1, *shape), np.uint8)})
    return {"model": spec.name, "format": "tensorrt", "paths": sorted(output.iterdir()), "max_error": None}
