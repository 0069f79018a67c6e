"""The folded graph against the original one that is fed by hand; with the real weights, because theirs is the risk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.engine import Backend, Device, EngineOptions, Precision, open_engine
from pipeline.errors import ModelMismatch
from pipeline.graph import Preprocessing, fold_preprocessing
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, ModelSpec, load_manifest

SIZES_HW = {DEFAULT_DETECTOR: (96, 160), DEFAULT_EMBEDDER: (112, 112)}
MODELS = pytest.mark.parametrize("name", list(SIZES_HW))


def preprocessing_of(spec: ModelSpec) -> Preprocessing:
    first, second, third = spec.mean
    return Preprocessing(mean=(first, second, third), scale=spec.scale)


def noise(name: str) -> NDArray[np.uint8]:
    """Two pictures whose channels differ, so that a mixed-up channel shows."""
    height, width = SIZES_HW[name]
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    return np.asarray(pictures * np.array([1.0, 0.6, 0.3]), np.uint8)


def unfolded(path: Path, spec: ModelSpec, pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The original model, fed what its manifest entry says, in float64 until the last moment."""
    import onnxruntime

    planes = pictures.astype(np.float64).transpose(0, 3, 1, 2)
    prepared = (planes - np.array(spec.mean).reshape(1, 3, 1, 1)) * spec.scale
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(list(spec.outputs), {spec.input_name: prepared.astype(np.float32)})
    return dict(zip(spec.outputs, outputs, strict=True))


@MODELS
@pytest.mark.parametrize("backend", [Backend.OPENVINO, Backend.ONNXRUNTIME])
def test_the_folded_model_equals_the_unfolded_one(model_paths: Mapping[str, Path], name: str, backend: Backend) -> None:
    spec, pictures = load_manifest().model(name), noise(name)
    engine = open_engine(
        model_paths[name],
        input_name=spec.input_name,
        output_names=spec.outputs,
        preprocessing=preprocessing_of(spec),
        options=EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32),
    )
    found = engine.run({spec.input_name: pictures})
    expected = unfolded(model_paths[name], spec, pictures)
    assert set(found) == set(spec.outputs)
    for output, values in expected.items():
        largest = float(np.abs(values).max())
        np.testing.assert_allclose(found[output], values, atol=2e-4 * max(1.0, largest), err_msg=output)


@MODELS
def test_a_wrong_channel_order_would_show(model_paths: Mapping[str, Path], name: str) -> None:
    spec, pictures = load_manifest().model(name), noise(name)
    right = unfolded(model_paths[name], spec, pictures)
    wrong = unfolded(model_paths[name], spec, np.ascontiguousarray(pictures[..., ::-1]))
    assert max(float(np.abs(right[output] - wrong[output]).max()) for output in spec.outputs) > 0.02


def test_a_model_without_the_named_parts_is_refused(model_paths: Mapping[str, Path]) -> None:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    with pytest.raises(ModelMismatch, match=r"expected input 'picture' and outputs .*, found inputs \['input'\]"):
        fold_preprocessing(model_paths[DEFAULT_DETECTOR], "picture", preprocessing_of(spec), spec.outputs)
    with pytest.raises(ModelMismatch, match="'masks'"):
        fold_preprocessing(model_paths[DEFAULT_DETECTOR], spec.input_name, preprocessing_of(spec), ["loc", "masks"])


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"\xff" * 64)
    with pytest.raises(ModelMismatch, match=r"model\.onnx: not a readable ONNX model"):
        fold_preprocessing(damaged, "input", Preprocessing(mean=(0, 0, 0), scale=1.0), ["output"])
