from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from weights.workshop.arcface import ArcFace


def test_logits_are_the_formula() -> None:
    torch.manual_seed(3)
    head = ArcFace(16, 7)
    templates, people = torch.randn(20, 16), torch.randint(7, (20,))
    cosines = functional.normalize(templates.double()) @ functional.normalize(head.centres.double()).T
    wanted = 64 * cosines
    angle = torch.acos(cosines[torch.arange(20), people])
    assert (angle + 0.5 < math.pi).all()
    wanted[torch.arange(20), people] = 64 * torch.cos(angle + 0.5)
    torch.testing.assert_close(head(templates, people).double(), wanted, atol=1e-3, rtol=1e-4)


def test_the_length_of_a_template_does_not_matter() -> None:
    head = ArcFace(8, 3)
    templates, people = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(head(templates, people), head(templates * 50, people), atol=1e-3, rtol=1e-4)


def test_a_worse_angle_never_gives_a_better_logit() -> None:
    head = ArcFace(2, 1)
    with torch.no_grad():
        head.centres.copy_(torch.tensor([[1.0, 0.0]]))
    angles = torch.linspace(0, math.pi, 400)
    templates = torch.stack([angles.cos(), angles.sin()], dim=1)
    logits = head(templates, torch.zeros(400, dtype=torch.int64))[:, 0]
    assert (logits.diff() < 1e-3).all()
    assert logits[0] > 50
    assert logits[-1] < -64


@pytest.mark.parametrize("direction", [1.0, -1.0], ids=["on its centre", "opposite"])
def test_gradients_are_finite_where_the_angle_has_no_slope(direction: float) -> None:
    head = ArcFace(4, 2)
    templates = (direction * head.centres.detach()).clone().requires_grad_()
    people = torch.tensor([0, 1])
    functional.cross_entropy(head(templates, people), people).backward()
    assert torch.isfinite(templates.grad).all()
    assert torch.isfinite(head.centres.grad).all()


def test_half_a_precision_around_it_does_not_reach_it() -> None:
    head = ArcFace(32, 5)
    templates, people = torch.randn(6, 32), torch.arange(6) % 5
    plain = head(templates, people)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = head(templates, people)
    assert within.dtype == torch.float32
    torch.testing.assert_close(within, plain)


def test_a_margin_of_nothing_is_plain_cosines() -> None:
    head = ArcFace(8, 3, margin=0.0, scale=2.0)
    templates, people = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(head(templates, people), 2 * head.cosines(templates), atol=1e-3, rtol=1e-3)
