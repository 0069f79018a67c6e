"""What is known about the faces of a training picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from weights.errors import BadTrainingData

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledFaces:
    """N faces of one picture, in its pixels; every column in the same row order.

    Attributes:
        boxes_xyxy: ``(N, 4)`` float32: left, top, right, bottom.
        landmarks_xy: ``(N, 5, 2)`` float32: eye, eye, nose tip, mouth corner, mouth corner; of each pair the one on the
            picture's left first. Without meaning where a face has none.
        has_landmarks: ``(N,)`` bool.
    """

    boxes_xyxy: F32
    landmarks_xy: F32
    has_landmarks: NDArray[np.bool_]

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        given = self.boxes_xyxy.shape, self.landmarks_xy.shape, self.has_landmarks.shape
        if given != ((count, 4), (count, 5, 2), (count,)):
            raise BadTrainingData(
                f"faces of a picture: expected shapes (N, 4), (N, 5, 2) and (N,) for boxes, landmarks and whether they "
                f"are known, got {given[0]}, {given[1]} and {given[2]}"
            )

    @classmethod
    def empty(cls) -> Self:
        """No faces."""
        return cls(
            boxes_xyxy=np.empty((0, 4), np.float32),
            landmarks_xy=np.empty((0, 5, 2), np.float32),
            has_landmarks=np.empty(0, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.has_landmarks)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice | list[int]) -> LabelledFaces:
        """The faces of a boolean mask, of row numbers, or of a slice, in that order."""
        return LabelledFaces(
            boxes_xyxy=self.boxes_xyxy[rows],
            landmarks_xy=self.landmarks_xy[rows],
            has_landmarks=self.has_landmarks[rows],
        )

    def moved(self, offset_xy: tuple[float, float], factor_xy: tuple[float, float] = (1.0, 1.0)) -> LabelledFaces:
        """The same faces where each point ``p`` has become ``(p + offset) * factor``."""
        offset, factor = np.array(offset_xy, np.float32), np.array(factor_xy, np.float32)
        boxes = (self.boxes_xyxy.reshape(-1, 2, 2) + offset) * factor
        return LabelledFaces(
            boxes_xyxy=boxes.reshape(-1, 4),
            landmarks_xy=(self.landmarks_xy + offset) * factor,
            has_landmarks=self.has_landmarks,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPicture:
    """A picture file and its faces, in pixels of the upright picture."""

    path: Path
    faces: LabelledFaces
