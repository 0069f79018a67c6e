"""What of a picture has changed since it was last looked at, so that only that part is detected again.

A camera that hangs on a wall shows mostly the same wall. Detecting only where something changed gives the same faces
for a fraction of the work, under four conditions, which are the rules here:

- A cell counts as unchanged when it differs little from the pixels *of its last detection*, not of the last frame: a
  slow change adds up until it is seen.
- What changed is covered by square tiles with a margin of context around, at offsets that keep the phase of the
  detector's finer strides. What is found in a tile's core replaces what was known there; the rest of a tile is context.
- A changed part grows until it holds every known face that it touches: a moving mouth is detected with its face.
- At the latest after `ChangeOptions.whole_every_s` the whole picture is detected, whatever changed.

Everything here is pure: arrays and rectangles in, rectangles out. Pixels are the detector's canvas's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.canvas import CANVAS_STEP_PX, Canvas
from pipeline.faces import F32

CELL_PX = 8
"""Side of the squares in which changes are averaged: about as large as the smallest face that is found."""

MARGIN_PX = 16
"""Least context around a changed part. Measured on the lobby scene: of 271 faces 5 more are missed than on whole
pictures (their scores lie at the threshold), 3 at twice the margin for half as much again to detect."""

ALIGN_PX = 16
"""Tiles begin at multiples of this: the two finer strides see the picture as they see it on the canvas."""

WORTH = 0.6
"""Tiles of more than this part of the canvas are not worth it: the whole picture is detected."""

Rect = tuple[int, int, int, int]
"""Left, top, right, bottom in canvas pixels; right and bottom excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """When a part of a picture is detected again.

    Attributes:
        levels: Mean difference of a cell, in grey levels of 255, from which on it has changed.
        whole_every_s: Media time after which the whole picture is detected, whatever changed.
    """

    levels: float = 3.0
    whole_every_s: float = 2.0

    def __post_init__(self) -> None:
        if self.levels <= 0 or self.whole_every_s <= 0:
            raise ValueError(f"levels and whole_every_s must be over 0, got {self.levels}, {self.whole_every_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A square of the canvas that is detected by itself.

    Attributes:
        side_px: Its width and height.
        x: Its left edge.
        y: Its top edge.
        cores: The changed parts that it is there for: what is found with its middle in one of these counts.
    """

    side_px: int
    x: int
    y: int
    cores: tuple[Rect, ...]


def tile_sides_px(canvas: Canvas) -> tuple[int, ...]:
    """The sides of tiles on a canvas, smallest first: from a third to two thirds of its shorter side."""
    shorter = min(canvas.width, canvas.height)
    sides = {round(shorter * part / CANVAS_STEP_PX) * CANVAS_STEP_PX for part in (1 / 3, 5 / 12, 1 / 2, 2 / 3)}
    return tuple(sorted(side for side in sides if 2 * CANVAS_STEP_PX <= side < shorter))


def changed_parts(reference: NDArray[np.uint8], luma: NDArray[np.uint8], levels: float) -> list[Rect]:
    """Where two pictures differ, as rectangles around connected changed cells and one cell more on each side.

    Args:
        reference: ``(H, W)`` uint8, the pixels of each cell's last detection; H and W are multiples of 32.
        luma: ``(H, W)`` uint8, the present ones.
        levels: See `ChangeOptions.levels`.
    """
    height, width = luma.shape
    means = cv2.resize(
        cv2.absdiff(reference, luma), (width // CELL_PX, height // CELL_PX), interpolation=cv2.INTER_AREA
    )
    changed = np.asarray(means >= levels, np.uint8)
    if not changed.any():
        return []
    grown = cv2.dilate(changed, np.ones((3, 3), np.uint8))
    _count, _labels, stats, _middles = cv2.connectedComponentsWithStats(grown, connectivity=8)
    rects = stats[1:, :4] * CELL_PX
    return [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in rects]


def grow_to_faces(parts: Sequence[Rect], boxes_xyxy: F32, size_wh: tuple[int, int]) -> list[Rect]:
    """Changed parts, grown to hold whole each known face that they touch; parts that then overlap become one.

    Args:
        parts: Changed parts.
        boxes_xyxy: ``(N, 4)`` known faces.
        size_wh: The canvas's.
    """
    width, height = size_wh
    faces: list[Rect] = [
        (max(0, int(x0)), max(0, int(y0)), min(width, ceil(x1)), min(height, ceil(y1)))
        for x0, y0, x1, y1 in boxes_xyxy.tolist()
    ]
    waiting, done = list(parts), list[Rect]()
    while waiting:
        part = waiting.pop()
        for others in (faces, done, waiting):
            touching = [other for other in others if _overlap(part, other) and not _within(other, part)]
            if touching:
                for other in touching:
                    part = _union(part, other)
                    if others is not faces:
                        others.remove(other)
                waiting.append(part)  # grown: it may touch more now
                break
        else:
            done.append(part)
    return [part for part in done if not any(_within(part, other) for other in done if other is not part)]


def cover(parts: Sequence[Rect], canvas: Canvas) -> tuple[Tile, ...] | None:
    """Tiles that cover some parts with their margins.

    Returns:
        The tiles; None where the whole picture costs less, or a part fits no tile.
    """
    sides = tile_sides_px(canvas)
    limits = (canvas.width, canvas.height)
    tiles: list[Tile] = []
    spans: list[Rect] = []  # around each tile's cores
    # The largest first: small ones may find room beside it.
    for part in sorted(parts, key=lambda each: (-_area(each), each)):
        for place, tile in enumerate(tiles):
            span = _union(spans[place], part)
            corner = _corner(span, tile.side_px, limits)
            if corner is not None:
                tiles[place] = Tile(side_px=tile.side_px, x=corner[0], y=corner[1], cores=(*tile.cores, part))
                spans[place] = span
                break
        else:
            fitting = ((side, _corner(part, side, limits)) for side in sides)
            side, corner = next(((side, found) for side, found in fitting if found is not None), (0, None))
            if corner is None:
                return None
            tiles.append(Tile(side_px=side, x=corner[0], y=corner[1], cores=(part,)))
            spans.append(part)
    if sum(tile.side_px**2 for tile in tiles) > WORTH * canvas.width * canvas.height:
        return None
    return tuple(tiles)


def _corner(span: Rect, side_px: int, limits: tuple[int, int]) -> tuple[int, int] | None:
    """Left and top of a tile of this side around a rectangle with its margin; None where there is no place for it."""
    if max(span[2] - span[0], span[3] - span[1]) > side_px:
        return None
    x = _offset(span[0], span[2], side_px, limits[0])
    y = _offset(span[1], span[3], side_px, limits[1]) if x is not None else None
    return None if x is None or y is None else (x, y)


def _offset(low: int, high: int, side_px: int, limit: int) -> int | None:
    """Where along one axis a tile begins, so that low to high lies in its middle and a margin away from its ends."""
    low, high = max(0, low - MARGIN_PX), min(limit, high + MARGIN_PX)
    first = max(0, -(-(high - side_px) // ALIGN_PX) * ALIGN_PX)
    last = min(limit - side_px, low // ALIGN_PX * ALIGN_PX)
    if first > last:
        return None
    middle = round((low + high - side_px) / 2 / ALIGN_PX) * ALIGN_PX
    return min(max(middle, first), last)


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _within(inner: Rect, outer: Rect) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _union(a: Rect, b: Rect) -> Rect:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _area(rect: Rect) -> int:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])
