"""The embedder's loss: an angle added to the one between a template and its person's centre.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019. The head learns a centre a person,
and is thrown away after training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MARGIN = 0.5
"""Radians; the paper's."""

SCALE = 64.0
"""The norm that templates are given; the paper's."""

_LEAST_SINE_SQUARED = 1e-6
"""The root's slope has no end at 0: where a template lies on its centre there is nothing to learn, not infinity."""


class ArcFace(nn.Module):
    """A centre a person, and the logits of templates against all of them.

    Args:
        dimensions: Length of a template.
        people: How many centres.
        margin: Radians added to the angle to the right centre.
        scale: What cosines are multiplied by.
    """

    def __init__(self, dimensions: int, people: int, *, margin: float = MARGIN, scale: float = SCALE) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.centres = nn.Parameter(torch.empty(people, dimensions))
        nn.init.normal_(self.centres, std=0.01)

    def forward(self, templates: Tensor, people: Tensor) -> Tensor:
        """Logits for cross-entropy.

        ``scale * cos(angle + margin)`` for the right person and ``scale * cos(angle)`` for others. Where the sum would
        pass half a turn its cosine would rise again and reward the worst; from there on it is the straight line
        ``cos(angle) - margin * sin(margin)``.

        Args:
            templates: ``(B, dimensions)``, of any length above 0.
            people: ``(B,)`` int64, the right row of the centres.

        Returns:
            ``(B, people)`` float32.
        """
        cosines = self.cosines(templates)
        right = cosines.gather(1, people[:, None])
        sine = torch.sqrt((1 - right.square()).clamp(min=_LEAST_SINE_SQUARED))
        further = right * math.cos(self.margin) - sine * math.sin(self.margin)
        straight = right - self.margin * math.sin(self.margin)
        right = torch.where(right > math.cos(math.pi - self.margin), further, straight)
        return self.scale * cosines.scatter(1, people[:, None], right)

    def cosines(self, templates: Tensor) -> Tensor:
        """``(B, people)`` float32 in -1..1: similarity of each template to each centre."""
        # Half a precision's cosines are worth two digits: the margin would drown.
        with torch.autocast(templates.device.type, enabled=False):
            unit = functional.normalize(templates.float()), functional.normalize(self.centres.float())
            return functional.linear(*unit).clamp(-1.0, 1.0)
