import sys

import numpy as np
import numpy.typing as npt
import pytest

from tests.weights.tflite_builder import ModelBuilder
from tests.weights.tflite_reference import run
from weights.convert import same_padding, tflite_to_onnx
from weights.errors import MissingConverter, UnsupportedGraph
from weights.tflite import read_tflite

ort = pytest.importorskip("onnxruntime", reason="the cpu extra is not installed")
onnx = pytest.importorskip("onnx", reason="the cpu extra is not installed")

F32 = npt.NDArray[np.float32]


def random(*shape: int) -> F32:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def small_network(size: int) -> bytes:
    """A MobileFaceNet in miniature: both strides, a residual sum, PReLUs, a global depthwise filter, features."""
    half, quarter = -(-size // 2), -(-size // 4)
    builder = ModelBuilder((2, size, size, 3))
    x = builder.prelu(builder.conv(0, random(8, 3, 3, 3), (2, half, half, 8), stride=2), random(8), (2, half, half, 8))
    y = builder.depthwise(x, random(1, 3, 3, 8), (2, half, half, 8))
    y = builder.prelu(y, random(8), (2, half, half, 8))
    y = builder.conv(y, random(8, 1, 1, 8), (2, half, half, 8))
    x = builder.step("ADD", [x, y], (2, half, half, 8), {})
    x = builder.depthwise(x, random(1, 3, 3, 8), (2, quarter, quarter, 8), stride=2)
    x = builder.depthwise(x, random(1, quarter, quarter, 8), (2, 1, 1, 8), padding=1)
    x = builder.conv(x, random(5, 1, 1, 8), (2, 1, 1, 5), bias=False)
    return builder.build(builder.step("RESHAPE", [x, builder.constant(np.array([2, 5], np.int32))], (2, 5)))


def outputs_of(model: bytes, images_nhwc: F32) -> F32:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": images_nhwc.transpose(0, 3, 1, 2)})
    return np.asarray(features)


@pytest.mark.parametrize("size", [pytest.param(16, id="even sizes"), pytest.param(13, id="odd sizes")])
def test_computes_what_the_source_computes(size: int) -> None:
    source = small_network(size)
    images = random(3, size, size, 3)
    features = outputs_of(tflite_to_onnx(source, input_name="image", output_name="features"), images)
    assert features.shape == (3, 5)
    np.testing.assert_allclose(features, run(read_tflite(source), images), rtol=1e-4, atol=1e-4)


def test_each_prelu_is_one_operator_and_the_batch_is_free() -> None:
    model = onnx.load_from_string(tflite_to_onnx(small_network(16), input_name="image", output_name="features"))
    operators = [node.op_type for node in model.graph.node]
    assert sorted(operators) == ["Add", *["Conv"] * 6, "Flatten", *["PRelu"] * 2]
    (image,), (features,) = model.graph.input, model.graph.output
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim[1:]] == [3, 16, 16]
    assert [(dim.dim_param, dim.dim_value) for dim in features.type.tensor_type.shape.dim] == [("batch", 0), ("", 5)]


def test_the_odd_pixel_of_padding_comes_after() -> None:
    model = onnx.load_from_string(tflite_to_onnx(small_network(16), input_name="image", output_name="features"))
    pads = [list(attribute.ints) for attribute in model.graph.node[0].attribute if attribute.name == "pads"]
    assert pads == [[0, 0, 1, 1]]


def test_is_deterministic() -> None:
    source = small_network(16)
    first, second = (tflite_to_onnx(source, input_name="image", output_name="features") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        pytest.param(112, 3, 2, 1, (0, 1), id="even, stride 2: only after"),
        pytest.param(111, 3, 2, 1, (1, 1), id="odd, stride 2: both"),
        pytest.param(56, 3, 1, 1, (1, 1), id="stride 1"),
        pytest.param(56, 1, 1, 1, (0, 0), id="1x1"),
        pytest.param(8, 1, 2, 1, (0, 0), id="a stride longer than the kernel"),
        pytest.param(10, 5, 2, 1, (1, 2), id="5x5, stride 2"),
        pytest.param(10, 3, 1, 2, (2, 2), id="dilated"),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, dilation: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride, dilation) == expected


def lone_abs() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.step("ABS", [0], (1, 4, 4, 2)))


def lone_relu() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.step("RELU", [0], (1, 4, 4, 2)))


def reversed_difference() -> bytes:
    builder, shape = ModelBuilder((1, 4, 4, 2)), (1, 4, 4, 2)
    relu = builder.step("RELU", [0], shape)
    difference = builder.step("SUB", [builder.step("ABS", [0], shape), 0], shape, {})
    product = builder.step("MUL", [builder.constant(random(2)), difference], shape, {})
    return builder.build(builder.step("ADD", [relu, product], shape, {}))


def slope_for_every_pixel() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.prelu(0, random(1, 4, 4, 2), (1, 4, 4, 2)))


def product_used_twice() -> bytes:
    builder, shape = ModelBuilder((1, 4, 4, 2)), (1, 4, 4, 2)
    relu = builder.step("RELU", [0], shape)
    difference = builder.step("SUB", [0, builder.step("ABS", [0], shape)], shape, {})
    product = builder.step("MUL", [builder.constant(random(2)), difference], shape, {})
    total = builder.step("ADD", [relu, product], shape, {})
    return builder.build(builder.step("ADD", [total, product], shape, {}))


def added_constant() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.step("ADD", [0, builder.constant(random(2))], (1, 4, 4, 2), {}))


def flattened_picture() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.step("RESHAPE", [0], (1, 32)))


def grouped_convolution() -> bytes:
    builder = ModelBuilder((1, 4, 4, 4))
    return builder.build(builder.conv(0, random(4, 3, 3, 2), (1, 4, 4, 4)))


def depth_multiplier() -> bytes:
    builder = ModelBuilder((1, 4, 4, 2))
    return builder.build(builder.depthwise(0, random(1, 3, 3, 4), (1, 4, 4, 4)))


def flat_input() -> bytes:
    builder = ModelBuilder((1, 4))
    return builder.build(builder.step("ADD", [0, 0], (1, 4), {}))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(lone_abs(), r"step 0 is ABS outside a relu/abs/sub/mul/add group", id="abs alone"),
        pytest.param(lone_relu(), r"step 0 \(RELU\) does not begin or continue a PReLU", id="relu alone"),
        pytest.param(reversed_difference(), r"step 2 \(SUB\) is \|x\| - x", id="|x| - x"),
        pytest.param(slope_for_every_pixel(), r"32 slopes for 2 channels", id="slope a pixel"),
        pytest.param(product_used_twice(), r"does not begin or continue a PReLU", id="inner value used outside"),
        pytest.param(added_constant(), r"step 0 \(ADD\) is not the sum of two computed", id="added constant"),
        pytest.param(
            flattened_picture(), r"step 0 \(RESHAPE\) from \[1, 4, 4, 2\] to \[1, 32\]", id="flattened picture"
        ),
        pytest.param(grouped_convolution(), r"filters 2 of 4 channels", id="grouped convolution"),
        pytest.param(depth_multiplier(), r"depth multiplier other than 1", id="depth multiplier"),
        pytest.param(flat_input(), r"the input has shape \[1, 4\]", id="no image"),
    ],
)
def test_what_it_does_not_know_is_named(source: bytes, message: str) -> None:
    with pytest.raises(UnsupportedGraph, match=message):
        tflite_to_onnx(source, input_name="image", output_name="features")


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingConverter, match=r"vidface\[cpu\]"):
        tflite_to_onnx(small_network(16), input_name="image", output_name="features")
