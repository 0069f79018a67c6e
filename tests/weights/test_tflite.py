import numpy as np
import pytest

from tests.weights.tflite_builder import Byte, Int, ModelBuilder, Table, flatbuffer
from weights.errors import MalformedModel, UnsupportedGraph
from weights.tflite import ConvOptions, Padding, read_tflite

WEIGHTS = np.arange(4 * 3 * 3 * 2, dtype=np.float32).reshape(4, 3, 3, 2)


def one_conv() -> tuple[ModelBuilder, int]:
    builder = ModelBuilder((1, 6, 6, 2))
    return builder, builder.conv(0, WEIGHTS, (1, 3, 3, 4), stride=2)


def test_reads_back_what_was_written() -> None:
    builder, output = one_conv()
    graph = read_tflite(builder.build(output))
    (step,) = graph.operators
    assert graph.inputs == (0,)
    assert graph.outputs == (output,)
    assert (step.name, step.inputs, step.outputs) == ("CONV_2D", (0, 1, 2), (3,))
    assert step.conv == ConvOptions(padding=Padding.SAME, strides_hw=(2, 2), dilations_hw=(1, 1))
    assert [tensor.shape for tensor in graph.tensors] == [(1, 6, 6, 2), (4, 3, 3, 2), (4,), (1, 3, 3, 4)]
    assert [tensor.data is None for tensor in graph.tensors] == [True, False, False, True]
    np.testing.assert_array_equal(graph.tensors[1].data, WEIGHTS)


def test_strides_and_dilations_are_height_then_width() -> None:
    builder = ModelBuilder((1, 8, 8, 2))
    inputs = [0, builder.constant(WEIGHTS)]
    options = {0: Byte(1), 1: Int(3), 2: Int(2), 4: Int(5), 5: Int(4)}  # padding, stride w h, dilation w h
    output = builder.step("CONV_2D", inputs, (1, 1, 1, 4), options)
    (step,) = read_tflite(builder.build(output)).operators
    assert step.conv == ConvOptions(padding=Padding.VALID, strides_hw=(2, 3), dilations_hw=(4, 5))


def test_an_unknown_operator_is_named() -> None:
    builder = ModelBuilder((1, 4))
    data = builder.build(builder.step("SOFTMAX", [0], (1, 4)))
    with pytest.raises(UnsupportedGraph, match="step 0 is builtin operator 25; only these are read: ADD, CONV_2D"):
        read_tflite(data)


def test_a_fused_activation_is_named() -> None:
    builder = ModelBuilder((1, 4))
    data = builder.build(builder.step("ADD", [0, 0], (1, 4), {0: Byte(1)}))
    with pytest.raises(UnsupportedGraph, match=r"step 0 \(ADD\) has fused activation 1"):
        read_tflite(data)


def test_a_quantised_tensor_is_named() -> None:
    builder = ModelBuilder((1, 4))
    constant = builder.constant(np.zeros(4, np.uint8))
    data = builder.build(builder.step("ADD", [0, constant], (1, 4), {}))
    with pytest.raises(UnsupportedGraph, match=r"tensor 1 \(tensor1\) has TFLite type 3"):
        read_tflite(data)


def test_another_schema_version_is_refused() -> None:
    with pytest.raises(UnsupportedGraph, match="schema version 2"):
        read_tflite(flatbuffer(Table({0: Int(2)})))


def test_an_index_outside_the_tensors_is_refused() -> None:
    builder = ModelBuilder((1, 4))
    output = builder.step("ADD", [0, 99], (1, 4), {})
    with pytest.raises(MalformedModel, match=r"outside 0\.\.1"):
        read_tflite(builder.build(output))


def test_a_missing_input_is_refused() -> None:
    builder = ModelBuilder((1, 4))
    output = builder.step("ADD", [0, -1], (1, 4), {})
    with pytest.raises(MalformedModel, match=r"step 0 \(ADD\) has inputs \(0, -1\)"):
        read_tflite(builder.build(output))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<!DOCTYPE html><html></html>", id="a page"),
        pytest.param(b"\x08\x06\x12\x07pytorch", id="onnx"),
        pytest.param(b"\xff\xff\xff\xffTFL3", id="root outside"),
        pytest.param(b"\x08\0\0\0TFL3\xff\xff\xff\x7f", id="vtable before the beginning"),
    ],
)
def test_other_files_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedModel):
        read_tflite(data)


def test_every_truncation_is_malformed_or_unsupported() -> None:
    # The buffers are written last, so nearly every cut loses something that is needed.
    builder, output = one_conv()
    whole = builder.build(output)
    for length in range(0, len(whole), 7):
        with pytest.raises((MalformedModel, UnsupportedGraph)):
            read_tflite(whole[:length])
