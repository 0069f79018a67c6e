"""What the lines of a comparison find: whether their timing can be believed, and how good they are.

Two questions, two references. *Checked* is whether a line does its model's work at all: its outputs are held against
those of the full-precision model that it comes from, on another engine where there is one. *Agreement* is how much of
the work is left: against the first full-precision model of its family, on the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from pipeline.canvas import Canvas
from pipeline.faces import F32, Faces
from vidface.evaluation.agreement import agreement
from vidface.evaluation.average_precision import score_detector
from vidface.evaluation.lfw import evaluate
from vidface.evaluation.models_data import AlignedFaces, Pictures

PRODUCT_SCORE: Final = 0.6
"""Detectors are compared on the faces that the product would take, `DetectorOptions.score_threshold`."""

LEAST_F1: Final = 0.9
LEAST_SIMILARITY: Final = 0.9
"""Floors of the check. A wrong colour order, mean or layer falls far below; bfloat16 and sound int8 stay above."""

Outputs: TypeAlias = list[Faces] | F32
"""Of a detector, the faces of each canvas in its pixels; of an embedder, ``(N, D)`` unit rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether a line does the work of its model.

    Attributes:
        against: The outputs that it was held against, for people; empty if there was nothing to hold it against.
        figure: F1 of faces, or mean cosine similarity of templates; None likewise.
        floor: The least that passes.
    """

    against: str
    figure: float | None
    floor: float

    @property
    def passed(self) -> bool:
        """Whether the line's timing can be believed."""
        return self.figure is not None and self.figure >= self.floor

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        figure = None if self.figure is None else round(self.figure, 5)
        return {"passed": self.passed, "against": self.against, "figure": figure, "floor": self.floor}


def check(against: str, reference: Outputs | None, outputs: Outputs) -> Check:
    """Hold a line's outputs against a reference's; one that found no face at all is none."""
    is_faces = isinstance(outputs, list)
    floor = LEAST_F1 if is_faces else LEAST_SIMILARITY
    if reference is None or (isinstance(reference, list) and not any(map(len, _taken(reference)))):
        return Check(against="", figure=None, floor=floor)
    found = compare(reference, outputs)
    return Check(against=against, figure=found["f1" if is_faces else "mean_similarity"], floor=floor)


def compare(reference: Outputs, outputs: Outputs) -> dict[str, float]:
    """Agreement of a line's outputs with a reference's.

    Returns:
        Of detectors see `Agreement.as_json`, in canvas pixels; of embedders ``mean_similarity`` and
        ``least_similarity``, the cosine of each face's two templates.
    """
    if isinstance(reference, list) and isinstance(outputs, list):
        return agreement(_taken(reference), _taken(outputs)).as_json()
    assert isinstance(reference, np.ndarray)
    assert isinstance(outputs, np.ndarray)
    if reference.shape != outputs.shape:
        return {"mean_similarity": 0.0, "least_similarity": 0.0}
    similarities = np.sum(reference * outputs, axis=1, dtype=np.float64)
    return {"mean_similarity": float(similarities.mean()), "least_similarity": float(similarities.min())}


def accuracy(outputs: Outputs, canvas: Canvas, pictures: Pictures | None, faces: AlignedFaces | None) -> dict[str, Any]:
    """What labels say of a line; empty where there are none.

    Returns:
        Of detectors ``average_precision``, ``recall`` and ``nme``; of embedders ``lfw_accuracy`` and ``lfw_std``.
    """
    if isinstance(outputs, list):
        if pictures is None or pictures.labels is None:
            return {}
        own = [canvas.to_picture(found, size) for found, size in zip(outputs, pictures.sizes_wh, strict=True)]
        score = score_detector(own, pictures.labels)
        return {"average_precision": score.average_precision, "recall": score.recall, "nme": score.nme}
    if faces is None or not faces.folds:
        return {}
    result = evaluate(faces.folds, dict(zip(faces.paths, outputs, strict=True)), faces.photos)
    return {"lfw_accuracy": result.accuracy, "lfw_std": result.std}


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same with five decimals."""
    keep: Callable[[Any], Any] = lambda value: round(value, 5) if isinstance(value, float) else value  # noqa: E731
    return {name: keep(value) for name, value in figures.items()}


def _taken(found: list[Faces]) -> list[Faces]:
    # Suppression goes by score, so faint faces that are left out afterwards have suppressed no stronger one.
    return [faces[faces.scores >= PRODUCT_SCORE] for faces in found]
