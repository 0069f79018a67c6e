"""The faces of one picture: a struct of arrays with fixed columns.

Every later stage keeps row order: row ``i`` of an embedding matrix or of a track's answer is row ``i`` here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from streams.frame import U8Image

__all__ = ["F32", "Faces", "U8Image", "require_shape"]

F32 = NDArray[np.float32]


def require_shape(name: str, array: NDArray[np.generic], expected: tuple[int | None, ...]) -> None:
    """Raise unless `array` has the expected shape; None stands for any length.

    Raises:
        ShapeError: It states the expected and the actual shape.
    """
    if array.shape == expected:
        return
    same_rank = array.ndim == len(expected)
    if not same_rank or any(e is not None and e != a for e, a in zip(expected, array.shape, strict=False)):
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise ShapeError(f"{name}: expected shape ({wanted}), got {array.shape}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faces:
    """N detected faces in pixels of the full frame.

    Attributes:
        boxes_xyxy: ``(N, 4)`` float32, left, top, right, bottom; may reach past the picture's edge.
        scores: ``(N,)`` float32 in 0..1, the detector's confidence.
        landmarks_xy: ``(N, 5, 2)`` float32: the eye, eye, nose tip, mouth corner, mouth corner; of each pair the
            one on the picture's left first.
    """

    boxes_xyxy: F32
    scores: F32
    landmarks_xy: F32

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        shapes = self.boxes_xyxy.shape, self.scores.shape, self.landmarks_xy.shape
        if shapes == ((count, 4), (count,), (count, 5, 2)):
            return  # the hot path makes thousands a second: what is wrong is looked for where something is
        require_shape("boxes_xyxy", self.boxes_xyxy, (None, 4))
        require_shape("scores", self.scores, (count,))
        require_shape("landmarks_xy", self.landmarks_xy, (count, 5, 2))

    @classmethod
    def empty(cls) -> Self:
        """No faces."""
        return cls(
            boxes_xyxy=np.empty((0, 4), np.float32),
            scores=np.empty(0, np.float32),
            landmarks_xy=np.empty((0, 5, 2), np.float32),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice | list[int]) -> Faces:
        """The faces of a boolean mask, of row numbers, or of a slice, in that order."""
        return Faces(boxes_xyxy=self.boxes_xyxy[rows], scores=self.scores[rows], landmarks_xy=self.landmarks_xy[rows])

    def __iter__(self) -> Iterator[Faces]:
        """Each face as a Faces of one row."""
        return (self[row : row + 1] for row in range(len(self)))

    @property
    def sizes_px(self) -> F32:
        """``(N,)`` float32: each box's shorter side in pixels."""
        widths = self.boxes_xyxy[:, 2] - self.boxes_xyxy[:, 0]
        heights = self.boxes_xyxy[:, 3] - self.boxes_xyxy[:, 1]
        return np.asarray(np.minimum(widths, heights), np.float32)
