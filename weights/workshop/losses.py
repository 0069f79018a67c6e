"""The detector's loss: is there a face, where is its box, where are its landmarks.

Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019, without its dense regression; hard
negatives as in Liu et al., "SSD: Single Shot MultiBox Detector", 2016.

Each part is a sum with the count that it is to be divided by, not a mean: several processes that share a batch divide
by the count of all of them, and so learn what one process would.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

NEGATIVES = 7
"""Background anchors a face's anchor, as in the published training."""

Terms = Mapping[str, tuple[Tensor, Tensor]]
"""Part of a loss to its sum and to the count of what was summed, both scalars."""


def detection_terms(
    outputs: tuple[Tensor, Tensor, Tensor], targets: Mapping[str, Tensor], *, negatives: int = NEGATIVES
) -> Terms:
    """Compare a network's outputs with what it should have said.

    Args:
        outputs: ``(B, A, 4)`` boxes, ``(B, A, 2)`` logits, ``(B, A, 10)`` landmarks.
        targets: The stacked values of `targets.targets_of`.
        negatives: Of the background anchors of each picture only the worst, so many times its positive ones, count. A
            picture without faces gives as many as a picture with one positive anchor: else it would teach nothing.

    Returns:
        ``class``, cross-entropy over positives and hard negatives, with the count of positives; ``box``, smooth L1
        over positives, with the same count; ``landmark``, smooth L1 over those positives whose face has landmarks,
        with their count.
    """
    boxes, logits, landmarks = (output.float() for output in outputs)
    labels, known = targets["labels"], targets["has_landmarks"]
    positive = labels > 0
    count = positive.sum()
    entropy = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    return {
        "class": (entropy[positive].sum() + hard_negatives(entropy, positive, negatives).sum(), count),
        "box": (functional.smooth_l1_loss(boxes[positive], targets["boxes"][positive], reduction="sum"), count),
        "landmark": (
            functional.smooth_l1_loss(landmarks[known], targets["landmarks"][known], reduction="sum"),
            known.sum(),
        ),
    }


def hard_negatives(entropy: Tensor, positive: Tensor, negatives: int) -> Tensor:
    """The losses of each picture's worst background anchors.

    Args:
        entropy: ``(B, A)`` loss of each anchor, 0 or more.
        positive: ``(B, A)`` bool.
        negatives: See `detection_terms`.

    Returns:
        ``(M,)`` losses, worst first within each picture.
    """
    positives = positive.sum(dim=1)
    wanted = torch.minimum(negatives * positives.clamp(min=1), positive.shape[1] - positives)
    worst = entropy.masked_fill(positive, -1.0).sort(dim=1, descending=True).values
    return worst[torch.arange(worst.shape[1], device=worst.device) < wanted[:, None]]
