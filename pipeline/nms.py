"""Overlap of boxes, and greedy non-maximum suppression, as pure array arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32


def iou_matrix(boxes_a: F32, boxes_b: F32) -> F32:
    """Intersection over union of each pair.

    Args:
        boxes_a: ``(N, 4)`` left, top, right, bottom.
        boxes_b: ``(M, 4)`` likewise.

    Returns:
        ``(N, M)`` float32 in 0..1; 0 where both boxes have no area.
    """
    top_left = np.maximum(boxes_a[:, None, :2], boxes_b[None, :, :2])
    bottom_right = np.minimum(boxes_a[:, None, 2:], boxes_b[None, :, 2:])
    overlap = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    area_a = np.prod(np.clip(boxes_a[:, 2:] - boxes_a[:, :2], 0, None), axis=1)
    area_b = np.prod(np.clip(boxes_b[:, 2:] - boxes_b[:, :2], 0, None), axis=1)
    union = area_a[:, None] + area_b[None, :] - overlap
    return np.asarray(overlap / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def suppress(boxes_xyxy: F32, scores: F32, iou_threshold: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: of boxes that overlap more than the threshold the best-scored stays.

    The pairs are compared at once; what remains is one step for each box that is kept. Equal scores keep the
    order of the rows, so the answer never depends on the sorting algorithm.

    Args:
        boxes_xyxy: ``(N, 4)``.
        scores: ``(N,)``.
        iou_threshold: Overlaps above it are suppressed.

    Returns:
        The kept rows, best score first.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = iou_matrix(boxes_xyxy[order], boxes_xyxy[order]) > iou_threshold
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    position = 0
    while position < len(order):
        kept.append(position)
        alive &= ~overlaps[position]
        alive[: position + 1] = False
        following = np.flatnonzero(alive)
        if not len(following):
            break
        position = int(following[0])
    return order[kept] if kept else np.empty(0, np.intp)
