"""Channels scaled so that one int8 scale suits all of them; the network computes what it did before.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019: convolutions are linear,
and ReLU, LeakyReLU and PReLU are positively homogeneous, so a channel can be divided by a positive factor before one
and multiplied again after. What channels share, they must be scaled together in: a sum ties the channels of its terms
and of its result, so the whole stream of residual blocks is one group.

The factor balances what is lost on both sides (Xiao et al., "SmoothQuant", 2022, equation 4): ``a^alpha / w^(1 -
alpha)`` for the largest activation ``a`` of a channel and the largest weight ``w`` that reads it. Where all readers are
depthwise, `alpha` is 1: each channel has a scale of its own for weights anyway, so they lose nothing. Else it is 1/2.

One scale for all channels is what engines can run: TensorRT takes activations with one symmetric scale only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from weights.workshop.interpret import Interpreter, attributes, consumers_of

HOMOGENEOUS: Final = frozenset({"PRelu", "LeakyRelu", "Relu", "Add", "Identity", "MaxPool"})
"""Operators through which a positive factor a channel passes."""

LEAST_PART: Final = 1e-3
"""Channels whose range is a smaller part than this of the largest one's count as of this part: next to nothing is in
them, and a factor without bound would make it heard."""


@dataclass(slots=True)
class Group:
    """Tensors whose channels are scaled together, the convolutions that make them and those that read them."""

    tensors: set[str] = field(default_factory=set)
    makers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)


def equalise(model: onnx.ModelProto, pictures: Sequence[NDArray[np.float32]]) -> int:
    """Scale the channels of a float model for int8, in place; its outputs stay the same up to rounding.

    Args:
        model: An ONNX model with its normalisation folded in; convolutions have their weights as initialisers.
        pictures: Prepared batches ``(B, C, H, W)`` float32, for the ranges of activations; a few dozen do.

    Returns:
        How many groups of channels were scaled. Groups that reach an input, an output or an operator that is neither
        linear nor homogeneous are left alone.
    """
    groups = scalable(model.graph)
    ranges = channel_ranges(model, {name for group in groups for name in group.tensors}, pictures)
    changed = 0
    for group in groups:
        if group.tensors <= ranges.keys():
            _scale(model.graph, group, np.max([ranges[name] for name in group.tensors], axis=0))
            changed += 1
    return changed


def channel_ranges(
    model: onnx.ModelProto, names: set[str], pictures: Sequence[NDArray[np.float32]]
) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of each channel ``(C,)`` of some tensors.

    It is the mean over batches, so that one odd picture does not decide.
    """
    run = Interpreter(model)
    sums: dict[str, NDArray[np.float64]] = {}
    with torch.no_grad():
        for batch in pictures:
            for name, value in run.values(torch.from_numpy(batch), names).items():
                largest = value.abs().amax(dim=(0, 2, 3)).double().numpy() if value.dim() == 4 else np.zeros(0)
                sums[name] = sums.get(name, 0.0) + largest
    return {name: value / len(pictures) for name, value in sums.items() if value.size}


def scalable(graph: Any) -> list[Group]:
    """The groups of tensors whose channels may be scaled, in the graph's order."""
    groups: list[Group] = []
    seen: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] not in seen:
            group, legal = _group_of(node.output[0], graph)
            seen |= group.tensors
            if legal and group.readers:
                groups.append(group)
    return groups


def _group_of(start: str, graph: Any) -> tuple[Group, bool]:
    """All that is tied to a tensor, and whether it may be scaled."""
    consumers = consumers_of(graph)
    # Weights that two convolutions share would be scaled twice.
    arrays = {each.name for each in graph.initializer if len(consumers[each.name]) == 1}
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {each.name for each in graph.output}
    group, legal, waiting = Group(), True, [start]
    while waiting:
        name = waiting.pop()
        if name in group.tensors:
            continue
        group.tensors.add(name)
        maker = makers.get(name)
        if maker is not None and maker.op_type == "Conv":
            legal &= arrays.issuperset(maker.input[1:])
            group.makers.append(maker)
        elif maker is not None and maker.op_type in HOMOGENEOUS:
            waiting += list(maker.input) if maker.op_type == "Add" else [maker.input[0]]
        else:
            legal = False  # an input, a constant term of a sum, or another operator's result
        for reader in consumers[name]:
            if reader.op_type == "Conv":
                legal &= reader.input[1] in arrays
                group.readers.append(reader)
            elif reader.op_type in HOMOGENEOUS:
                waiting.append(reader.output[0])
            else:
                legal = False
    return group, legal and not outputs & group.tensors


def _scale(graph: Any, group: Group, largest: NDArray[np.float64]) -> None:
    places = {each.name: each for each in graph.initializer}
    depthwise = all(_is_depthwise(reader, places) for reader in group.readers)
    alpha = 1.0 if depthwise else 0.5
    activation = _without_nought(largest)
    reading = _without_nought(np.max([_read_by(reader, places) for reader in group.readers], axis=0))
    factor = activation**alpha / reading ** (1 - alpha)
    factor /= np.exp(np.mean(np.log(factor)))
    for maker in group.makers:
        _multiply(places[maker.input[1]], 1 / factor[:, None, None, None])
        if len(maker.input) > 2:
            _multiply(places[maker.input[2]], 1 / factor)
    for reader in group.readers:
        by_row = _is_depthwise(reader, places)
        _multiply(places[reader.input[1]], factor[:, None, None, None] if by_row else factor[None, :, None, None])


def _without_nought(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(values, max(LEAST_PART * float(values.max()), 1e-12)), np.float64)


def _is_depthwise(node: Any, places: dict[str, Any]) -> bool:
    return attributes(node).get("group", 1) > 1 and places[node.input[1]].dims[1] == 1


def _read_by(node: Any, places: dict[str, Any]) -> NDArray[np.float64]:
    """The largest weight by which each input channel is read."""
    weight = np.abs(numpy_helper.to_array(places[node.input[1]])).astype(np.float64)
    return weight.max(axis=(1, 2, 3) if _is_depthwise(node, places) else (0, 2, 3))


def _multiply(place: Any, factor: NDArray[np.float64]) -> None:
    value = (numpy_helper.to_array(place).astype(np.float64) * factor).astype(np.float32)
    place.CopyFrom(numpy_helper.from_array(value, place.name))
