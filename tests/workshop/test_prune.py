"""Channels go for real, in groups that hang together, to a wanted cost; the rest says nearly what it said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vidface.workshop.judge import raw_outputs
from weights.manifest import DEFAULT_DETECTOR, load_manifest
from weights.workshop.distil import loss_on
from weights.workshop.from_onnx import load_onnx
from weights.workshop.mobilefacenet import MobileFaceNet
from weights.workshop.prune import STEP, LayerGroup, multiplications, plan, prune, scan
from weights.workshop.retinaface import RetinaFace

SIZE_HW = (128, 160)


@pytest.fixture(scope="module")
def network(model_paths: Mapping[str, Path]) -> RetinaFace:
    made = RetinaFace()
    load_onnx(made, model_paths[DEFAULT_DETECTOR])
    return made


@pytest.fixture(scope="module")
def loss_of(model_paths: Mapping[str, Path]) -> Callable[[RetinaFace | MobileFaceNet], Tensor]:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 128, 160, 3), np.uint8)
    teacher = raw_outputs(model_paths[DEFAULT_DETECTOR], spec)
    return loss_on(teacher, pictures, mean=spec.mean, scale=spec.scale)


@pytest.fixture(scope="module")
def groups(network: RetinaFace, loss_of: Callable[[RetinaFace | MobileFaceNet], Tensor]) -> list[LayerGroup]:
    return scan(network, loss_of)


def test_the_multiplications_are_those_of_the_convolutions(network: RetinaFace) -> None:
    # The finest merging convolution alone: 64 x 64 channels, 3 x 3, on cells of 8 pixels.
    merge = 64 * 64 * 9 * (128 // 8) * (160 // 8)
    heads = sum(64 * 2 * (2 + 4 + 10) * (128 // s) * (160 // s) for s in (8, 16, 32))
    before = multiplications(network, SIZE_HW)
    assert before > merge + heads
    narrow = prune(network, {"pyramid.merge.0.conv": 32}, [lambda net: net(torch.zeros(1, 3, 64, 64))[0].sum()])
    # Half of what it makes; of what the two convolutions that take it make, half of their work each.
    cells = (128 // 8) * (160 // 8)
    taken = (32 + 16) * 64 * 9 * cells // 2 + 0
    assert before - multiplications(narrow, SIZE_HW) == merge // 2 + taken


def test_the_scan_harms_nothing_and_finds_every_group(network: RetinaFace, groups: list[LayerGroup]) -> None:
    names = {group.name for group in groups}
    assert {"pyramid.merge.0.conv", "pyramid.merge.1.conv", "context.0.near.conv"} <= names
    assert not any(name.startswith(("class_head", "box_head", "landmark_head")) for name in names)
    for group in groups:
        harms = [group.harm[part] for part in sorted(group.harm, reverse=True)]
        assert harms == sorted(harms), "less of a group never harms less"
        assert harms[-1] > 0
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in RetinaFace().parameters())


@pytest.mark.parametrize("cost", [0.8, 0.5, 0.35])
def test_a_plan_meets_its_cost_and_is_carried_out(
    network: RetinaFace,
    groups: list[LayerGroup],
    loss_of: Callable[[RetinaFace | MobileFaceNet], Tensor],
    cost: float,
) -> None:
    made = plan(network, groups, cost=cost, size_hw=SIZE_HW)
    assert made.cost <= cost
    narrow = prune(network, made.widths, [loss_of])
    modules = dict(narrow.named_modules())
    for name, width in made.widths.items():
        assert modules[name].out_channels == width
        assert width >= STEP
        assert width % STEP == 0
    assert multiplications(narrow, SIZE_HW) < multiplications(network, SIZE_HW)
    with torch.no_grad():
        outputs = narrow(torch.zeros(1, 3, 96, 64))
        assert torch.isfinite(loss_of(narrow))
    assert [tuple(each.shape) for each in outputs] == [(1, 252, 4), (1, 252, 2), (1, 252, 10)]


def test_the_plan_spares_what_matters_more(network: RetinaFace) -> None:
    cheap = {0.75: 0.0, 0.5: 0.0, 0.25: 0.0}
    dear = {0.75: 9.0, 0.5: 9.5, 0.25: 10.0}
    names = ("pyramid.merge.0.conv", "context.0.near.conv")
    for spared, gone in (names, names[::-1]):
        groups = [
            LayerGroup(name=spared, width=64 if spared == names[0] else 32, harm=dear),
            LayerGroup(name=gone, width=64 if gone == names[0] else 32, harm=cheap),
        ]
        made = plan(network, groups, cost=0.95, size_hw=SIZE_HW)
        assert gone in made.widths
        assert spared not in made.widths


def test_an_embedder_is_narrowed_as_well() -> None:
    torch.manual_seed(0)
    network = MobileFaceNet().eval()
    faces = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        wanted = network(faces)
    groups = scan(network, lambda net: (net(faces) - wanted).square().mean())
    made = plan(network, groups, cost=0.6, size_hw=(112, 112))
    narrow = prune(network, made.widths, [lambda net: (net(faces) - 0.9 * wanted).square().mean()])
    assert narrow(faces).shape == (2, 192)
    assert multiplications(narrow) < 0.75 * multiplications(network)
