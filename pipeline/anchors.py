"""RetinaFace's anchors and the decoding of its outputs, as pure array arithmetic.

Formulas: Liu et al., "SSD: Single Shot MultiBox Detector", 2016 (box encoding with variances), and Deng et al.,
"RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019 (landmarks encoded like box centres).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.faces import F32

LARGEST_LOG_SIZE = 10.0
"""No face is 22,000 times its anchor: what an untrained network says must not become infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSpec:
    """How a detector lays its anchors.

    Attributes:
        strides: Pixels per cell of each feature map, finest first.
        sizes_px: For each stride, the sides of its square anchors in pixels.
        variances: The factors on centre offsets and on log sizes.
    """

    strides: tuple[int, ...]
    sizes_px: tuple[tuple[int, ...], ...]
    variances: tuple[float, float]


def lay_anchors(spec: AnchorSpec, canvas_wh: tuple[int, int]) -> F32:
    """Every anchor of a canvas, in the order in which the detector's outputs list them.

    Args:
        spec: The detector's anchors.
        canvas_wh: The canvas in pixels.

    Returns:
        ``(A, 4)`` float32: centre x, centre y, width, height in pixels; by stride, row, column, size.
    """
    width, height = canvas_wh
    levels: list[F32] = []
    for stride, sizes in zip(spec.strides, spec.sizes_px, strict=True):
        columns, rows = -(-width // stride), -(-height // stride)
        centre_y, centre_x = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij"
        )
        level = np.empty((rows, columns, len(sizes), 4), np.float32)
        level[..., 0] = centre_x[..., None]
        level[..., 1] = centre_y[..., None]
        level[..., 2] = level[..., 3] = np.asarray(sizes, np.float32)
        levels.append(level.reshape(-1, 4))
    return np.concatenate(levels)


def decode_boxes(loc: F32, anchors: F32, variances: Sequence[float]) -> F32:
    """Encoded boxes to pixels.

    ``centre = anchor_centre + loc_xy * v0 * anchor_size``, ``size = anchor_size * exp(loc_wh * v1)``.

    Args:
        loc: ``(N, 4)`` the network's box output.
        anchors: ``(N, 4)`` the anchors of the same rows.
        variances: v0 and v1.

    Returns:
        ``(N, 4)`` float32: left, top, right, bottom in canvas pixels.
    """
    centre = anchors[:, :2] + loc[:, :2] * variances[0] * anchors[:, 2:]
    half = anchors[:, 2:] * np.exp(np.minimum(loc[:, 2:] * variances[1], LARGEST_LOG_SIZE)) / 2
    return np.concatenate([centre - half, centre + half], axis=1, dtype=np.float32)


def decode_landmarks(encoded: F32, anchors: F32, variances: Sequence[float]) -> F32:
    """Encoded landmarks to pixels: ``point = anchor_centre + encoded * v0 * anchor_size``.

    Args:
        encoded: ``(N, 10)`` x and y of five points.
        anchors: ``(N, 4)`` the anchors of the same rows.
        variances: v0 and v1.

    Returns:
        ``(N, 5, 2)`` float32 in canvas pixels.
    """
    points = encoded.reshape(-1, 5, 2)
    decoded = anchors[:, None, :2] + points * variances[0] * anchors[:, None, 2:]
    return np.asarray(decoded, np.float32)
