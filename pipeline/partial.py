"""Detecting again only what changed: one camera's memory of what was last seen, and how new and old faces are joined.

`Watch.plan` needs a frame's pixels and the faces of an earlier frame; `Watch.join` needs the faces of the frame before.
Several frames may be under way between the two. So that what is decided about a recording never depends on how
threads ran, `plan` uses no faces but those of the frame `lag` before, which are known by then however threads ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.change import ChangeOptions, Rect, Tile, changed_parts, cover, grow_to_faces
from pipeline.faces import Faces
from pipeline.nms import suppress
from streams.frame import FrameMeta

PARTLY = 0.1
"""A known face of which more than this part changed, yet not its middle, is detected again with the whole picture."""

SAME_FACE_IOU = 0.4
"""A known face and a found one that overlap more than this are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What of a frame is detected.

    Attributes:
        number: Counts the camera's frames since it was first watched.
        tiles: The parts to detect; none where nothing changed. None for the whole picture.
    """

    number: int
    tiles: tuple[Tile, ...] | None


class Watch:
    """One camera's memory. The detect thread uses it.

    Args:
        canvas: The detector's.
        options: When a part is detected again.
        lag: How many frames may be under way: `plan` may be called that often before `join` must have been.
    """

    def __init__(self, canvas: Canvas, options: ChangeOptions, *, lag: int) -> None:
        self._canvas = canvas
        self._options = options
        self._lag = lag
        self._epoch: int | None = None
        self._size_wh: tuple[int, int] | None = None
        self._reference: NDArray[np.uint8] | None = None
        self._whole_pts_ns = 0
        self._number = 0
        self._known: dict[int, Faces] = {}

    def plan(self, meta: FrameMeta, small: NDArray[np.uint8]) -> Plan:
        """See what of the camera's next frame must be detected, and remember its pixels.

        Args:
            meta: The frame.
            small: ``(canvas height, canvas width, 3)`` uint8 BGR, the frame on the canvas.
        """
        self._number += 1
        luma = np.asarray(cv2.extractChannel(small, 1), np.uint8)
        tiles = self._tiles(meta, luma)
        if tiles is None or self._reference is None:
            self._reference = luma
            self._epoch, self._size_wh, self._whole_pts_ns = meta.epoch, meta.size_wh, meta.pts_ns
            return Plan(number=self._number, tiles=None)
        for x0, y0, x1, y1 in (core for tile in tiles for core in tile.cores):
            self._reference[y0:y1, x0:x1] = luma[y0:y1, x0:x1]
        return Plan(number=self._number, tiles=tiles)

    def join(self, plan: Plan, found: Sequence[Faces]) -> Faces | None:
        """The faces of a planned frame; in the order of the plans.

        Args:
            plan: What was detected.
            found: The faces of each tile, in canvas pixels; for a whole picture its faces alone.

        Returns:
            All faces in canvas pixels, best score first; None where the tiles cut a face and the whole picture must be
            detected after all: call again with a plan of the whole.
        """
        if plan.tiles is None:
            faces = found[0]
        else:
            joined = self._joined(self._known.get(plan.number - 1, Faces.empty()), plan.tiles, found)
            if joined is None:
                return None
            faces = joined
        self._known[plan.number] = faces
        self._known.pop(plan.number - self._lag - 1, None)
        return faces

    def _tiles(self, meta: FrameMeta, luma: NDArray[np.uint8]) -> tuple[Tile, ...] | None:
        if self._reference is None or meta.epoch != self._epoch or meta.size_wh != self._size_wh:
            return None
        if not 0 <= meta.pts_ns - self._whole_pts_ns < self._options.whole_every_s * 1e9:
            return None
        parts = changed_parts(self._reference, luma, self._options.levels)
        if not parts:
            return ()
        known = self._known.get(self._number - self._lag, Faces.empty())
        return cover(grow_to_faces(parts, known.boxes_xyxy, (self._canvas.width, self._canvas.height)), self._canvas)

    def _joined(self, before: Faces, tiles: Sequence[Tile], found: Sequence[Faces]) -> Faces | None:
        """The faces before outside the cores, and those found inside; None where a face is cut or changed in part."""
        if not tiles:
            return before
        parts = []
        for tile, faces in zip(tiles, found, strict=True):
            boxes = _rows(faces)
            new = [row for row, box in enumerate(boxes) if _middle_in(box, tile.cores)]
            if any(self._cuts(tile, boxes[row]) for row in new):
                return None
            parts.append(faces[new])
        kept = []
        for row, box in enumerate(_rows(before)):
            seen_anew = [tile for tile in tiles if _middle_in(box, tile.cores)]
            if any(self._cuts(tile, box) for tile in seen_anew):
                return None
            if not seen_anew:
                kept.append(row)
                if sum(_covered_part(box, core) for tile in tiles for core in tile.cores) > PARTLY:
                    return None
        parts.append(before[kept])
        everyone = Faces(
            boxes_xyxy=np.concatenate([part.boxes_xyxy for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            landmarks_xy=np.concatenate([part.landmarks_xy for part in parts]),
        )
        return everyone[suppress(everyone.boxes_xyxy, everyone.scores, SAME_FACE_IOU)]

    def _cuts(self, tile: Tile, box: Box) -> bool:
        """Whether a box reaches an edge of the tile behind which the picture goes on."""
        x0, y0, x1, y1 = box
        right, bottom = tile.x + tile.side_px, tile.y + tile.side_px
        return (
            (x0 <= tile.x and tile.x > 0)
            or (y0 <= tile.y and tile.y > 0)
            or (x1 >= right and right < self._canvas.width)
            or (y1 >= bottom and bottom < self._canvas.height)
        )


Box = tuple[float, float, float, float]
"""Left, top, right, bottom. A picture holds a handful of faces: for so few, plain numbers cost a third of arrays."""


def _rows(faces: Faces) -> list[Box]:
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in faces.boxes_xyxy.tolist()]


def _covered_part(box: Box, rect: Rect) -> float:
    """The part of a box's area, 0..1, that a rectangle covers."""
    width = min(box[2], rect[2]) - max(box[0], rect[0])
    height = min(box[3], rect[3]) - max(box[1], rect[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)


def _middle_in(box: Box, rects: Sequence[Rect]) -> bool:
    """Whether a box's middle lies in one of some rectangles."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in rects)
