"""A narrowed detector learns from the full one, and goes on after an interruption."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.photo import load_photo
from vidface.workshop.judge import raw_outputs
from weights.errors import BadTrainingData
from weights.manifest import DEFAULT_DETECTOR, load_manifest
from weights.workshop import checkpoint
from weights.workshop.compose import Composer, Photos
from weights.workshop.distil import DistilOptions, detector_loss, distil, embedder_loss, loss_on
from weights.workshop.from_onnx import load_onnx
from weights.workshop.prune import prune
from weights.workshop.retinaface import RetinaFace, Scored
from weights.workshop.schedule import rate_at

SPEC = load_manifest().model(DEFAULT_DETECTOR)
WIDTHS = {
    "pyramid.merge.0.conv": 16,
    "pyramid.lateral.2.conv": 32,
    "context.0.near.conv": 8,
    "backbone.levels.1.2.depthwise.conv": 32,
    "backbone.levels.0.4.depthwise.conv": 32,
}


@pytest.fixture(scope="module")
def photos(real_data: Path) -> Photos:
    paths = sorted((real_data / "lfw" / "images").glob("*/*.jpg"))[::40]
    return Photos(len(paths), lambda number: load_photo(paths[number]))


def composer(photos: Photos, seed: int = 0, *, harsh: bool = True) -> Composer:
    generator = np.random.default_rng(seed)
    everyone = range(len(photos))
    return Composer(photos, everyone, size_wh=(128, 96), fill_bgr=(104, 117, 123), generator=generator, harsh=harsh)


def test_composed_pictures_follow_their_seed_and_vary(photos: Photos) -> None:
    first, again, other = composer(photos).batch(6), composer(photos).batch(6), composer(photos, 1).batch(6)
    assert first.shape == (6, 96, 128, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({picture.tobytes() for picture in first}) == 6


@pytest.mark.parametrize("patch_px", [0, 64, 24])
def test_patches_cover_the_picture(photos: Photos, patch_px: int) -> None:
    picture = composer(photos, harsh=False).picture(patch_px)
    blank = (picture == np.array((104, 117, 123), np.uint8)).all(axis=2).mean()
    assert blank < 0.5


def test_nothing_to_compose_from_is_told() -> None:
    with pytest.raises(BadTrainingData):
        Photos(0, lambda _number: np.zeros((1, 1, 3), np.uint8))


def test_the_loss_is_least_where_both_agree(model_paths: Mapping[str, Path], photos: Photos) -> None:
    network = RetinaFace()
    load_onnx(network, model_paths[DEFAULT_DETECTOR])
    teacher = raw_outputs(model_paths[DEFAULT_DETECTOR], SPEC)
    loss_of = loss_on(teacher, composer(photos).batch(4), mean=SPEC.mean, scale=SPEC.scale)
    with torch.no_grad():
        same = float(loss_of(network))
        for parameter in network.class_head.parameters():
            parameter.mul_(0.8)
        assert float(loss_of(network)) > same + 1e-3
    assert same < 1e-4


def test_the_loss_counts_boxes_only_where_there_are_faces() -> None:
    given = torch.zeros(1, 2, 4), torch.tensor([[[0.0, 0.0], [0.0, 0.0]]]), torch.zeros(1, 2, 10)
    conf = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]])
    wrong_at_face = [torch.tensor([[[1.0] * 4, [0.0] * 4]]), conf, torch.zeros(1, 2, 10)]
    wrong_at_none = [torch.tensor([[[0.0] * 4, [1.0] * 4]]), conf, torch.zeros(1, 2, 10)]
    right = [torch.zeros(1, 2, 4), conf, torch.zeros(1, 2, 10)]
    base = float(detector_loss(given, right))
    assert float(detector_loss(given, wrong_at_none)) == pytest.approx(base)
    # One face of weight 0.5: smooth L1 with a knee of 0.1 at a distance of 1 is 0.95, boxes count twice, and the
    # weights' sum is taken as 1 at the least.
    assert float(detector_loss(given, wrong_at_face)) == pytest.approx(base + 2 * 0.95 * 0.5)


def test_the_embedders_loss_is_the_angle() -> None:
    assert float(embedder_loss(torch.tensor([[2.0, 0.0]]), [torch.tensor([[5.0, 0.0]])])) == pytest.approx(0, abs=1e-4)
    assert float(embedder_loss(torch.tensor([[1.0, 0.0]]), [torch.tensor([[0.0, 3.0]])])) == pytest.approx(100)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(part / 100, warm_up=0.1) for part in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_learns_and_goes_on(model_paths: Mapping[str, Path], photos: Photos, tmp_path: Path) -> None:
    full = RetinaFace()
    load_onnx(full, model_paths[DEFAULT_DETECTOR])
    teacher = raw_outputs(model_paths[DEFAULT_DETECTOR], SPEC)
    fixed = composer(photos, 9).batch(8)
    held_out = loss_on(teacher, fixed, mean=SPEC.mean, scale=SPEC.scale)
    student = prune(full, WIDTHS, [held_out])
    with torch.no_grad():
        before = float(held_out(student))
    seen: list[tuple[int, float]] = []

    def learn(network: RetinaFace, steps: int) -> int:
        outcome = distil(
            network,
            teacher,
            composer(photos, 1).batch,
            mean=SPEC.mean,
            scale=SPEC.scale,
            seconds=600,
            state_file=tmp_path / "state.pt",
            options=DistilOptions(batch=6, save_every_s=0.5, steps=steps),
            on_step=lambda step, part, _loss: seen.append((step, part)),
        )
        return outcome.steps

    first = learn(student, 20)
    # As after an interruption: a new network of the same widths takes up what was kept.
    again = prune(full, WIDTHS, [held_out])
    second = learn(again, 120)
    assert (first, second) == (20, 120)
    assert [step for step, _part in seen] == list(range(1, second + 1)), "no step is done twice"
    with torch.no_grad():
        after = float(held_out(again))
        sys.stdout.write(f"loss {before:.2f} before, {after:.2f} after {second} steps\n")
    assert after < 0.7 * before
    assert not again.training
    assert checkpoint.read(tmp_path / "state.pt")["distil"]["steps"] == second
    assert len(Scored(again).eval()(torch.zeros(1, 3, 64, 64))) == 3
