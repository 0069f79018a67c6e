"""An ONNX graph run by torch: for its inner values, and for gradients through simulated int8.

It knows what embedders are made of, quantised or not. Where it meets another operator, it leaves the results of that
and of all behind it out: who wants the ranges of a detector's backbone gets them, whatever its heads do.

`QuantizeLinear` and `DequantizeLinear` in a row are simulated as the operators are defined, ``clamp(round(x / scale) +
zero_point)``; the gradient passes where nothing was clamped (the straight-through estimator; Bengio et al.,
"Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", 2013).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import onnx
import torch
import torch.nn.functional as F  # noqa: N812  # what everybody calls it
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

_LEAST: Final[Mapping[int, int]] = {TensorProto.INT8: -128, TensorProto.UINT8: 0}


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as plain values."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def consumers_of(graph: Any) -> Mapping[str, list[Any]]:
    """Tensor name to the nodes that read it; empty for one that nobody reads."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found[name].append(node)
    return found


class Interpreter:
    """A graph whose initialisers are torch tensors.

    Attributes:
        arrays: Name to initialiser. Put another tensor in (with `requires_grad`, say) and it is what is used.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self.arrays: dict[str, Tensor] = {
            each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in self._graph.initializer
        }
        for node in self._graph.node:
            if node.op_type == "Constant" and (value := attributes(node).get("value")) is not None:
                self.arrays[node.output[0]] = torch.from_numpy(numpy_helper.to_array(value).copy())
            elif node.op_type == "Identity" and node.input[0] in self.arrays:
                self.arrays[node.output[0]] = self.arrays[node.input[0]]
        self._nodes = [node for node in self._graph.node if node.output[0] not in self.arrays]
        self._types = {each.name: each.data_type for each in self._graph.initializer}
        held = {each.name for each in self._graph.initializer}
        self.input_name: str = next(each.name for each in self._graph.input if each.name not in held)
        self.output_name: str = self._graph.output[0].name

    def hold(self, name: str) -> None:
        """Take a tensor from `arrays`, where the caller puts it, instead of from the node that makes it."""
        self._nodes = [node for node in self._nodes if node.output[0] != name]

    def __call__(self, pictures: Tensor) -> Tensor:
        """The first output, for prepared pictures ``(B, C, H, W)`` float32; `KeyError` where it can't be reached."""
        return self.values(pictures)[self.output_name]

    def values(self, pictures: Tensor, wanted: Iterable[str] | None = None) -> dict[str, Tensor]:
        """All tensors that are not initialisers, by name, as far as the operators are known.

        Args:
            pictures: ``(B, C, H, W)`` float32, prepared.
            wanted: Only these; by default all.
        """
        known: dict[str, Tensor] = {self.input_name: pictures}
        for node in self._nodes:
            run = _OPERATORS.get(node.op_type)
            inputs: list[Any] = [known.get(name, self.arrays.get(name)) for name in node.input]
            if run is None or any(value is None for value in inputs):
                continue
            if node.op_type == "QuantizeLinear":
                # What is between the pair is an integer; simulated, it stays the real number that the pair gives.
                x, scale, zero_point = inputs
                kind = self._types[node.input[2]]
                known[node.output[0]] = _fake_quantised(x, scale, zero_point, kind, attributes(node))
            elif node.op_type == "DequantizeLinear":
                x, scale, zero_point = inputs
                simulated = node.input[0] in known
                known[node.output[0]] = x if simulated else _dequantised(x, scale, zero_point, attributes(node))
            else:
                known[node.output[0]] = run(inputs, attributes(node))
        if wanted is None:
            return known
        return {name: known[name] for name in wanted if name in known}


def _fake_quantised(x: Tensor, scale: Tensor, zero_point: Tensor, kind: int, given: Mapping[str, Any]) -> Tensor:
    least = _LEAST[kind]
    if scale.numel() == 1:
        return torch.fake_quantize_per_tensor_affine(
            x, scale.reshape(()), zero_point.int().reshape(()), least, least + 255
        )
    axis = given.get("axis", 1)
    return torch.fake_quantize_per_channel_affine(x, scale, zero_point.int(), axis, least, least + 255)


def _dequantised(values: Tensor, scale: Tensor, zero_point: Tensor, given: Mapping[str, Any]) -> Tensor:
    shape = [1] * values.dim()
    if scale.numel() > 1:
        shape[given.get("axis", 1)] = -1
    return (values.float() - zero_point.float().reshape(shape)) * scale.reshape(shape)


def _convolution(inputs: list[Tensor], given: Mapping[str, Any]) -> Tensor:
    x, weight, *bias = inputs
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        padding: Any = (top, left)
    else:
        x, padding = F.pad(x, (left, right, top, bottom)), 0
    return F.conv2d(
        x,
        weight,
        bias[0] if bias else None,
        tuple(given.get("strides", (1, 1))),
        padding,
        tuple(given.get("dilations", (1, 1))),
        given.get("group", 1),
    )


def _max_pool(inputs: list[Tensor], given: Mapping[str, Any]) -> Tensor:
    padding = tuple(given.get("pads", (0, 0))[:2])
    return F.max_pool2d(inputs[0], tuple(given["kernel_shape"]), tuple(given.get("strides", (1, 1))), padding)


_OPERATORS: Mapping[str, Callable[[list[Tensor], Mapping[str, Any]], Tensor]] = {
    "Conv": _convolution,
    "PRelu": lambda inputs, _: F.prelu(inputs[0], inputs[1].reshape(-1)),
    "LeakyRelu": lambda inputs, given: F.leaky_relu(inputs[0], given.get("alpha", 0.01)),
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Flatten": lambda inputs, given: torch.flatten(inputs[0], given.get("axis", 1)),
    "MaxPool": _max_pool,
    "Identity": lambda inputs, _: inputs[0],
    "QuantizeLinear": lambda inputs, _: inputs[0],
    "DequantizeLinear": lambda inputs, _: inputs[0],
}
