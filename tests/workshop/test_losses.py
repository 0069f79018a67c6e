from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from weights.workshop.losses import detection_terms, hard_negatives

ANCHORS = 40


def outputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    shapes = (4, 2, 10)
    boxes, logits, landmarks = (torch.randn(batch, ANCHORS, values, requires_grad=True) for values in shapes)
    return boxes, logits, landmarks


def targets(positives: list[list[int]], known: list[list[int]] | None = None) -> dict[str, Tensor]:
    batch = len(positives)
    labels = torch.zeros(batch, ANCHORS, dtype=torch.int64)
    has = torch.zeros(batch, ANCHORS, dtype=torch.bool)
    for row, anchors in enumerate(positives):
        labels[row, anchors] = 1
        has[row, anchors if known is None else known[row]] = True
    return {
        "labels": labels,
        "boxes": torch.zeros(batch, ANCHORS, 4),
        "landmarks": torch.zeros(batch, ANCHORS, 10),
        "has_landmarks": has,
    }


def test_class_loss_is_of_positives_and_the_worst_negatives() -> None:
    given = outputs()
    wanted = targets([[3, 5], [7]])
    total, count = detection_terms(given, wanted, negatives=2)["class"]
    assert int(count) == 3
    by_hand = 0.0
    for row, positives in enumerate([[3, 5], [7]]):
        logits = given[1][row].detach()
        losses = [
            float(torch.logsumexp(logits[anchor], 0) - logits[anchor, int(anchor in positives)])
            for anchor in range(ANCHORS)
        ]
        by_hand += sum(losses[anchor] for anchor in positives)
        rest = sorted((losses[anchor] for anchor in range(ANCHORS) if anchor not in positives), reverse=True)
        by_hand += sum(rest[: 2 * len(positives)])
    assert float(total.detach()) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(
    ("positives", "wanted"),
    [(1, 7), (2, 14), (0, 7), (6, 34), (40, 0)],
    ids=["seven each", "seven of two", "as one face where there is none", "no more than there are", "no background"],
)
def test_how_many_negatives(positives: int, wanted: int) -> None:
    entropy = torch.rand(1, ANCHORS)
    positive = torch.arange(ANCHORS)[None] < positives
    found = hard_negatives(entropy, positive, 7)
    rest = entropy[~positive].sort(descending=True).values
    assert torch.equal(found, rest[:wanted])


def test_boxes_are_smooth_l1_of_positives_alone() -> None:
    given, wanted = outputs(1), targets([[2]])
    total, count = detection_terms(given, wanted)["box"]
    away = given[0][0, 2].detach().abs()
    by_hand = sum(float(d * d / 2 if d < 1 else d - 0.5) for d in away)
    assert float(total.detach()) == pytest.approx(by_hand, rel=1e-5)
    assert int(count) == 1
    total.backward()
    touched = given[0].grad.abs().sum(-1)[0].nonzero()[:, 0].tolist()
    assert touched == [2]


def test_landmarks_only_of_faces_that_have_them() -> None:
    given, wanted = outputs(1), targets([[2, 9]], known=[[9]])
    total, count = detection_terms(given, wanted)["landmark"]
    assert int(count) == 1
    total.backward()
    assert given[2].grad.abs().sum(-1)[0].nonzero()[:, 0].tolist() == [9]


def test_pictures_without_faces_teach_background_alone() -> None:
    given, wanted = outputs(), targets([[], []])
    terms = detection_terms(given, wanted)
    assert [float(terms[name][0].detach()) for name in ("box", "landmark")] == [0, 0]
    sum(total for total, _ in terms.values()).backward()
    assert all(values.grad is not None and torch.isfinite(values.grad).all() for values in given)
    # 7 anchors of each picture are pushed away from "face".
    assert (given[1].grad[..., 1] > 0).sum(dim=1).tolist() == [7, 7]


def test_a_batch_is_the_sum_of_its_parts() -> None:
    given, wanted = outputs(3), targets([[1, 4], [], [9]])
    whole = detection_terms(given, wanted)
    parts = [
        detection_terms(
            (given[0][row : row + 1], given[1][row : row + 1], given[2][row : row + 1]),
            {name: value[row : row + 1] for name, value in wanted.items()},
        )
        for row in range(3)
    ]
    for name, (total, count) in whole.items():
        assert float(total.detach()) == pytest.approx(
            math.fsum(float(part[name][0].detach()) for part in parts), rel=1e-5
        )
        assert int(count) == sum(int(part[name][1]) for part in parts)
