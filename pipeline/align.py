"""Five-point alignment: each face turned, scaled and shifted so that its landmarks lie where the embedder learnt them.

The similarity transform is Umeyama's least-squares solution ("Least-squares estimation of transformation parameters
between two point patterns", 1991), which in two dimensions has a closed form over complex numbers. The template is
ArcFace's (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32, U8Image, require_shape
from streams.frame import Picture

ALIGNED_PX = 112
"""The side of an aligned face."""

TEMPLATE_XY: F32 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)
"""Where the five landmarks of a frontal face lie in the aligned picture, in pixels."""

_STEPS = (np.arange(16, dtype=np.float32) + 0.5) * ALIGNED_PX / 16
_GRID_XY: F32 = np.stack(np.meshgrid(_STEPS, _STEPS), axis=-1).reshape(-1, 2).astype(np.float32)
_EPS = np.finfo(np.float64).eps
_CORNERS_XY: F32 = _GRID_XY[[0, 15, 240, 255]]


def similarity_transforms(landmarks_xy: F32, template_xy: F32 = TEMPLATE_XY) -> F32:
    """The rotation, scale and shift that bring landmarks closest to the template, for many faces at once.

    With points as complex numbers, the least-squares ``w = a z + b`` has
    ``a = sum(conj(z') w') / sum(|z'|^2)`` over centred points and ``b = mean(w) - a mean(z)``.

    Args:
        landmarks_xy: ``(N, 5, 2)`` in picture pixels.
        template_xy: ``(5, 2)`` in pixels of the aligned picture.

    Returns:
        ``(N, 2, 3)`` float32 matrices, picture to aligned. Points that all coincide give a scale of 0.
    """
    require_shape("landmarks_xy", landmarks_xy, (None, 5, 2))
    points = landmarks_xy.astype(np.float64, order="C")
    middle_z = points.sum(axis=1) / 5
    points -= middle_z[:, None]
    w = template_xy[:, 0].astype(np.float64) + 1j * template_xy[:, 1]
    w_mean = w.mean()
    z = points.view(np.complex128)[..., 0]  # x and y lie beside each other, as real and imaginary part do
    spread = np.vecdot(z, z).real
    a = np.vecdot(z, w - w_mean) / np.maximum(spread, _EPS)
    b = w_mean - a * (middle_z[:, 0] + 1j * middle_z[:, 1])
    matrices = np.empty((len(z), 2, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 0, 2] = a.real, -a.imag, b.real
    matrices[:, 1, 0], matrices[:, 1, 1], matrices[:, 1, 2] = a.imag, a.real, b.imag
    return matrices


def inside_fractions(landmarks_xy: F32, size_wh: tuple[int, int]) -> F32:
    """The part of each aligned face that comes from inside a picture of this size: the rest would be black.

    Args:
        landmarks_xy: ``(N, 5, 2)`` in picture pixels.
        size_wh: The picture's width and height.

    Returns:
        ``(N,)`` float32 in 0..1, counted on a grid of 16x16 points.
    """
    matrices = similarity_transforms(landmarks_xy)
    fractions = _sampled_fractions(matrices, size_wh, _CORNERS_XY)
    cut = (
        fractions < 1
    )  # a square whose corners are inside is inside; most are, and the grid costs twenty times as much
    if cut.any():
        fractions[cut] = _sampled_fractions(matrices[cut], size_wh, _GRID_XY)
    return fractions


def _sampled_fractions(matrices: F32, size_wh: tuple[int, int], points_xy: F32) -> F32:
    """``(N,)`` the part of some points ``(P, 2)`` of the aligned picture that come from inside a picture."""
    offset = points_xy - matrices[:, None, :, 2]
    squared_scale = matrices[:, 0, 0] ** 2 + matrices[:, 1, 0] ** 2
    # A similarity's inverse is its transpose over the squared scale.
    shrink = 1 / np.maximum(squared_scale, 1e-6)[:, None]
    cosine, sine = matrices[:, 0, 0, None] * shrink, matrices[:, 1, 0, None] * shrink
    x = offset[..., 0] * cosine + offset[..., 1] * sine
    y = offset[..., 1] * cosine - offset[..., 0] * sine
    inside = (x >= 0) & (x < size_wh[0]) & (y >= 0) & (y < size_wh[1])
    return np.asarray(np.where(squared_scale > 1e-6, inside.mean(axis=1), 0.0), np.float32)


def align_faces(picture: Picture, landmarks_xy: F32) -> U8Image:
    """Cut the faces of one picture out of its full resolution.

    Only each face's own rectangle is converted from the decoder's planes. A face larger than the template is first
    averaged down, because a bilinear warp that skips pixels would alias.

    Args:
        picture: Full-resolution pixels.
        landmarks_xy: ``(N, 5, 2)`` in picture pixels.

    Returns:
        ``(N, 112, 112, 3)`` uint8 BGR; what lies outside the picture is black.
    """
    aligned = np.zeros((len(landmarks_xy), ALIGNED_PX, ALIGNED_PX, 3), np.uint8)
    matrices = similarity_transforms(landmarks_xy)
    for row, matrix in enumerate(matrices):
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        if scale > 1e-3:  # a face of over 100,000 pixels, or of none, is no face
            _warp(picture, matrix, scale, aligned[row])
    return aligned


def _warp(picture: Picture, matrix: F32, scale: float, out: NDArray[np.uint8]) -> None:
    """Fill `out` with one aligned face."""
    linear = matrix[:, :2]
    corners = np.array([[0, 0], [ALIGNED_PX, 0], [0, ALIGNED_PX], [ALIGNED_PX, ALIGNED_PX]], np.float32)
    source = (corners - matrix[:, 2]) @ np.linalg.inv(linear).T
    width, height = picture.size_wh
    x0, y0 = np.floor(source.min(axis=0)).astype(int) - 2
    x1, y1 = np.ceil(source.max(axis=0)).astype(int) + 2
    x0, y0, x1, y1 = max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))
    if x0 >= x1 or y0 >= y1:
        return
    crop = picture.crop_bgr(x0, y0, x1, y1)
    shrink = min(1.0, 2 * scale) if scale < 0.5 else 1.0
    if shrink < 1.0:
        size = (max(1, round(crop.shape[1] * shrink)), max(1, round(crop.shape[0] * shrink)))
        factors = np.array([crop.shape[1] / size[0], crop.shape[0] / size[1]], np.float32)
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        factors = np.ones(2, np.float32)
    local = np.empty((2, 3), np.float32)
    local[:, :2] = linear * factors
    # Pixel centres: a point p of the shrunk crop lies at (p + 0.5) * factors - 0.5 of the crop itself.
    local[:, 2] = matrix[:, 2] + linear @ (np.array([x0, y0], np.float32) + factors / 2 - 0.5)
    out[:] = cv2.warpAffine(crop, local, (ALIGNED_PX, ALIGNED_PX), flags=cv2.INTER_LINEAR)


def stack_aligned(parts: Sequence[U8Image]) -> U8Image:
    """Aligned faces of several pictures as one batch, rows in order; ``(0, 112, 112, 3)`` for none."""
    if not parts:
        return np.empty((0, ALIGNED_PX, ALIGNED_PX, 3), np.uint8)
    return parts[0] if len(parts) == 1 else np.concatenate(list(parts))
