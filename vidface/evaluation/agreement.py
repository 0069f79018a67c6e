"""How far two detectors agree: a faster model against the full one, or any against labels.

Faces of one picture are paired by overlap, the surest of those found first, each at most once, as in PASCAL VOC's
protocol (Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import Faces
from pipeline.nms import iou_matrix

SAME_IOU = 0.5
"""Two boxes that overlap by this are the same face."""

SMALL_PX = 30.0
"""A face whose box's shorter side is less is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What of the reference was found again.

    Attributes:
        reference: Faces of the reference.
        found: Faces of the other.
        matched: Pairs of the two.
        small: Faces of the reference that are small.
        small_matched: How many of them were found.
        landmark_error_px: Mean distance of the pairs' landmarks in pixels; 0 without pairs.
        landmark_error: The same over the side of the reference's box (the root of its area).
    """

    reference: int
    found: int
    matched: int
    small: int
    small_matched: int
    landmark_error_px: float
    landmark_error: float

    @property
    def precision(self) -> float:
        """The part of what was found that is in the reference; 1 where nothing was found."""
        return self.matched / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """The part of the reference that was found; 1 where it is empty."""
        return self.matched / self.reference if self.reference else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.found + self.reference
        return 2 * self.matched / both if both else 1.0

    @property
    def small_recall(self) -> float:
        """The part of the reference's small faces that was found; 1 where there are none."""
        return self.small_matched / self.small if self.small else 1.0

    def as_json(self) -> dict[str, float]:
        """All of it as plain values."""
        return {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "small_recall": self.small_recall,
            "landmark_error_px": self.landmark_error_px,
            "landmark_error": self.landmark_error,
            "reference_faces": self.reference,
            "found_faces": self.found,
            "matched_faces": self.matched,
            "small_faces": self.small,
            "small_matched": self.small_matched,
        }


def agreement(reference: Sequence[Faces], found: Sequence[Faces], *, small_px: float = SMALL_PX) -> Agreement:
    """Compare the faces of the same pictures.

    Args:
        reference: Of each picture, what counts as right.
        found: Of each picture, what another model found, in the same pixels.
        small_px: See `SMALL_PX`.

    Returns:
        The counts over all pictures.
    """
    matched = small = small_matched = 0
    errors: list[NDArray[np.float32]] = []
    relative: list[NDArray[np.float32]] = []
    for wanted, given in zip(reference, found, strict=True):
        is_small = wanted.sizes_px < small_px
        small += int(is_small.sum())
        pairs = match(wanted, given)
        matched += len(pairs)
        if not len(pairs):
            continue
        rows, others = pairs[:, 0], pairs[:, 1]
        small_matched += int(is_small[rows].sum())
        away = np.linalg.norm(wanted.landmarks_xy[rows] - given.landmarks_xy[others], axis=2).mean(axis=1)
        sides = wanted.boxes_xyxy[rows, 2:] - wanted.boxes_xyxy[rows, :2]
        errors.append(away)
        relative.append(away / np.sqrt(np.maximum(sides.prod(axis=1), 1.0)))
    return Agreement(
        reference=sum(map(len, reference)),
        found=sum(map(len, found)),
        matched=matched,
        small=small,
        small_matched=small_matched,
        landmark_error_px=float(np.concatenate(errors).mean()) if errors else 0.0,
        landmark_error=float(np.concatenate(relative).mean()) if relative else 0.0,
    )


def match(wanted: Faces, given: Faces, iou: float = SAME_IOU) -> NDArray[np.intp]:
    """Pairs of the same face.

    Returns:
        ``(P, 2)`` rows of `wanted` and of `given`; each row occurs at most once.
    """
    if not len(wanted) or not len(given):
        return np.empty((0, 2), np.intp)
    overlaps = iou_matrix(given.boxes_xyxy, wanted.boxes_xyxy)
    pairs = []
    for row in np.argsort(-given.scores, kind="stable"):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= iou:
            pairs.append((best, int(row)))
            overlaps[:, best] = -1.0
    return np.array(pairs, np.intp).reshape(-1, 2)
