"""Overlap of boxes, and greedy non-maximum suppression, as pure array arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32

_TINY = np.finfo(np.float32).tiny


def iou_matrix(boxes_a: F32, boxes_b: F32) -> F32:
    """Intersection over union of each pair.

    Args:
        boxes_a: ``(N, 4)`` left, top, right, bottom.
        boxes_b: ``(M, 4)`` likewise.

    Returns:
        ``(N, M)`` float32 in 0..1; 0 where both boxes have no area.
    """
    sides = np.minimum(boxes_a[:, None, 2:], boxes_b[:, 2:]) - np.maximum(boxes_a[:, None, :2], boxes_b[:, :2])
    np.maximum(sides, 0, out=sides)
    overlap = sides[..., 0] * sides[..., 1]
    union = areas(boxes_a)[:, None] + areas(boxes_b) - overlap
    return np.asarray(overlap / np.maximum(union, _TINY), np.float32)


def areas(boxes_xyxy: F32) -> F32:
    """``(N,)`` each box's area; 0 where its corners are the wrong way round."""
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def suppress(boxes_xyxy: F32, scores: F32, iou_threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: of boxes that overlap more than the threshold the best-scored stays.

    Each box that is kept is compared with all others at once: a picture has few faces, and some ten boxes of each.
    Equal scores keep the order of the rows, so the answer never depends on the sorting algorithm.

    Args:
        boxes_xyxy: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: Overlaps above it are suppressed.

    Returns:
        The kept rows, best score first.
    """
    if len(scores) < 2:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    boxes = boxes_xyxy[order]
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    position = 0
    while alive[position]:
        kept.append(position)
        alive[position] = False
        alive[iou_matrix(boxes[position : position + 1], boxes)[0] > iou_threshold] = False
        position = int(alive.argmax())  # the next that is alive; the first, which is not, when none is
    return order[kept]
