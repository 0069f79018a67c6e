"""How well a face can be recognised, from its geometry, its sharpness and the detector's confidence.

A number in 0..1 that orders the shots of one track and gates what may count as evidence; it is no probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.align import inside_fractions
from pipeline.faces import F32, Faces, U8Image
from pipeline.nms import areas

NOSE_DEPTH = 0.6
"""How far the nose tip stands out before the line of the eyes, in distances between the eyes (about 38 of 63 mm)."""

FULL_SIZE_PX = 80.0
"""A face of this size fills the embedder's 112 pixels with its margin: more adds nothing."""

FULL_YAW_DEG = 60.0
"""A face turned this far shows one eye only: five landmarks no longer mean a frontal face."""

FULL_SHARPNESS = 300.0
"""The Laplacian's variance of a sharp aligned face; typical of photos at their native resolution."""

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """What the landmarks and boxes of N faces say, row by row.

    Attributes:
        sizes_px: ``(N,)`` the box's shorter side.
        yaw_deg: ``(N,)`` turned to the side, 0 is frontal, positive towards the picture's right.
        roll_deg: ``(N,)`` tilted, 0 is upright, positive clockwise.
    """

    sizes_px: F32
    yaw_deg: F32
    roll_deg: F32


def geometry(faces: Faces) -> Geometry:
    """Size, yaw and roll of each face.

    The nose tip's shadow on the line of the eyes moves with the yaw: with the eyes ``d cos(yaw)`` apart and the nose
    ``NOSE_DEPTH d`` before them, it lies ``NOSE_DEPTH tan(yaw)`` eye distances beside their middle.
    """
    eyes = faces.landmarks_xy[:, 1] - faces.landmarks_xy[:, 0]
    to_nose = faces.landmarks_xy[:, 2] - faces.landmarks_xy[:, 0]
    length2 = np.maximum(np.sum(eyes**2, axis=1), np.finfo(np.float32).eps)
    beside = np.sum(to_nose * eyes, axis=1) / length2 - 0.5
    return Geometry(
        sizes_px=faces.sizes_px,
        yaw_deg=np.asarray(np.degrees(np.arctan(beside / NOSE_DEPTH)), np.float32),
        roll_deg=np.asarray(np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])), np.float32),
    )


def visible_fraction(faces: Faces, size_wh: tuple[int, int]) -> F32:
    """``(N,)`` the part of each box's area that lies inside a picture of this size, in 0..1."""
    boxes = faces.boxes_xyxy
    limits = np.array([*size_wh, *size_wh], np.float32)
    clipped = np.minimum(np.maximum(boxes, 0), limits)
    return np.asarray(areas(clipped) / np.maximum(areas(boxes), _TINY), np.float32)


def geometric_quality(faces: Faces, size_wh: tuple[int, int]) -> F32:
    """``(N,)`` quality in 0..1 before a pixel is read: an upper bound of `full_quality`.

    The geometric mean of size and frontality, times the detector's confidence, times the visible part squared: of a
    face cut by the picture's edge the network invents the rest. The visible part is the lesser of the box's and of the
    aligned face's, because a box ends at the picture's edge as often as not.
    """
    if not len(faces):
        return np.empty(0, np.float32)
    g = geometry(faces)
    size = np.clip(g.sizes_px / FULL_SIZE_PX, 0, 1)
    frontal = np.clip(1 - np.abs(g.yaw_deg) / FULL_YAW_DEG, 0, 1)
    visible = np.minimum(visible_fraction(faces, size_wh), inside_fractions(faces.landmarks_xy, size_wh))
    return np.asarray(np.sqrt(size * frontal) * faces.scores * visible**2, np.float32)


def sharpness(aligned_bgr: U8Image) -> F32:
    """``(N,)`` the variance of the Laplacian of the aligned faces' middle, in squared grey levels.

    Measured on aligned faces so that it doesn't depend on the face's size in the picture: a small face enlarged is as
    blurred as a large one out of focus (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000).
    """
    values = np.empty(len(aligned_bgr), np.float32)
    for row, face in enumerate(aligned_bgr):
        grey = cv2.cvtColor(np.ascontiguousarray(face[16:-16, 16:-16]), cv2.COLOR_BGR2GRAY)
        values[row] = cv2.Laplacian(grey, cv2.CV_32F, ksize=1).var()
    return values


def full_quality(geometric: F32, sharp: F32) -> F32:
    """``(N,)`` quality in 0..1: the geometric one lessened by blur, which costs a face at most half."""
    factor = 0.5 + 0.5 * np.clip(sharp / FULL_SHARPNESS, 0, 1)
    return np.asarray(geometric * factor, np.float32)
