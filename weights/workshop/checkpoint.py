"""Checkpoints: the weights of others into our modules, and our own back and forth.

Three things differ between checkpoints of one network, and none of them is the network: where in the file the weights
lie (`state_dict`, `model` ...), a prefix of every key (`module.` of several GPUs, `backbone.` of a larger network), and
the names of the layers. What differs after that is a mismatch, and is listed whole.

Files are read with `torch.load(weights_only=True)`: a checkpoint is data, and may not run code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from weights.errors import CheckpointMismatch, UnreadableCheckpoint
from weights.workshop.mobilefacenet import MobileFaceNet, MobileFaceNetShape
from weights.workshop.retinaface import Backbone, RetinaFace, RetinaFaceShape

FORMAT: Final = "vidface-checkpoint/1"

_NESTED: Final = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES: Final = ("module.", "model.", "backbone.", "net.", "_orig_mod.")
_SHOWN: Final = 8


def build(description: Mapping[str, Any]) -> RetinaFace | MobileFaceNet:
    """A module from what `describe` said of one; pruned widths come with the weights, see `fit_widths`."""
    values = {key: value for key, value in description.items() if key != "architecture"}
    if description["architecture"] == "retinaface":
        values["backbone"] = Backbone(values["backbone"])
        return RetinaFace(RetinaFaceShape(**values))
    values["linear_widths"] = tuple(values["linear_widths"])
    return MobileFaceNet(MobileFaceNetShape(**values))


def describe(model: RetinaFace | MobileFaceNet) -> dict[str, Any]:
    """What kind of network a module is, as plain values."""
    name = "retinaface" if isinstance(model, RetinaFace) else "mobilefacenet"
    plain = {key: str(value) if isinstance(value, Backbone) else value for key, value in asdict(model.shape).items()}
    return {"architecture": name, **plain}


def save(model: RetinaFace | MobileFaceNet, path: Path, **extra: object) -> None:
    """Write a checkpoint of our own, whole or not at all; `extra` (plain values and tensors) comes back from `read`."""
    half = path.with_name(f".half-{path.name}")
    half.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"format": FORMAT, "network": describe(model), "state_dict": model.state_dict(), **extra}, half)
    half.replace(path)


def load(path: Path) -> RetinaFace | MobileFaceNet:
    """A module from a checkpoint of our own, in evaluation mode.

    Raises:
        UnreadableCheckpoint: The file is no checkpoint, or not one of ours.
        CheckpointMismatch: The weights are not those of the network that it names.
    """
    content = read(path)
    if content.get("format") != FORMAT:
        raise UnreadableCheckpoint(
            f"{path}: not a checkpoint of this program; name its network to read one of another program's"
        )
    model = build(content["network"])
    fit_widths(model, content["state_dict"])
    load_into(model, content["state_dict"], origin=str(path))
    model.eval()
    return model


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint file holds; raises `UnreadableCheckpoint`."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it stumbles over
        reason = " ".join(str(error).split())[:200]
        raise UnreadableCheckpoint(f"{path}: can't be read as a checkpoint of weights ({reason})") from error
    if not isinstance(content, dict):
        raise UnreadableCheckpoint(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


def load_public(model: RetinaFace | MobileFaceNet, path: Path) -> None:
    """Load a checkpoint of another program's, with the usual prefixes and names, into a module of the same network.

    Raises:
        UnreadableCheckpoint: The file is no checkpoint.
        CheckpointMismatch: The weights are another network's; the message lists what is missing, unexpected or
            misshapen.
    """
    rename = _retinaface_key if isinstance(model, RetinaFace) else _mobilefacenet_key
    weights = {}
    for key, value in stripped(unnested(read(path)), set(model.state_dict())).items():
        weights[rename(key)] = value
    wanted = model.state_dict()
    for key, value in weights.items():
        # A fully connected layer of other programs is a 1x1 convolution of ours.
        if key in wanted and value.dim() == 2 and wanted[key].dim() == 4:
            weights[key] = value[:, :, None, None]
    load_into(model, weights, origin=str(path))


def unnested(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights out of whatever a checkpoint wraps them in."""
    for name in _NESTED:
        inner = content.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return unnested(inner)
    return {key: value for key, value in content.items() if isinstance(value, Tensor)}


def stripped(weights: Mapping[str, Tensor], known: set[str]) -> dict[str, Tensor]:
    """The weights without prefixes that every key has, for as long as no key is one of ours."""
    plain = dict(weights)
    while plain and not known & plain.keys():
        prefix = next((each for each in _PREFIXES if all(key.startswith(each) for key in plain)), None)
        if prefix is None:
            break
        plain = {key.removeprefix(prefix): value for key, value in plain.items()}
    return plain


def load_into(model: nn.Module, weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Load weights whose keys are ours; all of them must fit.

    Raises:
        CheckpointMismatch: Some keys are missing, unexpected or misshapen; all are counted, the first are named.
    """
    wanted = model.state_dict()
    # How many batches a normalisation has seen matters to nobody, and older releases do not say.
    missing = sorted(key for key in wanted.keys() - weights.keys() if not key.endswith("num_batches_tracked"))
    unexpected = sorted(weights.keys() - wanted.keys())
    misshapen = sorted(
        f"{key} {tuple(weights[key].shape)} for {tuple(wanted[key].shape)}"
        for key in wanted.keys() & weights.keys()
        if weights[key].shape != wanted[key].shape
    )
    parts = [
        f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{' ...' if len(found) > _SHOWN else ''}"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if found
    ]
    if parts:
        raise CheckpointMismatch(
            f"{origin}: not the weights of this network; {'; '.join(parts)}",
            missing=tuple(missing),
            unexpected=tuple(unexpected),
            misshapen=tuple(misshapen),
        )
    model.load_state_dict(dict(weights), strict=False)


def fit_widths(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a module's layers the widths of some weights, in place: a pruned network is its full one with less in it.

    Depthwise convolutions stay depthwise. Only weights whose keys are ours are looked at.
    """
    for name, module in model.named_modules():
        weight = weights.get(f"{name}.weight")
        if weight is None:
            continue
        if isinstance(module, nn.Conv2d) and weight.dim() == 4:
            depthwise = module.groups > 1
            module.out_channels = weight.shape[0]
            module.in_channels = weight.shape[0] if depthwise else weight.shape[1]
            module.groups = module.out_channels if depthwise else 1
            module.weight = nn.Parameter(torch.empty_like(weight))
            if module.bias is not None:
                module.bias = nn.Parameter(torch.empty(weight.shape[0]))
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = weight.shape[0]
            module.weight, module.bias = nn.Parameter(torch.empty_like(weight)), nn.Parameter(torch.empty_like(weight))
            module.running_mean, module.running_var = torch.empty_like(weight), torch.empty_like(weight)
        elif isinstance(module, nn.PReLU):
            module.num_parameters = weight.shape[0]
            module.weight = nn.Parameter(torch.empty_like(weight))


_LAYER: Final = {"0": "conv", "1": "norm"}
CONTEXT_PARTS: Final = {
    "conv3x3": "near",
    "conv5x5_1": "shared",
    "conv5x5_2": "wide",
    "conv7x7_2": "wider_before",
    "conv7x7_3": "wider",
}
"""Our parts of a context module by their names in the public releases, which are not of one mind about capitals."""
_HEADS: Final = {"classhead": "class_head", "bboxhead": "box_head", "landmarkhead": "landmark_head"}


def _retinaface_key(key: str) -> str:
    """Our name of a weight of the public PyTorch RetinaFace (`body`, `fpn`, `ssh1`, `ClassHead` ...)."""
    patterns: tuple[tuple[str, Any], ...] = (
        (r"body\.stage1\.0\.([01])\.(\w+)", lambda m: f"backbone.stem.{_LAYER[m[1]]}.{m[2]}"),
        (r"body\.stage([123])\.(\d+)\.([0134])\.(\w+)", _separable_key),
        (r"body\.((?:conv1|bn1|layer\d)\..+)", lambda m: f"backbone.{m[1]}"),
        (r"fpn\.output([123])\.([01])\.(\w+)", lambda m: f"pyramid.lateral.{int(m[1]) - 1}.{_LAYER[m[2]]}.{m[3]}"),
        (r"fpn\.merge([12])\.([01])\.(\w+)", lambda m: f"pyramid.merge.{int(m[1]) - 1}.{_LAYER[m[2]]}.{m[3]}"),
        (
            r"ssh([123])\.(conv\w+)\.([01])\.(\w+)",
            lambda m: f"context.{int(m[1]) - 1}.{CONTEXT_PARTS.get(m[2].lower(), m[2])}.{_LAYER[m[3]]}.{m[4]}",
        ),
        (
            r"(ClassHead|BboxHead|LandmarkHead)\.([012])\.conv1x1\.(\w+)",
            lambda m: f"{_HEADS[m[1].lower()]}.{m[2]}.{m[3]}",
        ),
    )
    return _renamed(key, patterns)


def _separable_key(match: re.Match[str]) -> str:
    level, place, layer, value = int(match[1]), int(match[2]), int(match[3]), match[4]
    if level == 1:
        place -= 1  # the stem comes first there
    part = "depthwise" if layer < 3 else "pointwise"
    return f"backbone.levels.{level - 1}.{place}.{part}.{_LAYER[str(layer % 3)]}.{value}"


_EMBEDDER_PARTS: Final = {
    "conv1": "stem",
    "conv2_dw": "stem_depthwise",
    "conv_6_sep": "last",
    "conv_6_dw": "pool",
}
_EMBEDDER_ROWS: Final = {"conv_23": 0, "conv_3": 1, "conv_34": 5, "conv_4": 6, "conv_45": 12, "conv_5": 13}
"""The block of ours that each row's first one is."""
_EMBEDDER_LAYERS: Final = {"conv": "conv", "bn": "norm", "prelu": "activation"}
_BOTTLENECK: Final = {"conv": "expand", "conv_dw": "depthwise", "project": "project"}


def _mobilefacenet_key(key: str) -> str:
    """Our name of a weight of the public PyTorch MobileFaceNet (`conv1`, `conv_23`, `conv_6_dw`, `linear` ...)."""
    patterns: tuple[tuple[str, Any], ...] = (
        (
            r"(conv1|conv2_dw|conv_6_sep|conv_6_dw)\.(conv|bn|prelu)\.(\w+)",
            lambda m: f"{_EMBEDDER_PARTS[m[1]]}.{_EMBEDDER_LAYERS[m[2]]}.{m[3]}",
        ),
        (
            r"(conv_23|conv_34|conv_45)\.(conv|conv_dw|project)\.(conv|bn|prelu)\.(\w+)",
            lambda m: f"blocks.{_EMBEDDER_ROWS[m[1]]}.{_BOTTLENECK[m[2]]}.{_EMBEDDER_LAYERS[m[3]]}.{m[4]}",
        ),
        (
            r"(conv_3|conv_4|conv_5)\.model\.(\d+)\.(conv|conv_dw|project)\.(conv|bn|prelu)\.(\w+)",
            lambda m: f"blocks.{_EMBEDDER_ROWS[m[1]] + int(m[2])}.{_BOTTLENECK[m[3]]}.{_EMBEDDER_LAYERS[m[4]]}.{m[5]}",
        ),
        (r"linear\.(\w+)", lambda m: f"linear.0.conv.{m[1]}"),
        (r"bn\.(\w+)", lambda m: f"linear.0.norm.{m[1]}"),
    )
    return _renamed(key, patterns)


def _renamed(key: str, patterns: tuple[tuple[str, Any], ...]) -> str:
    """The first pattern that is the whole key says its new name; a key that none is stays as it is."""
    for pattern, name in patterns:
        match = re.fullmatch(pattern, key)
        if match is not None:
            return str(name(match))
    return key
