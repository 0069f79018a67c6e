"""What an optimisation is asked for, and what it makes on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.canvas import DEFAULT_CANVAS, Canvas
from weights.manifest import ModelSpec

BASELINE: Final = "onnxruntime f32"
"""What a speed-up is over: the full model in float32 in ONNX Runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is asked for.

    Attributes:
        speedup: How many times as fast as `BASELINE`, for one picture on the canvas.
        keep: The least F1 against the full model's detections, on pictures that were not learnt from.
        small_loss: How much the recall of faces under 30 pixels may fall short of the full model's.
        minutes: How long it may take.
        canvas: The size that is measured at.
        seed: Of all that is random.
    """

    speedup: float = 3.0
    keep: float = 0.95
    small_loss: float = 0.05
    minutes: float = 50.0
    canvas: Canvas = DEFAULT_CANVAS
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Whom to tell.

    Attributes:
        step: What is being done now.
        part: How much of it is done, 0..1.
    """

    step: Callable[[str], None] = lambda _text: None
    part: Callable[[float], None] = lambda _part: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that might be kept.

    Attributes:
        name: What was done to it.
        path: Its ONNX file.
        spec: How to feed it.
    """

    name: str
    path: Path
    spec: ModelSpec
