"""The learning rate over a training."""

from __future__ import annotations

import math


def rate_factor(step: int, *, steps: int, warmup_steps: int = 0, final: float = 0.0) -> float:
    """What the learning rate is multiplied by at a step: a line up, then half a cosine down.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without restarts; the line up
    is that of Goyal et al., "Accurate, Large Minibatch SGD", 2017.

    Args:
        step: From 0 on; beyond the last it stays at `final`.
        steps: Of the whole training.
        warmup_steps: Length of the line; its first step is ``1 / warmup_steps``, the first one after it is 1.
        final: What the cosine ends at.

    Returns:
        A factor above 0 (with a `final` above 0) and at most 1.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return _cosine((step - warmup_steps) / max(1, steps - 1 - warmup_steps), final)


def rate_at(part: float, *, warm_up: float, final: float = 0.01) -> float:
    """Likewise at a part of the time, where it is not known how many steps will be made.

    Args:
        part: From 0 to 1.
        warm_up: The part of the time in which it rises.
        final: What it begins and ends at.
    """
    if part < warm_up:
        return max(final, part / warm_up)
    return _cosine((part - warm_up) / (1 - warm_up), final)


def _cosine(part: float, final: float) -> float:
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, part))) / 2
