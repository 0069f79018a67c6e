"""The pulled ONNX weights into our modules.

The published graphs have their batch normalisation folded in, and name convolutions after the modules that they came
from (the detector) or not at all (the embedder, which `weights.convert` wrote): there the order is the order in which
our module has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from weights.errors import CheckpointMismatch
from weights.workshop.checkpoint import CONTEXT_PARTS, load_into
from weights.workshop.mobilefacenet import MobileFaceNet
from weights.workshop.retinaface import RetinaFace


def load_onnx(model: RetinaFace | MobileFaceNet, path: Path) -> None:
    """Load the weights of a pulled ONNX file into a folded module of the same network, in place.

    Raises:
        CheckpointMismatch: The graph is another network's.
    """
    graph = onnx.load(path).graph
    named = _detector_weights(graph) if isinstance(model, RetinaFace) else _embedder_weights(graph, model)
    load_into(model, named, origin=str(path))
    model.eval()


def _detector_weights(graph: Any) -> dict[str, Tensor]:
    weights = {}
    for name, values in _convolutions(graph):
        ours = _detector_key(name)
        for which, value in values.items():
            weights[f"{ours}.{which}"] = value
    return weights


def _detector_key(node: str) -> str:
    """Our module of a convolution whose node is called, say, ``/fpn/merge1/merge1.0/Conv``."""
    parts = [part for part in node.split("/") if part]
    if len(parts) < 3:
        return node  # of a graph that names nothing like that: told as unexpected
    place = parts[-2]
    if parts[0] == "fx":
        numbers = place.removeprefix("stage").split(".")
        level, block = int(numbers[0]), int(numbers[1])
        if level == 1 and block == 0:
            return "backbone.stem.conv"
        half = "depthwise" if numbers[2] == "0" else "pointwise"
        return f"backbone.levels.{level - 1}.{block - 1 if level == 1 else block}.{half}.conv"
    if parts[0] == "fpn":
        kind, number = parts[1][:-1], int(parts[1][-1]) - 1
        return f"pyramid.{'lateral' if kind == 'output' else 'merge'}.{number}.conv"
    if parts[0].startswith("ssh"):
        return f"context.{int(parts[0][3:]) - 1}.{CONTEXT_PARTS.get(parts[1].lower(), parts[1])}.conv"
    head = {"class_head": "class_head", "bbox_head": "box_head", "landmark_head": "landmark_head"}.get(
        parts[0], parts[0]
    )
    return f"{head}.{place.rsplit('.', 1)[-1]}"


def _embedder_weights(graph: Any, model: MobileFaceNet) -> dict[str, Tensor]:
    arrays = _constants(graph)
    theirs: list[dict[str, Tensor]] = []
    for node in graph.node:
        if node.op_type == "Conv":
            weight, bias = (arrays[name] for name in node.input[1:3])
            theirs.append({"weight": weight, "bias": bias})
        elif node.op_type == "PRelu":
            theirs.append({"weight": arrays[node.input[1]].flatten()})
    ours = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.PReLU)]
    if len(ours) != len(theirs):
        raise CheckpointMismatch(
            f"{len(theirs)} convolutions and activations in the graph, {len(ours)} in this network", missing=tuple(ours)
        )
    return {
        f"{name}.{which}": value for name, values in zip(ours, theirs, strict=True) for which, value in values.items()
    }


def _convolutions(graph: Any) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    arrays = _constants(graph)
    for node in graph.node:
        if node.op_type == "Conv":
            yield node.name, {"weight": arrays[node.input[1]], "bias": arrays[node.input[2]]}


def _constants(graph: Any) -> dict[str, Tensor]:
    """Every constant by name; exporters write equal ones once, and point to them."""
    arrays = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    return arrays
