"""Preprocessing folded into a model's graph, so that every engine takes the same raw pictures.

The pictures go in as they lie in memory, ``(B, H, W, 3)`` uint8, a quarter of the bytes of float32; the engine
casts, transposes, subtracts the mean and scales inside its own first kernels. One graph serves every engine and
every device, so there is one place where a mean or a colour order could be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.errors import EngineMissing, ModelMismatch

_PROTO_OP_TYPE: Final = b"\x22"
"""ONNX's NodeProto keeps its operator in field 4, a length-delimited one: this byte, the length, the name."""
_QUANTISED_OPS: Final = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
_QUANTISED: Final = re.compile(
    b"|".join(_PROTO_OP_TYPE + re.escape(bytes([len(name)]) + name.encode()) for name in _QUANTISED_OPS)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a model wants of a picture before its first layer: ``(x - mean) * scale``, channel by channel.

    Attributes:
        mean: One value a channel, in the colour order of the pictures that will be given.
        scale: One factor for all channels.
    """

    mean: tuple[float, float, float]
    scale: float


def is_quantised(model: bytes) -> bool:
    """Whether an ONNX model has operators of quantised arithmetic.

    It is searched for nodes with such an operator, as the format stores them, so that no library is needed.
    """
    return _QUANTISED.search(model) is not None


def fold_preprocessing(
    path: Path,
    input_name: str,
    preprocessing: Preprocessing,
    output_names: Sequence[str],
    *,
    channels_last: bool = False,
) -> bytes:
    """A model with ``(B, H, W, 3)`` uint8 input in place of its ``(B, 3, H, W)`` float32 one.

    Args:
        path: The ONNX file.
        input_name: The model's picture input; the new graph's input keeps the name.
        preprocessing: What to fold in.
        output_names: Outputs that the model must have.
        channels_last: Subtract before transposing. An engine that computes with channels last then leaves the
            transposition out, a seventh of a pruned detector's time; one that doesn't is slower by as much.

    Returns:
        The serialised ONNX model.

    Raises:
        EngineMissing: The onnx package is not installed.
        ModelMismatch: The file has no such input or outputs.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise EngineMissing(
            "onnx is not installed; install an engine: pip install 'vidface[cpu]' (or 'vidface[gpu]')"
        ) from error
    try:
        model = onnx.load(path)
    except Exception as error:
        raise ModelMismatch(f"{path}: not a readable ONNX model ({error}); pull the weights again") from error
    graph = model.graph
    inputs = {value.name: value for value in graph.input}
    outputs = {value.name for value in graph.output}
    if input_name not in inputs or not outputs.issuperset(output_names):
        raise ModelMismatch(
            f"{path}: expected input {input_name!r} and outputs {sorted(output_names)}, "
            f"found inputs {sorted(inputs)} and outputs {sorted(outputs)}"
        )
    old = inputs[input_name]
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in old.type.tensor_type.shape.dim]
    batch, _channels, height, width = dims
    picture = helper.make_tensor_value_info(
        input_name, TensorProto.UINT8, [batch or "batch", height or "height", width or "width", 3]
    )
    steps, constants = _steps(input_name, preprocessing, channels_last=channels_last)
    graph.initializer.extend(constants)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == input_name:
                node.input[position] = steps[-1].output[0]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    kept_inputs = [picture if value.name == input_name else value for value in graph.input]
    del graph.input[:]
    graph.input.extend(kept_inputs)
    del graph.value_info[:]
    return bytes(model.SerializeToString())


def _steps(input_name: str, preprocessing: Preprocessing, *, channels_last: bool) -> tuple[list[Any], list[Any]]:
    """The nodes of preprocessing, each fed by the one before it, and their constants."""
    from onnx import TensorProto, helper, numpy_helper

    mean = np.asarray(preprocessing.mean, np.float32).reshape((1, 1, 1, 3) if channels_last else (1, 3, 1, 1))
    constants = {"Sub": mean}
    if preprocessing.scale != 1.0:
        constants["Mul"] = np.asarray(preprocessing.scale, np.float32)
    operators = ["Cast", *constants]
    operators.insert(len(operators) if channels_last else 1, "Transpose")
    attributes: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 3, 1, 2]}}
    given, nodes = input_name, []
    for operator in operators:
        more = [f"{input_name}/{operator}/constant"] if operator in constants else []
        made = f"{input_name}/{operator}"
        nodes.append(helper.make_node(operator, [given, *more], [made], **attributes.get(operator, {})))
        given = made
    return nodes, [numpy_helper.from_array(value, f"{input_name}/{name}/constant") for name, value in constants.items()]
