"""Linear convolutions one after another, made one: exact but for rounding, and less to compute.

A 1x1 convolution whose result goes into one other convolution and nowhere else, with no activation between, is a matrix
product before another. The pulled embedder has two such places: 64 -> 64 -> 128 channels at 56x56, behind the stem,
and 512 -> 512 -> 192 at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from weights.workshop.interpret import attributes, consumers_of


def merge_linear(model: onnx.ModelProto, *, keep: Sequence[str] = ()) -> tuple[str, ...]:
    """Merge what can be merged and is smaller merged, in place.

    Args:
        model: An ONNX model whose convolutions have their weights as initialisers.
        keep: Names of convolutions that must stay.

    Returns:
        The names of the convolutions that are gone, in the graph's order.
    """
    gone = []
    while (pair := _mergeable(model.graph, keep)) is not None:
        first, second = pair
        _merge(model.graph, first, second)
        gone.append(first.name)
    return tuple(gone)


def _mergeable(graph: Any, keep: Sequence[str]) -> tuple[Any, Any] | None:
    arrays = {each.name: each for each in graph.initializer}
    outputs = {each.name for each in graph.output}
    consumers = consumers_of(graph)
    for first in graph.node:
        if first.op_type != "Conv" or first.name in keep or first.output[0] in outputs or not _is_plain(first, arrays):
            continue
        weight = arrays[first.input[1]].dims
        if tuple(weight[2:]) != (1, 1) or tuple(attributes(first).get("strides", (1, 1))) != (1, 1):
            continue
        following = consumers[first.output[0]]
        if len(following) != 1:
            continue
        second = following[0]
        if second.op_type != "Conv" or second.input[0] != first.output[0] or not _is_plain(second, arrays):
            continue
        out, _, height, width = arrays[second.input[1]].dims
        if out * height * width * weight[1] < np.prod(weight) + np.prod(arrays[second.input[1]].dims):
            return first, second
    return None


def _is_plain(node: Any, arrays: dict[str, Any]) -> bool:
    """Dense, with its weights at hand, and unpadded: the second one pads with nought, not with the first one's bias."""
    given = attributes(node)
    return (
        given.get("group", 1) == 1
        and not any(given.get("pads", ()))
        and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and all(name in arrays for name in node.input[1:])
    )


def _merge(graph: Any, first: Any, second: Any) -> None:
    arrays = {each.name: each for each in graph.initializer}

    def values(node: Any) -> tuple[Any, Any]:
        weight = numpy_helper.to_array(arrays[node.input[1]]).astype(np.float64)
        bias = numpy_helper.to_array(arrays[node.input[2]]) if len(node.input) > 2 else np.zeros(len(weight))
        return weight, bias.astype(np.float64)

    (weight, bias), (weight_after, bias_after) = values(first), values(second)
    merged = np.einsum("omhw,mi->oihw", weight_after, weight[:, :, 0, 0])
    merged_bias = bias_after + np.einsum("omhw,m->o", weight_after, bias)
    names = (f"{second.name}/merged_weight", f"{second.name}/merged_bias")
    for name, value in zip(names, (merged, merged_bias), strict=True):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    second_inputs = [first.input[0], *names]
    del second.input[:]
    second.input.extend(second_inputs)
    graph.node.remove(first)
    drop_unused(graph)


def drop_unused(graph: Any) -> None:
    """Remove nodes and initialisers whose result nobody reads, in place."""
    while True:
        read = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
        idle = [node for node in graph.node if not any(name in read for name in node.output)]
        for node in idle:
            graph.node.remove(node)
        if not idle:
            break
    for each in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(each)
