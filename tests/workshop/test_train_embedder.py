from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from weights.errors import WorkshopError
from weights.manifest import DEFAULT_EMBEDDER, load_manifest
from weights.workshop import checkpoint
from weights.workshop.from_onnx import load_onnx
from weights.workshop.identities import Identities, read_face, read_identities
from weights.workshop.log import read_log
from weights.workshop.mobilefacenet import MobileFaceNet, MobileFaceNetShape
from weights.workshop.pictures import Preparation
from weights.workshop.plan import Plan
from weights.workshop.train_embedder import EmbedderTraining, train_embedder

PLAN = Plan(steps=8, batch_size=6, learning_rate=1e-3, warmup_steps=2, board=False, device="cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    """Three people of one colour each, four pictures of each."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for person in range(3):
        (folder / f"p{person}").mkdir()
        for number in range(4):
            face = rng.integers(0, 60, (112, 112, 3)).astype(np.uint8)
            face[..., person] += 150
            assert cv2.imwrite(str(folder / f"p{person}" / f"{number}.png"), face)
    return read_identities(folder)


def templates(model: MobileFaceNet, identities: Identities) -> torch.Tensor:
    prepare = Preparation(load_manifest().model(DEFAULT_EMBEDDER))
    faces = torch.stack([torch.from_numpy(read_face(path, 112)) for path in identities.paths])
    with torch.no_grad():
        return torch.nn.functional.normalize(model.eval()(prepare(faces)))


def separation(model: MobileFaceNet, identities: Identities) -> float:
    """Mean cosine within people, less the mean between them."""
    rows = templates(model, identities)
    same = torch.tensor(identities.people)[:, None] == torch.tensor(identities.people)
    cosines = rows @ rows.T
    return float(cosines[same & ~torch.eye(len(rows), dtype=torch.bool)].mean() - cosines[~same].mean())


@pytest.mark.slow
def test_it_learns_who_is_who(folder: Path, people: Identities) -> None:
    torch.manual_seed(0)
    # Its running means and variances need some steps to follow the weights.
    model = MobileFaceNet(MobileFaceNetShape.of_paper(64))
    before = separation(model, people)
    done = train_embedder(model, people, options=EmbedderTraining(plan=replace(PLAN, steps=60)), out_dir=folder)
    assert set(done.losses) == {"loss", "arcface", "accuracy"}
    losses = [value for _, name, value in read_log(folder) if name == "loss"]
    assert losses[-1] < losses[0] * 0.75
    right = [value for _, name, value in read_log(folder) if name == "accuracy"]
    assert np.mean(right[-5:]) > np.mean(right[:5]) + 0.2
    assert separation(model, people) > before + 0.5
    loaded = checkpoint.load(done.path)
    assert isinstance(loaded, MobileFaceNet)
    torch.testing.assert_close(templates(loaded, people), templates(model, people))


def test_the_pulled_weights_learn_new_people(folder: Path, people: Identities, model_paths: dict[str, Path]) -> None:
    model = MobileFaceNet()
    load_onnx(model, model_paths[DEFAULT_EMBEDDER])
    before = separation(model, people)
    options = EmbedderTraining(plan=replace(PLAN, steps=15, learning_rate=3e-4))
    train_embedder(model, people, options=options, out_dir=folder)
    assert separation(model, people) > before + 0.5


def test_the_head_goes_on_as_well(folder: Path, people: Identities) -> None:
    options = EmbedderTraining(plan=replace(PLAN, steps=4, checkpoint_every=2))

    def stop(step: int, total: int, losses: object) -> None:
        if step == 3:
            raise InterruptedError

    whole, cut = MobileFaceNet(), MobileFaceNet()
    cut.load_state_dict(whole.state_dict())
    train_embedder(whole, people, options=options, out_dir=folder / "whole")
    with pytest.raises(InterruptedError):
        train_embedder(cut, people, options=options, out_dir=folder / "cut", on_step=stop)
    again = MobileFaceNet()
    train_embedder(again, people, options=options, out_dir=folder / "cut", resume=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    heads = [checkpoint.read(folder / each / "last.pt")["training"]["learner"] for each in ("whole", "cut")]
    assert torch.equal(heads[0]["head.centres"], heads[1]["head.centres"])
    assert list(heads[0]) == ["head.centres"]


def test_the_pulled_weights_are_tuned_without_being_lost(
    folder: Path, people: Identities, model_paths: dict[str, Path]
) -> None:
    model = MobileFaceNet()
    load_onnx(model, model_paths[DEFAULT_EMBEDDER])
    before = templates(model, people)
    train_embedder(
        model, people, options=EmbedderTraining(plan=replace(PLAN, steps=4, learning_rate=1e-5)), out_dir=folder
    )
    after = templates(model, people)
    assert not torch.equal(before, after)
    assert ((before * after).sum(dim=1) > 0.9).all()


def test_options_that_cannot_be() -> None:
    with pytest.raises(WorkshopError, match=r"flip=2: a probability"):
        EmbedderTraining(plan=PLAN, flip=2)
