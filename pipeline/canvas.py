"""The detector's canvas: every picture is scaled into one size, so that one batch can mix cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.faces import Faces

CANVAS_STEP_PX = 32
"""The coarsest stride of the detector: a canvas side must be a multiple of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A width and height in pixels that every picture is letterboxed to.

    The picture keeps its aspect ratio, stands at the top left, and the rest is filled with the detector's mean
    colour; so a canvas point is a picture point times one scale, with no offset.

    Raises:
        ShapeError: A side is not a positive multiple of 32.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if side <= 0 or side % CANVAS_STEP_PX:
                raise ShapeError(
                    f"canvas {self.width}x{self.height}: the {name} must be a positive multiple of {CANVAS_STEP_PX}"
                )

    def scale_for(self, size_wh: tuple[int, int]) -> float:
        """Canvas pixels per picture pixel; a picture smaller than the canvas is enlarged to fit."""
        width, height = size_wh
        return min(self.width / width, self.height / height)

    def scaled_size_wh(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        """The picture's size on the canvas, in whole pixels, at least one."""
        scale = self.scale_for(size_wh)
        return (
            min(self.width, max(1, round(size_wh[0] * scale))),
            min(self.height, max(1, round(size_wh[1] * scale))),
        )

    def to_picture(self, faces: Faces, size_wh: tuple[int, int]) -> Faces:
        """Faces in canvas pixels to the same faces in pixels of a picture of this size.

        Width and height are rounded to whole canvas pixels apart, so each axis has its own factor.
        """
        scaled_w, scaled_h = self.scaled_size_wh(size_wh)
        x, y = size_wh[0] / scaled_w, size_wh[1] / scaled_h
        factors = np.array([x, y, x, y], np.float32)
        return Faces(
            boxes_xyxy=faces.boxes_xyxy * factors,
            scores=faces.scores,
            landmarks_xy=faces.landmarks_xy * factors[:2],
        )

    def blank_batch(self, count: int, fill_bgr: tuple[int, int, int]) -> NDArray[np.uint8]:
        """``(count, height, width, 3)`` uint8 filled with one colour."""
        batch = np.empty((count, self.height, self.width, 3), np.uint8)
        batch[:] = _row(self.width, fill_bgr)
        return batch

    def letterbox(self, scaled: Sequence[NDArray[np.uint8]], fill_bgr: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Pictures that are scaled already, each at the top left of a canvas.

        Args:
            scaled: ``(h, w, 3)`` uint8, each of the size that `scaled_size_wh` gives.
            fill_bgr: The colour beside them.

        Returns:
            ``(N, height, width, 3)`` uint8.
        """
        batch = np.empty((len(scaled), self.height, self.width, 3), np.uint8)
        row = _row(self.width, fill_bgr)
        for canvas, picture in zip(batch, scaled, strict=True):
            height, width = picture.shape[:2]
            canvas[:height, :width] = picture
            canvas[:height, width:] = row[width:]
            canvas[height:] = row
        return batch


@lru_cache(maxsize=16)
def _row(width: int, fill_bgr: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A canvas's row of one colour: filling pixel by pixel takes twenty times as long."""
    return np.tile(np.array(fill_bgr, np.uint8), (width, 1))


DEFAULT_CANVAS = Canvas(width=640, height=384)
"""A 1080p picture at a third: faces from about 48 pixels on are found, at a few milliseconds a frame on two cores."""
