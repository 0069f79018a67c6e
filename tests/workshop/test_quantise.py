"""Int8 files: what they hold, how near they are to their source, and that every engine of ours runs them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline.engine import Backend, Device, EngineOptions, Precision, open_engine
from pipeline.graph import Preprocessing
from pipeline.mobilefacenet import MobileFaceNet
from tests.workshop.lfw import Lfw, aligned, photos_of
from tests.workshop.test_equalise import outputs, pictures, tiny
from vidface.evaluation.lfw import evaluate
from weights.errors import BadTrainingData, UnreadableCheckpoint, WorkshopError
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest
from weights.workshop.quantise import Quantised, calibrate, quantise, quantised_layers
from weights.workshop.quantise_embedder import costliest_layers, mean_cosine, quantise_embedder
from weights.workshop.recover import recover

F32 = NDArray[np.float32]
REPOSITORY = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny(), path)
    return path


def cosine(first: F32, second: F32) -> float:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean(np.sum(first * second, axis=1) / norms))


def like_source(path: Path) -> float:
    return cosine(outputs(onnx.load(path), pictures(32)), outputs(tiny(), pictures(32)))


def test_the_file_is_in_integers_and_near_its_source(source: Path, tmp_path: Path) -> None:
    made = quantise(source, tmp_path / "int8.onnx", input_name="input", calibration=pictures(32))
    assert made == Quantised(
        path=tmp_path / "int8.onnx",
        layers=6,
        left_in_float=(),
        merged=("linear",),
        measured=None,
        reached=True,
        source_bytes=source.stat().st_size,
        target_bytes=made.path.stat().st_size,
    )
    assert like_source(made.path) > 0.98
    assert {*tmp_path.iterdir()} == {source, made.path}


def test_what_every_engine_needs(source: Path) -> None:
    """One symmetric scale an activation; one a channel for weights, and those of dense convolutions in 7 bits."""
    model = calibrate(source, input_name="input", calibration=pictures()).int8_model
    onnx.checker.check_model(model)
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    activations = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in arrays]
    assert len(weights) == 6
    for node in activations:
        assert arrays[node.input[1]].size == 1
        assert arrays[node.input[2]].dtype == np.int8
    for node in (*activations, *weights):
        assert not arrays[node.input[2]].any()
    for node in weights:
        integers = arrays[node.input[0]]
        assert arrays[node.input[1]].size == len(integers)
        depthwise = integers.shape[1] == 1  # sums of few products: NNCF leaves them alone
        assert np.abs(integers.astype(int)).max() <= (127 if depthwise else 64)


def test_a_sum_takes_the_convolution_unrounded(source: Path) -> None:
    graph = calibrate(source, input_name="input", calibration=pictures()).int8_model.graph
    makers = {node.output[0]: node.op_type for node in graph.node}
    (total,) = [node for node in graph.node if node.op_type == "Add"]
    assert sorted(makers[name] for name in total.input) == ["Conv", "DequantizeLinear"]


def test_kept_layers_stay_in_float(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    made = quantise(source, target, input_name="input", calibration=pictures(), keep=("deep", "linear"))
    assert made.left_in_float == ("deep", "linear")
    assert made.merged == ()
    assert quantised_layers(onnx.load(target)) == ["stem", "up", "down", "pool", "last"]


def test_the_layer_that_hurts_is_left_in_float(source: Path, tmp_path: Path) -> None:
    """A measure that only `pool` in float satisfies, whatever else is tried."""
    tried: list[tuple[str, float]] = []

    def measure(path: Path) -> float:
        layers = quantised_layers(onnx.load(path))
        return 1.0 - 0.5 * ("pool" in layers) - 0.01 * ("up" in layers)

    made = quantise(
        source,
        tmp_path / "int8.onnx",
        input_name="input",
        calibration=pictures(),
        measure=measure,
        floor=0.98,
        on_step=lambda what, value: tried.append((what, value)),
    )
    assert made.left_in_float == ("pool",)
    assert made.reached
    assert made.measured == pytest.approx(0.99) == measure(made.path)
    assert [what for what, _ in tried][:2] == ["all layers in int8", "stem alone in float32"]
    assert [value for _, value in tried] == pytest.approx([0.49, 0.49, 0.5, 0.49, 0.49, 0.99, 0.49, 0.99])


def test_a_floor_out_of_reach_is_said(source: Path, tmp_path: Path) -> None:
    made = quantise(
        source,
        tmp_path / "int8.onnx",
        input_name="input",
        calibration=pictures(),
        measure=lambda path: 0.5 - 0.1 * ("up" in quantised_layers(onnx.load(path))),
        floor=0.9,
    )
    assert not made.reached
    assert made.measured == pytest.approx(0.5)
    assert made.left_in_float == ("up",)


def test_layers_in_float_bring_a_real_measure_up(source: Path, tmp_path: Path) -> None:
    plain = quantise(source, tmp_path / "int8.onnx", input_name="input", calibration=pictures())
    floor = 1 - (1 - like_source(plain.path)) / 2
    made = quantise(
        source, tmp_path / "int8.onnx", input_name="input", calibration=pictures(), measure=like_source, floor=floor
    )
    assert made.reached
    assert 0 < len(made.left_in_float) < 6
    assert made.measured is not None
    assert like_source(made.path) == made.measured >= floor


def test_training_recovers(source: Path) -> None:
    crops = np.random.default_rng(3).integers(0, 256, (256, 8, 8, 3), np.uint8)

    def prepare(some: NDArray[np.uint8]) -> F32:
        return np.ascontiguousarray(((some.astype(np.float32) - 127.5) / 64).transpose(0, 3, 1, 2))

    pair = calibrate(source, input_name="input", calibration=[prepare(crop[None]) for crop in crops[:64]])
    before = mean_cosine(pair.int8_model, tiny(), prepare(crops))
    form = [(each.name, each.data_type, tuple(each.dims)) for each in pair.int8_model.graph.initializer]
    assert recover(pair.int8_model, pair.float_model, crops, prepare, steps=60) == 60
    onnx.checker.check_model(pair.int8_model)
    assert [(each.name, each.data_type, tuple(each.dims)) for each in pair.int8_model.graph.initializer] == form
    assert 1 - mean_cosine(pair.int8_model, tiny(), prepare(crops)) < 0.9 * (1 - before)


def test_the_costliest_layer_comes_first(source: Path) -> None:
    """A layer whose integers are spoilt costs most."""
    pair = calibrate(source, input_name="input", calibration=pictures())
    nodes = {node.name: node for node in pair.int8_model.graph.node}
    makers = {node.output[0]: node for node in pair.int8_model.graph.node}
    places = {each.name: each for each in pair.int8_model.graph.initializer}
    spoilt = places[makers[nodes["down"].input[1]].input[0]]
    spoilt.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(spoilt), spoilt.name))
    names = costliest_layers(pair, np.concatenate(pictures()))
    assert names[0] == "down"
    assert set(names) == set(quantised_layers(pair.int8_model))


@pytest.mark.parametrize("backend", [Backend.OPENVINO, Backend.ONNXRUNTIME])
def test_simulated_int8_is_what_an_engine_computes(backend: Backend, source: Path, tmp_path: Path) -> None:
    made = quantise(source, tmp_path / "int8.onnx", input_name="input", calibration=pictures())
    faces = np.random.default_rng(5).integers(0, 256, (16, 8, 8, 3), np.uint8)
    engine = open_engine(
        made.path,
        input_name="input",
        output_names=["template"],
        preprocessing=Preprocessing(mean=(127.5, 127.5, 127.5), scale=1 / 64),
        options=EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32),
    )
    prepared = ((faces.astype(np.float32) - 127.5) / 64).transpose(0, 3, 1, 2)
    simulated = outputs(onnx.load(made.path), [np.ascontiguousarray(prepared)])
    assert cosine(engine.run({"input": faces})["template"], simulated) > 0.999


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"calibration": []}, BadTrainingData, "no pictures to calibrate with"),
        ({"input_name": "picture"}, UnreadableCheckpoint, r"no input 'picture'; its inputs: input"),
        ({"keep": ("nose",)}, WorkshopError, r"no convolution is called 'nose'; its convolutions: stem, up"),
        ({"calibration": [np.zeros((1, 5, 8, 8), np.float32)]}, WorkshopError, r"shape \(1, 5, 8, 8\)"),
    ],
)
def test_bad_input(wrong: dict[str, object], error: type[Exception], says: str, source: Path, tmp_path: Path) -> None:
    options = {"input_name": "input", "calibration": pictures(), **wrong}
    with pytest.raises(error, match=says):
        quantise(source, tmp_path / "int8.onnx", **options)  # type: ignore[arg-type]  # wrong on purpose
    assert list(tmp_path.iterdir()) == [source]


def test_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(UnreadableCheckpoint, match="can't be read as an ONNX model"):
        quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", input_name="input", calibration=pictures())


def test_it_is_quiet_and_sends_nothing(source: Path, tmp_path: Path) -> None:
    """In a process of its own: under pytest NNCF switches its telemetry off by itself."""
    code = f"""
import sys, logging
from pathlib import Path
from tests.workshop.test_equalise import pictures
from weights.workshop.quantise import quantise
before = logging.getLogger("nncf").level
quantise(Path({str(source)!r}), Path({str(tmp_path / "int8.onnx")!r}), input_name="input", calibration=pictures())
import nncf.telemetry
assert sys.modules["openvino_telemetry"] is None
assert type(nncf.telemetry.telemetry).__name__ == "MagicMock", type(nncf.telemetry.telemetry)
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
import os
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""


def test_the_log_is_as_it_was(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import nncf  # noqa: F401  # it sets its level when it is imported

    before = logging.getLogger("nncf").level
    calibrate(source, input_name="input", calibration=pictures(2))
    assert logging.getLogger("nncf").level == before
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_pulled_detector_at_several_sizes(model_paths: Mapping[str, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    sizes = [(96, 128), (128, 96), (64, 64)]
    calibration = [rng.normal(0, 60, (1, 3, *size)).astype(np.float32) for size in sizes * 4]
    made = quantise(model_paths[DEFAULT_DETECTOR], tmp_path / "int8.onnx", input_name="input", calibration=calibration)
    assert made.layers > 50
    assert made.target_bytes < 0.5 * made.source_bytes
    spec = load_manifest().model(DEFAULT_DETECTOR)
    assert {each.name for each in onnx.load(made.path).graph.output} >= set(spec.outputs)


def test_too_few_or_misshapen_crops(source: Path, tmp_path: Path) -> None:
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    for crops, says in (
        (np.zeros((4, 112, 112, 3), np.uint8), "4 aligned faces; 32 are the least"),
        (np.zeros((64, 96, 112, 3), np.uint8), r"these are \(64, 96, 112, 3\) uint8"),
    ):
        with pytest.raises(BadTrainingData, match=says):
            quantise_embedder(
                source,
                tmp_path / "int8.onnx",
                crops=crops,
                mean=spec.mean,
                scale=spec.scale,
                colour=spec.colour,
                input_name="input",
            )


def embedder(
    model_paths: Mapping[str, Path], target: Path, crops: NDArray[np.uint8], *, steps: int, leave: int
) -> Quantised:
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    return quantise_embedder(
        model_paths[DEFAULT_EMBEDDER],
        target,
        crops=crops,
        mean=spec.mean,
        scale=spec.scale,
        colour=spec.colour,
        input_name=spec.input_name,
        steps=steps,
        leave=leave,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_embedder_in_the_product(model_paths: Mapping[str, Path], real_data: Path, tmp_path: Path) -> None:
    """By the product's engines: near to float32, the same by either engine, and the same file for the same seed."""
    photos = sorted((real_data / "lfw" / "images").glob("*/*_0001.jpg"))[:400:4]
    crops = np.stack(list(aligned(photos).values()))
    made = embedder(model_paths, tmp_path / "a.onnx", crops, steps=3, leave=0)
    assert made.merged == ("t12", "t227")
    assert made.layers == 50
    assert made.target_bytes < made.source_bytes / 3
    embedder(model_paths, tmp_path / "b.onnx", crops, steps=3, leave=0)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    reference = MobileFaceNet.open(model_paths[DEFAULT_EMBEDDER], spec).embed(crops)
    for backend in (Backend.OPENVINO, Backend.ONNXRUNTIME):
        options = EngineOptions(backend=backend, device=Device.CPU)
        templates = MobileFaceNet.open(made.path, spec, options).embed(crops)
        assert np.mean(np.sum(templates * reference, axis=1)) > 0.996, backend


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lfw_stays_near_the_float_models(lfw: Lfw, model_paths: Mapping[str, Path], tmp_path: Path) -> None:
    """Calibrated on the photos of the first two folds, tested on the pairs of the others; float has 99.4 % there.

    Learning, which adds a little, is left out here: it takes minutes.
    """
    calibration = [lfw.faces[photo] for photo in photos_of(lfw.folds[:2]) if photo in lfw.faces][:400]
    tested = photos_of(lfw.folds[2:])
    faces = {photo: lfw.faces[photo] for photo in tested if photo in lfw.faces}
    made = embedder(model_paths, tmp_path / "int8.onnx", np.stack(calibration), steps=0, leave=0)
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    templates = MobileFaceNet.open(made.path, spec).embed(np.stack(list(faces.values())))
    result = evaluate(lfw.folds[2:], dict(zip(faces, templates, strict=True)), len(tested))
    assert result.accuracy >= 0.99
