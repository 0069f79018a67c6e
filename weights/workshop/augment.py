"""A training picture as it might also have been: another part of it, other light, mirrored, blurred.

The order and the ranges are those that detectors of this family are trained with: Liu et al., "SSD: Single Shot
MultiBox Detector", 2016 (light), and the published RetinaFace (square crops). All chance comes from the generator that
is passed in: the same generator gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from weights.errors import WorkshopError
from weights.workshop.labels import LabelledFaces
from weights.workshop.pictures import U8Picture

MIRRORED = [1, 0, 2, 4, 3]
"""Landmarks are named by their side of the picture, which mirroring swaps."""

_CROP_TRIES = 50
_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How much a picture may change; probabilities are 0..1.

    Attributes:
        crop_scales: One of them times the picture's shorter side is the side of the square that is cut out; empty for
            the whole picture, always.
        flip: Probability of mirroring.
        brightness: Largest shift of all channels, of 255; 0 for none. Each kind of light changes in half of the
            pictures.
        contrast: All channels are multiplied by ``1 / (1 + contrast)`` to ``1 + contrast``.
        saturation: Likewise, of the colours' strength.
        hue_deg: Largest turn of the colours.
        blur: Probability of a Gaussian blur.
        blur_sigma_px: Its range, in pixels of the training size.
        darken: Probability of darkening.
        darken_gain: The range of what all channels are then multiplied by.
        noise: Probability of Gaussian noise on each channel, as sensors have it in the dark.
        noise_sigma: Its range, of 255.
    """

    crop_scales: tuple[float, ...] = (0.3, 0.45, 0.6, 0.8, 1.0)
    flip: float = 0.5
    brightness: float = 32.0
    contrast: float = 0.5
    saturation: float = 0.5
    hue_deg: float = 36.0
    blur: float = 0.0
    blur_sigma_px: tuple[float, float] = (0.5, 3.0)
    darken: float = 0.0
    darken_gain: tuple[float, float] = (0.15, 0.6)
    noise: float = 0.0
    noise_sigma: tuple[float, float] = (1.0, 8.0)

    def __post_init__(self) -> None:
        for name in ("flip", "blur", "darken", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise WorkshopError(f"{name}={getattr(self, name)}: a probability from 0 to 1 is wanted")
        if any(not 0 < scale <= 1 for scale in self.crop_scales):
            raise WorkshopError(f"crop_scales={self.crop_scales}: each must be above 0 and at most 1")


NONE = Augmentation(crop_scales=(), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue_deg=0.0)
"""The picture as it is, only brought to the training size."""


def augment(
    picture: U8Picture,
    faces: LabelledFaces,
    rng: Generator,
    *,
    options: Augmentation,
    size_px: int,
    fill_bgr: tuple[int, int, int],
) -> tuple[U8Picture, LabelledFaces]:
    """One variant of a labelled picture, of the training size.

    Args:
        picture: ``(H, W, 3)`` uint8 BGR; it is not changed.
        faces: Its faces.
        rng: Where all chance comes from.
        options: How much may change.
        size_px: Side of the square that is trained on.
        fill_bgr: The model's mean colour, beside a picture that is not square.

    Returns:
        ``(size_px, size_px, 3)`` uint8 BGR, contiguous, and the faces in its pixels.
    """
    if options.crop_scales:
        picture, faces = crop(picture, faces, rng, options.crop_scales)
    picture = distort(picture, rng, options)
    if rng.random() < options.flip:
        picture, faces = flip(picture, faces)
    picture = pad_to_square(picture, fill_bgr)
    changes = options is not NONE
    picture, faces = resize(picture, faces, size_px, rng.choice(_INTERPOLATIONS) if changes else cv2.INTER_LINEAR)
    return degrade(picture, rng, options), faces


def crop(
    picture: U8Picture, faces: LabelledFaces, rng: Generator, scales: tuple[float, ...]
) -> tuple[U8Picture, LabelledFaces]:
    """A random square of the picture that has at least one whole face, where the picture has any.

    Faces whose centre is outside go; the boxes of the others end at the edge, as those of faces at a picture's edge do.
    Landmarks stay where they are, also outside: a face is aligned by where its mouth is, seen or not. Where no such
    square is found by chance, the picture stays whole.
    """
    height, width = picture.shape[:2]
    boxes = faces.boxes_xyxy
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for _ in range(_CROP_TRIES):
        side = max(1, int(rng.choice(scales) * min(width, height)))
        left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
        low, high = np.array([left, top], np.float32), np.array([left + side, top + side], np.float32)
        if len(faces) and not np.any(np.all((boxes[:, :2] >= low) & (boxes[:, 2:] <= high), axis=1)):
            continue
        stay = faces[np.all((centres > low) & (centres < high), axis=1)].moved((-left, -top))
        inside = LabelledFaces(
            boxes_xyxy=np.clip(stay.boxes_xyxy, 0, side),
            landmarks_xy=stay.landmarks_xy,
            has_landmarks=stay.has_landmarks,
        )
        return picture[top : top + side, left : left + side], inside
    return picture, faces


def distort(picture: U8Picture, rng: Generator, options: Augmentation) -> U8Picture:
    """Other light: brightness, contrast, saturation and hue, each in half of the pictures."""
    chances = rng.random(4) < 0.5
    shift = rng.uniform(-options.brightness, options.brightness)
    contrast, saturation = (
        np.exp(rng.uniform(-1, 1) * np.log1p(most)) for most in (options.contrast, options.saturation)
    )
    turn = rng.uniform(-options.hue_deg, options.hue_deg)
    gain = contrast if chances[1] else 1.0
    offset = shift if chances[0] else 0.0
    if gain != 1.0 or offset:
        picture = _rounded(picture * np.float32(gain) + np.float32(offset))
    if (chances[2] and saturation != 1.0) or (chances[3] and turn):
        hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        if chances[2]:
            hsv[..., 1] = _rounded(hsv[..., 1] * np.float32(saturation))
        if chances[3]:
            # OpenCV's hue is half of its degrees.
            hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(turn / 2)) % 180
        picture = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
    return picture


def flip(picture: U8Picture, faces: LabelledFaces) -> tuple[U8Picture, LabelledFaces]:
    """The picture mirrored left to right; eyes and mouth corners change their names."""
    width = picture.shape[1]
    boxes = faces.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - faces.boxes_xyxy[:, [2, 0]]
    points = faces.landmarks_xy[:, MIRRORED].copy()
    points[..., 0] = width - points[..., 0]
    mirrored = LabelledFaces(boxes_xyxy=boxes, landmarks_xy=points, has_landmarks=faces.has_landmarks)
    return picture[:, ::-1], mirrored


def pad_to_square(picture: U8Picture, fill_bgr: tuple[int, int, int]) -> U8Picture:
    """The picture at the top left of a square of a colour, as the pipeline's canvas has it."""
    height, width = picture.shape[:2]
    if height == width:
        return picture
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill_bgr
    square[:height, :width] = picture
    return square


def resize(
    picture: U8Picture, faces: LabelledFaces, size_px: int, interpolation: int = cv2.INTER_LINEAR
) -> tuple[U8Picture, LabelledFaces]:
    """The square picture with another side, and its faces with it."""
    factor = size_px / picture.shape[0]
    if picture.shape[0] != size_px:
        picture = cv2.resize(np.ascontiguousarray(picture), (size_px, size_px), interpolation=int(interpolation))  # type: ignore[assignment]
    return np.ascontiguousarray(picture, np.uint8), faces.moved((0, 0), (factor, factor))


def degrade(picture: U8Picture, rng: Generator, options: Augmentation) -> U8Picture:
    """A worse camera: blur, then little light, then noise, each with its own probability."""
    if rng.random() < options.blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(*options.blur_sigma_px)), np.uint8)
    if rng.random() < options.darken:
        picture = _rounded(picture * np.float32(rng.uniform(*options.darken_gain)))
    if rng.random() < options.noise:
        sigma = np.float32(rng.uniform(*options.noise_sigma))
        picture = _rounded(picture + sigma * rng.standard_normal(picture.shape, np.float32))
    return picture


def _rounded(picture: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> U8Picture:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
