"""A short training whose losses and weights go into a folder; run by `torchrun` it is shared by several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.workshop.drawn_faces import drawn_set
from weights.workshop.labels import LabelledFaces, LabelledPicture
from weights.workshop.plan import Plan
from weights.workshop.retinaface import RetinaFace
from weights.workshop.train_detector import DetectorTraining, train_detector

STEPS = 4


def samples(folder: Path) -> list[LabelledPicture]:
    """Pictures with a face and one without: shares of a batch then differ in how many faces they have."""
    made = drawn_set(folder, 5)
    return [*made, LabelledPicture(path=made[0].path, faces=LabelledFaces.empty())]


def train(pictures: list[LabelledPicture], out: Path, *, steps: int | None = STEPS) -> None:
    torch.manual_seed(0)
    model = RetinaFace()
    plan = Plan(
        steps=steps,
        minutes=None if steps else 0.02,
        batch_size=5,
        warmup_steps=1,
        seed=3,
        board=False,
        device="cpu",
        validate_every=2,
    )
    train_detector(
        model,
        pictures,
        options=DetectorTraining(plan=plan, size_px=64),
        out_dir=out,
        validation=lambda network: float(network.box_head[0].bias.sum()),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(samples(Path(sys.argv[1])), Path(sys.argv[2]), steps=int(sys.argv[3]) or None)
