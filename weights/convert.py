"""Rewrites a TFLite convolution network as ONNX: NCHW, any batch, one operator where the source spells out several.

What changes, and why the result computes the same:

- Layout. TFLite is NHWC, and its filters are [out, h, w, in] or, depthwise, [1, h, w, channels]. The new input is
  NCHW, filters become [out, in, h, w] and [channels, 1, h, w] with one group a channel.
- Border. TensorFlow's SAME puts the odd pixel of padding after, not before: with stride 2 and an even input,
  a 3x3 filter is padded (0, 1), where most other frameworks would pad (1, 1) and look at other pixels. The
  padding is computed from the stored sizes and written out as numbers.
- PReLU. The source has relu(x) + a * (x - |x|). For x >= 0 that is x; below, x - |x| = 2x, so it is 2a * x. Each
  such group becomes one PRelu with slope 2a, and doubling a float is exact.
- Batch. The source fixes it in the input's shape and in the last reshape, to [batch, features]. The new input's
  batch is free, and the reshape, legal only from 1x1 pixels, becomes Flatten.

Anything else is refused by name. The same source gives the same bytes with the same release of `onnx`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weights.errors import MissingConverter, UnsupportedGraph
from weights.tflite import ConvOptions, Graph, Operator, Padding, Tensor, read_tflite

VERSION: Final = 1
"""Raise it with any change of what is written: files made by another version are made again."""

OPSET: Final = 13
IR_VERSION: Final = 8


def sha256(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Pixels that TensorFlow's SAME adds before and after one axis.

    From `GetWindowedOutputSizeVerbose` of TensorFlow: the output has ceil(size / stride) pixels, and what is
    missing for them is split in half, the odd one after.
    """
    extent = (kernel - 1) * dilation + 1
    missing = max(0, (-(-size // stride) - 1) * stride + extent - size)
    return missing // 2, missing - missing // 2


def tflite_to_onnx(source: bytes, *, input_name: str, output_name: str) -> bytes:
    """Convert a model with one image input and one output of features.

    Args:
        source: The TFLite file; its input is [N, H, W, C] float32.
        input_name: Of the new input, [batch, C, H, W] float32.
        output_name: Of the new output, [batch, features] float32.

    Returns:
        The serialised ONNX model, checked by `onnx.checker` with shape inference.

    Raises:
        MalformedModel: `source` is damaged.
        UnsupportedGraph: It has something that is not rewritten here; the message names the step.
        MissingConverter: `onnx` is not installed.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise MissingConverter(
            "converting TFLite needs the onnx package; install it with: pip install 'vidface[cpu]' or 'vidface[gpu]'"
        ) from error
    graph = read_tflite(source)
    rewritten = _Rewriter(graph, input_name, output_name).run()
    image = graph.tensors[graph.inputs[0]]
    _, height, width, channels = image.shape
    features = graph.tensors[graph.outputs[0]].shape[1]
    float32 = onnx.TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(n.operator, n.inputs, n.outputs, n.outputs[0], **n.attributes) for n in rewritten.nodes],
            "converted",
            [helper.make_tensor_value_info(input_name, float32, ["batch", channels, height, width])],
            [helper.make_tensor_value_info(output_name, float32, ["batch", features])],
            [numpy_helper.from_array(value, name) for name, value in rewritten.constants.items()],
        ),
        producer_name="vidface",
        producer_version=str(VERSION),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


class _Rewriter:
    """Walks the source's steps in order and writes down their ONNX counterparts."""

    def __init__(self, graph: Graph, input_name: str, output_name: str) -> None:
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise UnsupportedGraph(
                f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each is expected"
            )
        shape = graph.tensors[graph.inputs[0]].shape
        if len(shape) != 4:
            raise UnsupportedGraph(f"the input has shape {list(shape)}; [N, H, W, C] is expected")
        self.nodes: list[_Node] = []
        self.constants: dict[str, npt.NDArray[np.float32]] = {}
        self._graph = graph
        self._names = {graph.inputs[0]: input_name}
        self._output_name = output_name
        self._users: dict[int, list[Operator]] = {}
        for step in graph.operators:
            for index in step.inputs:
                self._users.setdefault(index, []).append(step)
        self._done: set[int] = set()

    def run(self) -> "_Rewriter":
        for step in self._graph.operators:
            if step.index in self._done:
                continue
            if step.name in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
                self._conv(step)
            elif step.name == "RELU":
                self._prelu(step)
            elif step.name == "ADD":
                self._add(step)
            elif step.name == "RESHAPE":
                self._flatten(step)
            else:
                raise UnsupportedGraph(
                    f"step {step.index} is {step.name} outside a relu/abs/sub/mul/add group (a PReLU); "
                    "alone it is not converted"
                )
        if self._graph.outputs[0] not in self._names:
            raise UnsupportedGraph(f"no step computes the output, tensor {self._graph.outputs[0]}")
        return self

    def _conv(self, step: Operator) -> None:
        if len(step.inputs) < 2 or step.conv is None:
            raise UnsupportedGraph(f"step {step.index} ({step.name}) has no filters")
        image = self._graph.tensors[step.inputs[0]]
        filters = self._constant(step, step.inputs[1], rank=4)
        channels = image.shape[3]
        if step.name == "CONV_2D":
            weights, groups = filters.transpose(0, 3, 1, 2), 1
            if filters.shape[3] != channels:
                raise UnsupportedGraph(
                    f"step {step.index} (CONV_2D) filters {filters.shape[3]} of {channels} channels; "
                    "groups are not converted"
                )
        else:
            weights, groups = filters.transpose(3, 0, 1, 2), channels
            if filters.shape[3] != channels:
                raise UnsupportedGraph(
                    f"step {step.index} (DEPTHWISE_CONV_2D) makes {filters.shape[3]} channels of {channels}; "
                    "a depth multiplier other than 1 is not converted"
                )
        inputs = [self._name(step, step.inputs[0]), self._add_constant(f"w{step.index}", weights)]
        if len(step.inputs) > 2 and step.inputs[2] >= 0:
            inputs.append(self._add_constant(f"b{step.index}", self._constant(step, step.inputs[2], rank=1)))
        kernel_hw = (filters.shape[1], filters.shape[2])
        self._emit(
            "Conv",
            inputs,
            step,
            group=groups,
            kernel_shape=list(kernel_hw),
            strides=list(step.conv.strides_hw),
            dilations=list(step.conv.dilations_hw),
            pads=_pads(step.conv, image, kernel_hw),
        )

    def _prelu(self, relu: Operator) -> None:
        """relu(x) + a * (x - |x|), whichever way round its sums and products are written."""
        x = relu.inputs[0]
        absolute = self._user(relu, x, "ABS", {x})
        difference = self._user(absolute, absolute.outputs[0], "SUB", {x, absolute.outputs[0]})
        if difference.inputs != (x, absolute.outputs[0]):
            raise UnsupportedGraph(f"step {difference.index} (SUB) is |x| - x where a PReLU has x - |x|")
        product = self._user(difference, difference.outputs[0], "MUL", None)
        slope_index = next((index for index in product.inputs if index != difference.outputs[0]), -1)
        total = self._user(product, product.outputs[0], "ADD", {relu.outputs[0], product.outputs[0]})
        channels = self._graph.tensors[x].shape[-1]
        slope = self._constant(product, slope_index, rank=None)
        if slope.size != channels:
            raise UnsupportedGraph(
                f"step {product.index} (MUL) has {slope.size} slopes for {channels} channels; one each is expected"
            )
        inputs = [
            self._name(relu, x),
            self._add_constant(f"slope{relu.index}", (slope * np.float32(2)).reshape(channels, 1, 1)),
        ]
        self._done.update(step.index for step in (relu, absolute, difference, product, total))
        self._emit("PRelu", inputs, total)

    def _user(self, before: Operator, index: int, name: str, inputs: set[int] | None) -> Operator:
        """The step `name` that takes tensor `index` (and exactly `inputs`, if given): the next of a PReLU."""
        users = self._users.get(index, [])
        found = [step for step in users if step.name == name and (inputs is None or set(step.inputs) == inputs)]
        # What happens inside a group must not be wanted outside of it; x itself may be.
        inside = before.name != "RELU" and len(users) != 1
        if len(found) != 1 or inside:
            raise UnsupportedGraph(
                f"step {before.index} ({before.name}) does not begin or continue a PReLU: exactly one {name} is "
                f"expected to take its value, {[f'{step.name} {step.index}' for step in users]} do"
            )
        return found[0]

    def _add(self, step: Operator) -> None:
        first, second = (self._graph.tensors[index] for index in step.inputs)
        if first.data is not None or second.data is not None or first.shape != second.shape:
            raise UnsupportedGraph(f"step {step.index} (ADD) is not the sum of two computed values of one shape")
        self._emit("Add", [self._name(step, index) for index in step.inputs], step)

    def _flatten(self, step: Operator) -> None:
        before = self._graph.tensors[step.inputs[0]].shape
        after = self._graph.tensors[step.outputs[0]].shape
        # Only from 1x1 pixels is the order of the values the same in NHWC and NCHW.
        if len(before) != 4 or before[1:3] != (1, 1) or after != (before[0], before[3]):
            raise UnsupportedGraph(
                f"step {step.index} (RESHAPE) from {list(before)} to {list(after)}; only [N, 1, 1, C] to [N, C]"
            )
        self._emit("Flatten", [self._name(step, step.inputs[0])], step, axis=1)

    def _emit(self, operator: str, inputs: list[str], step: Operator, **attributes: Any) -> None:
        index = step.outputs[0]
        self._names[index] = self._output_name if index == self._graph.outputs[0] else f"t{step.index}"
        self.nodes.append(_Node(operator=operator, inputs=inputs, outputs=[self._names[index]], attributes=attributes))

    def _name(self, step: Operator, index: int) -> str:
        if index not in self._names:
            raise UnsupportedGraph(f"step {step.index} ({step.name}) takes tensor {index} before it is computed")
        return self._names[index]

    def _constant(self, step: Operator, index: int, rank: int | None) -> npt.NDArray[np.float32]:
        data = self._graph.tensors[index].data if index >= 0 else None
        if data is None or data.dtype != np.float32 or (rank is not None and data.ndim != rank):
            raise UnsupportedGraph(
                f"step {step.index} ({step.name}): tensor {index} is no float32 constant of its rank"
            )
        return data.astype(np.float32)

    def _add_constant(self, name: str, value: npt.NDArray[np.float32]) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name


def _pads(options: ConvOptions, image: Tensor, kernel_hw: tuple[int, int]) -> list[int]:
    """ONNX order: top, left, bottom, right."""
    if options.padding is Padding.VALID:
        return [0, 0, 0, 0]
    size_hw = (image.shape[1], image.shape[2])
    (top, bottom), (left, right) = (
        same_padding(size, kernel, stride, dilation)
        for size, kernel, stride, dilation in zip(
            size_hw, kernel_hw, options.strides_hw, options.dilations_hw, strict=True
        )
    )
    return [top, left, bottom, right]
