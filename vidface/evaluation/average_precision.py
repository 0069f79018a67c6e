"""Average precision of a detector at an overlap of one half, and the error of its landmarks.

As in PASCAL VOC since 2010 (Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", 2015):
the faces of all pictures in one list by score; each is right if the true face that it overlaps most is overlapped by
half and no surer one has it already; the area under precision over recall at every point, where a precision counts for
every lower recall too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import Faces
from pipeline.nms import iou_matrix
from vidface.evaluation.agreement import SAME_IOU
from vidface.evaluation.face_labels import LabelledPicture

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """What became of the found faces of one picture, row by row.

    Attributes:
        labels: ``(N,)`` the label's row that a right face has; -1 for a wrong one.
        counted: ``(N,)`` bool: False where the face lies on a label that is ignored.
    """

    labels: NDArray[np.intp]
    counted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorScore:
    """A detector's figures over labelled pictures.

    Attributes:
        average_precision: 0..1.
        faces: Labelled faces that count.
        found: Faces found that count.
        right: How many of them are right.
        nme: Mean distance of the right faces' five landmarks from the labels', over the root of the labelled box's area
            (as Deng et al., "RetinaFace", 2019); None where no right face has labelled landmarks.
        landmark_faces: How many faces that mean is over.
    """

    average_precision: float
    faces: int
    found: int
    right: int
    nme: float | None
    landmark_faces: int

    @property
    def recall(self) -> float:
        """The part of the labelled faces that was found at all, at the lowest score given."""
        return self.right / self.faces if self.faces else 1.0


def judge(found: Faces, picture: LabelledPicture, iou: float = SAME_IOU) -> Verdict:
    """Tell right faces from wrong ones, the surest first."""
    labels = np.full(len(found), -1, np.intp)
    counted = np.ones(len(found), bool)
    if len(found) and len(picture.boxes_xyxy):
        overlaps = iou_matrix(found.boxes_xyxy, picture.boxes_xyxy)
        taken: set[int] = set()
        for row in np.argsort(-found.scores, kind="stable"):
            best = int(overlaps[row].argmax())
            if overlaps[row, best] < iou:
                continue
            if picture.ignored[best]:
                counted[row] = False
            elif best not in taken:
                taken.add(best)
                labels[row] = best
    return Verdict(labels=labels, counted=counted)


def score_detector(found: Sequence[Faces], pictures: Sequence[LabelledPicture], iou: float = SAME_IOU) -> DetectorScore:
    """All figures.

    Args:
        found: Of each picture, the faces in its pixels, with scores down to a low threshold.
        pictures: The same pictures' labels.
        iou: The least overlap of a right face.
    """
    scores: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    errors: list[F64] = []
    for faces, picture in zip(found, pictures, strict=True):
        verdict = judge(faces, picture, iou)
        scores.append(faces.scores[verdict.counted])
        right.append((verdict.labels >= 0)[verdict.counted])
        errors.append(landmark_errors(faces, picture, verdict))
    total = sum(picture.counted for picture in pictures)
    all_right = np.concatenate(right) if right else np.empty(0, bool)
    all_scores = np.concatenate(scores) if scores else np.empty(0, np.float32)
    nme = np.concatenate(errors) if errors else np.empty(0)
    order = np.argsort(-all_scores, kind="stable")
    precision, recall = precision_and_recall(all_right[order], total)
    return DetectorScore(
        average_precision=average_precision(precision, recall),
        faces=total,
        found=len(all_right),
        right=int(all_right.sum()),
        nme=float(nme.mean()) if len(nme) else None,
        landmark_faces=len(nme),
    )


def landmark_errors(found: Faces, picture: LabelledPicture, verdict: Verdict) -> F64:
    """Of each right face whose label has all five landmarks: their mean distance over the root of the box's area."""
    rows = np.flatnonzero(verdict.labels >= 0)
    labels = verdict.labels[rows]
    away = np.linalg.norm(found.landmarks_xy[rows] - picture.landmarks_xy[labels], axis=2).mean(axis=1)
    sides = picture.boxes_xyxy[labels, 2:] - picture.boxes_xyxy[labels, :2]
    errors = np.asarray(away / np.sqrt(sides.prod(axis=1)), np.float64)
    return errors[np.isfinite(errors)]


def precision_and_recall(right: NDArray[np.bool_], faces: int) -> tuple[F64, F64]:
    """Both after each face.

    Args:
        right: ``(N,)`` whether each found face is right, the surest first.
        faces: How many there are to find.
    """
    hits = np.cumsum(right, dtype=np.float64)
    return hits / np.arange(1, len(right) + 1), hits / max(faces, 1)


def average_precision(precision: F64, recall: F64) -> float:
    """The area under precision over recall: recall never falls; a precision counts for all that is found later, too."""
    steps = np.concatenate([[0.0], recall, [1.0]])
    heights = np.concatenate([[0.0], precision, [0.0]])
    heights = np.maximum.accumulate(heights[::-1])[::-1]
    return float(np.sum(np.diff(steps) * heights[1:]))
