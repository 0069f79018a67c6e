"""Merging and equalising change a graph, and nothing that it computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weights.workshop.equalise import channel_ranges, equalise, scalable
from weights.workshop.interpret import Interpreter
from weights.workshop.merge import merge_linear

F32 = NDArray[np.float32]


def tiny(*, slope: str = "PRelu") -> onnx.ModelProto:
    """Stem, a residual block (1x1 up, depthwise, 1x1 down), and two linear layers."""
    rng = np.random.default_rng(0)
    arrays: dict[str, F32] = {}
    nodes = []

    def conv(name: str, source: str, out: int, channels: int, kernel: int, *, groups: int = 1, pad: int = 0) -> str:
        weight = rng.normal(0, 0.4, (out, channels // groups, kernel, kernel)) * np.exp(
            rng.normal(0, 1, (out, 1, 1, 1))
        )
        arrays[f"{name}.w"] = weight.astype(np.float32)
        arrays[f"{name}.b"] = rng.normal(0, 0.1, out).astype(np.float32)
        inputs = [source, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Conv", inputs, [name], name=name, group=groups, pads=[pad] * 4))
        return name

    def activation(source: str, channels: int) -> str:
        name = f"{source}.act"
        if slope == "PRelu":
            arrays[f"{name}.s"] = rng.uniform(0.1, 0.5, (channels, 1, 1)).astype(np.float32)
            nodes.append(helper.make_node("PRelu", [source, f"{name}.s"], [name], name=name))
        else:
            nodes.append(helper.make_node(slope, [source], [name], name=name))
        return name

    x = activation(conv("stem", "input", 8, 3, 3, pad=1), 8)
    up = activation(conv("up", x, 16, 8, 1), 16)
    deep = activation(conv("deep", up, 16, 16, 3, groups=16, pad=1), 16)
    down = conv("down", deep, 8, 16, 1)
    nodes.append(helper.make_node("Add", [down, x], ["sum"], name="sum"))
    pool = conv("pool", "sum", 8, 8, 8, groups=8)
    conv("last", conv("linear", pool, 8, 8, 1), 4, 8, 1)
    nodes.append(helper.make_node("Flatten", ["last"], ["template"], name="flat"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("template", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def pictures(count: int = 8) -> list[F32]:
    return [each[None] for each in np.random.default_rng(1).normal(0, 1, (count, 3, 8, 8)).astype(np.float32)]


def outputs(model: onnx.ModelProto, batches: list[F32]) -> F32:
    with torch.no_grad():
        return np.asarray(Interpreter(model)(torch.from_numpy(np.concatenate(batches))).numpy(), np.float32)


def close(first: F32, second: F32) -> bool:
    return bool(np.abs(first - second).max() <= 1e-4 * np.abs(first).max())


@pytest.mark.parametrize("slope", ["PRelu", "LeakyRelu", "Relu"])
def test_equalising_changes_weights_and_no_output(slope: str) -> None:
    model = tiny(slope=slope)
    before = outputs(model, pictures())
    assert equalise(model, pictures()) == 5  # the stream, up, deep, pool, linear
    assert close(before, outputs(model, pictures()))
    old = {each.name: numpy_helper.to_array(each) for each in tiny(slope=slope).graph.initializer}
    new = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert not np.allclose(old["deep.w"], new["deep.w"])
    onnx.checker.check_model(model)


def test_what_a_depthwise_convolution_reads_has_one_range() -> None:
    model = tiny()

    def spread() -> float:
        ranges = channel_ranges(model, {"up", "up.act"}, pictures())
        both = np.maximum(ranges["up"], ranges["up.act"])
        return float(both.max() / both.min())

    before = spread()
    equalise(model, pictures())
    assert before > 5
    assert spread() == pytest.approx(1, abs=1e-3)


def test_a_sum_ties_its_terms() -> None:
    (stream, *_) = scalable(tiny().graph)
    assert stream.tensors == {"stem", "stem.act", "down", "sum"}
    assert {each.name for each in stream.makers} == {"stem", "down"}
    assert {each.name for each in stream.readers} == {"up", "pool"}


def test_what_reaches_an_output_or_an_unknown_operator_is_left_alone() -> None:
    model = tiny()
    up = next(node for node in model.graph.node if node.name == "up.act")
    up.op_type = "Tanh"
    del up.input[1:]
    tied = {name for group in scalable(model.graph) for name in group.tensors}
    assert "up" not in tied
    assert "last" not in tied
    assert "deep" in tied


def test_shared_weights_are_left_alone() -> None:
    model = tiny()
    deep = next(node for node in model.graph.node if node.name == "deep")
    pool = next(node for node in model.graph.node if node.name == "linear")
    pool.input[1] = "last.w"  # of no matter what shape: nothing is run
    deep.input[1] = "pool.w"
    tied = {name for group in scalable(model.graph) for name in group.tensors}
    assert not tied & {"up", "deep", "linear", "stem"}


def test_linear_layers_are_merged_and_give_the_same() -> None:
    model = tiny()
    before = outputs(model, pictures())
    assert merge_linear(model) == ("linear",)
    onnx.checker.check_model(model)
    assert "linear" not in {node.name for node in model.graph.node}
    assert "linear.w" not in {each.name for each in model.graph.initializer}
    assert close(before, outputs(model, pictures()))
    assert merge_linear(model) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("keep", "the caller wants it"),
        ("pad", "padding is of the first one's result"),
        ("read twice", "somebody else reads it"),
        ("output", "it is an output"),
    ],
)
def test_what_can_not_be_merged_stays(change: str, reason: str) -> None:
    model = tiny()
    last = next(node for node in model.graph.node if node.name == "last")
    keep = ("linear",) if change == "keep" else ()
    if change == "pad":
        del last.attribute[:]
        last.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    elif change == "read twice":
        model.graph.node.append(helper.make_node("Relu", ["linear"], ["again"], name="again"))
    elif change == "output":
        model.graph.output.append(helper.make_tensor_value_info("linear", TensorProto.FLOAT, None))
    assert merge_linear(model, keep=keep) == (), reason


def test_the_pulled_embedder(model_paths: Mapping[str, Path]) -> None:
    model = onnx.load(model_paths["mobilefacenet-192"])
    faces = [each[None] for each in np.random.default_rng(2).normal(0, 0.5, (2, 3, 112, 112)).astype(np.float32)]
    before = outputs(model, faces)
    assert merge_linear(model) == ("t12", "t227")
    assert equalise(model, faces) > 30
    assert close(before, outputs(model, faces))
