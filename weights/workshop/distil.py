"""A small network learns to say what a full one says, on pictures without labels.

Detectors: at each anchor the full model's probability is the target of a quality focal loss (Li et al., "Generalized
Focal Loss", 2020), which cares about anchors in proportion to how wrong they are, so that the many that both call
background weigh nothing; boxes and landmarks count where the full model sees a face. Embedders: the angle between the
two templates.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from weights.workshop import checkpoint
from weights.workshop.mobilefacenet import MobileFaceNet
from weights.workshop.pictures import prepared
from weights.workshop.retinaface import RetinaFace
from weights.workshop.schedule import rate_at

Teacher = Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]]
"""The full model on raw pictures ``(B, H, W, 3)``: its outputs, in the manifest's order."""

SEEN: Final = 0.05
"""Boxes and landmarks are learnt where the full model's probability of a face is above this."""

BOX_WEIGHT, LANDMARK_WEIGHT = 2.0, 1.0
"""How much the parts of a detector's loss count beside the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilOptions:
    """How long and how fast to learn.

    Attributes:
        batch: Pictures a step.
        learning_rate: At its highest; it rises over the first `warm_up` of the time and falls along a cosine.
        warm_up: A part of the time.
        weight_decay: Of AdamW.
        reuse: How often a batch is learnt from, at different times: composing it and asking the full model take as long
            as a step.
        pool: Batches that are kept for that.
        save_every_s: Seconds between checkpoints.
        steps: End after so many batches, where that is sooner; None for as many as the time allows.
    """

    batch: int = 12
    learning_rate: float = 2e-3
    warm_up: float = 0.03
    weight_decay: float = 1e-4
    reuse: int = 3
    pool: int = 24
    save_every_s: float = 60.0
    steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """How it went.

    Attributes:
        steps: Batches learnt from, those before an interruption included.
        seconds: Time spent, likewise.
        losses: (step, loss), means over stretches.
    """

    steps: int
    seconds: float
    losses: tuple[tuple[int, float], ...]


def distil(
    student: RetinaFace | MobileFaceNet,
    teacher: Teacher,
    batch_of: Callable[[int], NDArray[np.uint8]],
    *,
    mean: Sequence[float],
    scale: float,
    seconds: float,
    state_file: Path,
    options: DistilOptions | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Distilled:
    """Teach for a time; interrupted, the next call with the same `state_file` goes on where this one was.

    Args:
        student: Learns in place; ends in evaluation mode.
        teacher: The full model.
        batch_of: So many raw pictures ``(B, H, W, 3)`` uint8 in the channel order that both models take.
        mean: The manifest's, in the same order.
        scale: The manifest's.
        seconds: How long, what was spent before an interruption included.
        state_file: Where the state is kept; deleted by who needs it no more.
        options: See there.
        on_step: Told the step, the part of the time that is spent, and the loss.
    """
    options = options or DistilOptions()
    optimizer = torch.optim.AdamW(student.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps, spent, losses = _resumed(student, optimizer, state_file)
    loss_of = detector_loss if isinstance(student, RetinaFace) else embedder_loss
    # Convolutions are a quarter faster on pixels whose channels lie together.
    student.train().to(memory_format=torch.channels_last)
    pool: deque[tuple[Tensor, list[Tensor]]] = deque(maxlen=options.pool)
    random = np.random.default_rng(steps)
    begun, saved, recent = time.monotonic() - spent, time.monotonic(), []
    while (spent := time.monotonic() - begun) < seconds and (options.steps is None or steps < options.steps):
        part = max(spent / seconds, steps / options.steps if options.steps else 0.0)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate_at(part, warm_up=options.warm_up)
        if steps % options.reuse == 0 or not pool:
            raw = batch_of(options.batch)
            pictures = torch.from_numpy(prepared(raw, mean=mean, scale=scale))
            pool.append((pictures.to(memory_format=torch.channels_last), _wanted(teacher, raw)))
            pictures, wanted = pool[-1]
        else:
            pictures, wanted = pool[int(random.integers(len(pool)))]
        loss = loss_of(student(pictures), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        steps += 1
        recent.append(float(loss.detach()))
        if len(recent) == 20:
            losses.append((steps, sum(recent) / len(recent)))
            recent.clear()
        if on_step is not None:
            on_step(steps, part, losses[-1][1] if losses else float(loss.detach()))
        if time.monotonic() - saved > options.save_every_s:
            saved = time.monotonic()
            _keep(student, optimizer, state_file, steps=steps, seconds=saved - begun, losses=losses)
    _keep(student, optimizer, state_file, steps=steps, seconds=spent, losses=losses)
    student.eval()
    return Distilled(steps=steps, seconds=spent, losses=tuple(losses))


def loss_on(
    teacher: Teacher, raw: NDArray[np.uint8], *, mean: Sequence[float], scale: float
) -> Callable[[RetinaFace | MobileFaceNet], Tensor]:
    """The loss of any network on the same raw pictures; see `distil` for the arguments."""
    pictures = torch.from_numpy(prepared(raw, mean=mean, scale=scale))
    wanted = _wanted(teacher, raw)

    def loss_of(network: RetinaFace | MobileFaceNet) -> Tensor:
        return (detector_loss if isinstance(network, RetinaFace) else embedder_loss)(network(pictures), wanted)

    return loss_of


def _wanted(teacher: Teacher, raw: NDArray[np.uint8]) -> list[Tensor]:
    return [torch.from_numpy(np.asarray(each, np.float32)) for each in teacher(raw)]


def detector_loss(given: tuple[Tensor, Tensor, Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Of a detector's boxes, logits and landmarks, against boxes, probabilities and landmarks."""
    boxes, logits, landmarks = given
    target_boxes, target_conf, target_landmarks = wanted
    probability = target_conf[..., 1].clamp(0, 1)
    margin = logits[..., 1] - logits[..., 0]
    wrong = (margin.sigmoid().detach() - probability).abs()
    faces = probability.sum().clamp(min=1.0)
    class_loss = (wrong * functional.binary_cross_entropy_with_logits(margin, probability, reduction="none")).sum()
    weight = probability * (probability > SEEN)
    total = weight.sum().clamp(min=1.0)
    box_loss = (functional.smooth_l1_loss(boxes, target_boxes, reduction="none", beta=0.1).mean(-1) * weight).sum()
    points = functional.smooth_l1_loss(landmarks, target_landmarks, reduction="none", beta=0.1).mean(-1)
    return class_loss / faces + BOX_WEIGHT * box_loss / total + LANDMARK_WEIGHT * (points * weight).sum() / total


def embedder_loss(given: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    """One less the cosine similarity of the two templates, mean over the faces, times 100."""
    return 100 * (1 - functional.cosine_similarity(given, wanted[0], dim=1)).mean()


def _keep(
    student: RetinaFace | MobileFaceNet,
    optimizer: torch.optim.Optimizer,
    state_file: Path,
    *,
    steps: int,
    seconds: float,
    losses: list[tuple[int, float]],
) -> None:
    state: Mapping[str, Any] = {
        "optimizer": optimizer.state_dict(),
        "steps": steps,
        "seconds": seconds,
        "losses": [list(each) for each in losses],
    }
    checkpoint.save(student, state_file, distil=state)


def _resumed(
    student: RetinaFace | MobileFaceNet, optimizer: torch.optim.Optimizer, state_file: Path
) -> tuple[int, float, list[tuple[int, float]]]:
    if not state_file.exists():
        return 0, 0.0, []
    content = checkpoint.read(state_file)
    checkpoint.load_into(student, content["state_dict"], origin=str(state_file))
    state = content["distil"]
    optimizer.load_state_dict(state["optimizer"])
    return int(state["steps"]), float(state["seconds"]), [(int(step), float(loss)) for step, loss in state["losses"]]
