"""How a training is to go: for how long, how fast, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from weights.errors import WorkshopError


class Optimiser(StrEnum):
    """How gradients become steps."""

    ADAMW = "adamw"
    SGD = "sgd"


class Precision(StrEnum):
    """What the network computes in; its weights are float32 always."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Stopped(StrEnum):
    """Why a training ended."""

    STEPS = "all steps are done"
    TIME = "the time is over"
    NO_BETTER = "validation got no better"


OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step with how many are done, how many there will be (an estimate where time sets the end), and the
losses of that step, ``loss`` being what was learnt from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a training is to go. One of `steps` and `minutes` is given.

    Attributes:
        steps: Updates of the weights.
        minutes: Or a time, without that of validation; what is left of it sets the course of the learning rate.
        batch_size: Samples a step, of all processes together.
        optimiser: AdamW, or SGD with a momentum of 0.9.
        learning_rate: The highest, at the end of the warm-up.
        warmup_steps: See `schedule.rate_factor`.
        final_rate: The last learning rate, as a part of the highest.
        weight_decay: On weights of convolutions and centres; biases and normalisation have none.
        clip_norm: Gradients are scaled down to this norm.
        precision: float32 on CPUs; bfloat16 pays off on CPUs that have it, float16 on GPUs.
        checkpoint_every: Steps between checkpoints that a training can go on from.
        validate_every: Steps between validations.
        patience: So many validations in a row without a better one end the training; None for never.
        seed: Of all chance: the order of samples, augmentation, new weights of a head.
        workers: Processes that read ahead; 0 reads in between.
        device: See `distributed.joined`.
        board: Whether to write for TensorBoard.
    """

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 16
    optimiser: Optimiser = Optimiser.ADAMW
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    final_rate: float = 0.01
    weight_decay: float = 5e-4
    clip_norm: float = 10.0
    precision: Precision = Precision.FLOAT32
    checkpoint_every: int = 500
    validate_every: int = 500
    patience: int | None = None
    seed: int = 0
    workers: int = 0
    device: str = "auto"
    board: bool = True

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise WorkshopError("a training needs either steps or minutes, and not both")
        for name in ("steps", "minutes", "batch_size", "learning_rate", "clip_norm", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise WorkshopError(f"{name}={value}: it must be above 0")
        for name in ("validate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WorkshopError(f"{name}={value}: it must be at least 1")
        for name in ("warmup_steps", "final_rate", "weight_decay", "workers", "seed"):
            if getattr(self, name) < 0:
                raise WorkshopError(f"{name}={getattr(self, name)}: it must not be below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training.

    Attributes:
        path: Checkpoint of the weights: the best by validation, or else the last.
        steps: How many were done in all, also before it went on.
        losses: Of the last step; empty where none was left to do.
        validation: The best; None without validation.
        best_step: After so many steps the weights of `path` were had.
        stopped: Why it ended.
    """

    path: Path
    steps: int
    losses: Mapping[str, float]
    validation: float | None
    best_step: int
    stopped: Stopped
