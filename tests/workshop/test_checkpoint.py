"""Checkpoints of others and our own: names, prefixes, nesting, mismatches, narrowed networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from weights.errors import CheckpointMismatch, UnreadableCheckpoint
from weights.workshop import checkpoint
from weights.workshop.layers import fold_normalisation
from weights.workshop.mobilefacenet import MobileFaceNet, MobileFaceNetShape
from weights.workshop.prune import prune
from weights.workshop.retinaface import Backbone, RetinaFace, RetinaFaceShape

CONTEXT = {
    "near": "conv3X3",
    "shared": "conv5X5_1",
    "wide": "conv5X5_2",
    "wider_before": "conv7X7_2",
    "wider": "conv7x7_3",
}
LAYER = {"conv": "0", "norm": "1"}
HEADS = {"class_head": "ClassHead", "box_head": "BboxHead", "landmark_head": "LandmarkHead"}


def public_retinaface(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names of the public release, written down here once more, from its side."""
    named = {}
    for key, value in weights.items():
        parts = key.split(".")
        if key.startswith("backbone.stem"):
            name = f"body.stage1.0.{LAYER[parts[2]]}.{parts[3]}"
        elif key.startswith("backbone.levels"):
            level, block, half, layer = int(parts[2]), int(parts[3]), parts[4], parts[5]
            place = int(LAYER[layer]) + (3 if half == "pointwise" else 0)
            name = f"body.stage{level + 1}.{block + 1 if level == 0 else block}.{place}.{parts[6]}"
        elif key.startswith("backbone"):
            name = "body." + ".".join(parts[1:])
        elif key.startswith("pyramid"):
            kind = "output" if parts[1] == "lateral" else "merge"
            name = f"fpn.{kind}{int(parts[2]) + 1}.{LAYER[parts[3]]}.{parts[4]}"
        elif key.startswith("context"):
            name = f"ssh{int(parts[1]) + 1}.{CONTEXT[parts[2]]}.{LAYER[parts[3]]}.{parts[4]}"
        else:
            name = f"{HEADS[parts[0]]}.{parts[1]}.conv1x1.{parts[2]}"
        named[name] = value
    return named


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """With running statistics that are not those of an untouched network."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return network.eval()


@pytest.mark.parametrize("backbone", list(Backbone))
@pytest.mark.parametrize("wrapped", ["plain", "module", "nested"])
@torch.no_grad()
def test_public_retinaface_loads(tmp_path: Path, backbone: Backbone, wrapped: str) -> None:
    torch.manual_seed(1)
    shape = RetinaFaceShape(backbone=backbone, normalise=True)
    network = randomised(RetinaFace(shape))
    content: dict[str, object] = dict(public_retinaface(network.state_dict()))
    if wrapped != "plain":
        content = {f"module.{key}": value for key, value in content.items()}
    if wrapped == "nested":
        content = {"epoch": 3, "state_dict": content, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "theirs.pth")
    loaded = RetinaFace(shape)
    checkpoint.load_public(loaded, tmp_path / "theirs.pth")
    pictures = torch.randn(1, 3, 64, 96)
    for wanted, given in zip(network(pictures), loaded.eval()(pictures), strict=True):
        torch.testing.assert_close(given, wanted)


ROWS = {"conv_23": 0, "conv_34": 5, "conv_45": 12}
RESIDUAL = {"conv_3": range(1, 5), "conv_4": range(6, 12), "conv_5": range(13, 15)}
PARTS = {"stem": "conv1", "stem_depthwise": "conv2_dw", "last": "conv_6_sep", "pool": "conv_6_dw"}
BLOCK = {"expand": "conv", "depthwise": "conv_dw", "project": "project"}
INNER = {"conv": "conv", "norm": "bn", "activation": "prelu"}


def public_mobilefacenet(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for key, value in weights.items():
        parts = key.split(".")
        if parts[0] in PARTS:
            name = f"{PARTS[parts[0]]}.{INNER[parts[1]]}.{parts[2]}"
        elif parts[0] == "blocks":
            number = int(parts[1])
            tail = f"{BLOCK[parts[2]]}.{INNER[parts[3]]}.{parts[4]}"
            single = next((row for row, first in ROWS.items() if first == number), None)
            if single is not None:
                name = f"{single}.{tail}"
            else:
                row, places = next((row, places) for row, places in RESIDUAL.items() if number in places)
                name = f"{row}.model.{number - places[0]}.{tail}"
        elif parts[2] == "conv":
            name = f"linear.{parts[3]}"
        else:
            name = f"bn.{parts[3]}"
        named[name] = value[:, :, 0, 0] if name.startswith("linear") else value
    return named


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@torch.no_grad()
def test_public_mobilefacenet_loads(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(2)
    network = randomised(MobileFaceNet(MobileFaceNetShape.of_paper(128)))
    theirs = {f"{prefix}{key}": value for key, value in public_mobilefacenet(network.state_dict()).items()}
    assert f"{prefix}conv_4.model.5.project.bn.running_var" in theirs
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    loaded = MobileFaceNet(MobileFaceNetShape.of_paper(128))
    checkpoint.load_public(loaded, tmp_path / "theirs.pth")
    faces = torch.randn(2, 3, 112, 112)
    torch.testing.assert_close(loaded.eval()(faces), network(faces))


def test_a_mismatch_lists_what_is_missing_unexpected_and_misshapen(tmp_path: Path) -> None:
    weights = public_retinaface(RetinaFace(RetinaFaceShape(normalise=True)).state_dict())
    del weights["fpn.merge1.0.weight"]
    weights["ssh4.conv3X3.0.weight"] = torch.zeros(1)
    weights["ClassHead.0.conv1x1.bias"] = torch.zeros(5)
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(CheckpointMismatch) as caught:
        checkpoint.load_public(RetinaFace(RetinaFaceShape(normalise=True)), tmp_path / "other.pth")
    error = caught.value
    assert error.missing == ("pyramid.merge.0.conv.weight",)
    assert error.unexpected == ("ssh4.conv3X3.0.weight",)
    assert error.misshapen == ("class_head.0.bias (5,) for (4,)",)
    for key in (*error.missing, *error.unexpected, *error.misshapen):
        assert key in str(error)
    assert str(tmp_path / "other.pth") in str(error)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "list"])
def test_a_file_that_is_no_checkpoint_says_so(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1, 2], path)
    with pytest.raises(UnreadableCheckpoint, match=re.escape(str(path))):
        checkpoint.load(path)


@torch.no_grad()
def test_folding_keeps_the_answers() -> None:
    torch.manual_seed(4)
    network = randomised(RetinaFace(RetinaFaceShape(normalise=True)))
    pictures = torch.randn(2, 3, 64, 64)
    before = network(pictures)
    after = fold_normalisation(network)(pictures)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    for wanted, given in zip(before, after, strict=True):
        torch.testing.assert_close(given, wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_our_own_comes_back_also_when_it_was_narrowed(tmp_path: Path) -> None:
    torch.manual_seed(5)
    pictures = torch.randn(1, 3, 64, 64)
    with torch.enable_grad():
        narrow = prune(
            RetinaFace(),
            {"context.0.near.conv": 16, "pyramid.merge.0.conv": 24, "backbone.levels.1.2.depthwise.conv": 64},
            [lambda network: sum(each.square().mean() for each in network(pictures))],
        )
    checkpoint.save(narrow, tmp_path / "narrow.pt", note="a word")
    loaded = checkpoint.load(tmp_path / "narrow.pt")
    assert checkpoint.read(tmp_path / "narrow.pt")["note"] == "a word"
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in narrow.parameters())
    assert sum(p.numel() for p in loaded.parameters()) < sum(p.numel() for p in RetinaFace().parameters())
    for wanted, given in zip(narrow(pictures), loaded(pictures), strict=True):
        torch.testing.assert_close(given, wanted)
