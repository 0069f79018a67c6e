"""Pictures to distil and to compare on, composed of photos and frames without labels.

Photos for a gallery show one face each, large and in the middle; cameras show several, small and anywhere. So a
composed picture is a grid of patches, each cut at random out of a photo and scaled: the finer the grid, the smaller the
faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from weights.errors import BadTrainingData

U8 = NDArray[np.uint8]

PATCHES_PX: Final = (0, 0, 240, 160, 160, 107, 80, 53, 40)
"""Sides of patches, one of them at random for a picture; 0 is the whole. A face has a third to a half of that."""

CACHE_BYTES: Final = 1 << 30
"""Decoded photos that are kept; a folder with more is read again and again."""


class Photos:
    """Photos by number, decoded when first asked for.

    Args:
        count: How many there are.
        read: ``(H, W, 3)`` uint8 BGR of one; raises what it likes for one that can't be read.
    """

    def __init__(self, count: int, read: Callable[[int], U8]) -> None:
        if not count:
            raise BadTrainingData("there are no pictures to learn from")
        self._count = count
        self._read = read
        self._kept: dict[int, U8] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> U8:
        known = self._kept.get(number)
        if known is not None:
            return known
        photo = self._read(number)
        if self._kept_bytes + photo.nbytes <= CACHE_BYTES:
            self._kept[number] = photo
            self._kept_bytes += photo.nbytes
        return photo


class Composer:
    """Composes pictures; the same generator gives the same pictures. One thread uses it.

    Args:
        photos: What is composed.
        chosen: The numbers of those that may be used.
        size_wh: Of a composed picture, in pixels.
        fill_bgr: The colour of what no photo covers.
        generator: Of all that is random.
        harsh: Also change light, colour, sharpness and noise, as cameras do; without it photos are only cut and scaled.
    """

    def __init__(
        self,
        photos: Photos,
        chosen: Sequence[int],
        *,
        size_wh: tuple[int, int],
        fill_bgr: tuple[int, int, int],
        generator: np.random.Generator,
        harsh: bool = True,
    ) -> None:
        if not chosen:
            raise BadTrainingData("there are no pictures to compose from")
        self._photos = photos
        self._chosen = np.asarray(chosen)
        self._size_wh = size_wh
        self._fill = fill_bgr
        self._random = generator
        self._harsh = harsh

    def batch(self, count: int) -> U8:
        """``(count, H, W, 3)`` uint8 BGR."""
        return np.stack([self.picture() for _ in range(count)])

    def picture(self, patch_px: int | None = None) -> U8:
        """One composed picture ``(H, W, 3)`` uint8 BGR, of patches of a side, 0 for a single one, or of any side."""
        width, height = self._size_wh
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = self._fill
        side = int(self._random.choice(PATCHES_PX)) if patch_px is None else patch_px
        if not side or side >= max(width, height):
            _paste(canvas, self._patch(width, height), 0, 0)
            return self._weathered(canvas) if self._harsh else canvas
        shift_x, shift_y = (int(self._random.integers(0, side)) for _ in range(2))
        for top in range(-shift_y, height, side):
            for left in range(-shift_x, width, side):
                if self._random.random() < 0.1:
                    continue  # a hole: nothing but the fill
                _paste(canvas, self._patch(side, side), left, top)
        return self._weathered(canvas) if self._harsh else canvas

    def _patch(self, width: int, height: int) -> U8:
        """A part of a photo, or the whole of it, scaled to fill a patch, perhaps mirrored."""
        photo = self._photos[int(self._random.choice(self._chosen))]
        tall, wide = photo.shape[:2]
        part = float(self._random.uniform(0.45, 1.0))
        scale = max(width / (wide * part), height / (tall * part))
        cut_w, cut_h = min(wide, round(width / scale)), min(tall, round(height / scale))
        x = int(self._random.integers(0, wide - cut_w + 1))
        y = int(self._random.integers(0, tall - cut_h + 1))
        patch = cv2.resize(
            photo[y : y + cut_h, x : x + cut_w],
            (width, height),
            # Averaging costs three times as much, and matters where pixels would be skipped.
            interpolation=cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR,
        )
        return np.asarray(patch[:, ::-1] if self._random.random() < 0.5 else patch, np.uint8)

    def _weathered(self, picture: U8) -> U8:
        random = self._random
        if random.random() < 0.3:
            sigma = float(random.uniform(0.4, 1.6))
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
        if random.random() < 0.1:
            picture = np.repeat(picture.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        gains = random.uniform(0.4, 1.3) * random.uniform(0.92, 1.08, 3)
        offset = random.uniform(-20, 20)
        light = np.clip(np.arange(256)[:, None] * gains + offset, 0, 255).astype(np.uint8)
        picture = np.asarray(cv2.LUT(picture, light[None]), np.uint8)
        if random.random() < 0.3:
            # The same noise for the three channels, a quarter of the numbers to draw.
            noise = random.integers(-12, 13, picture.shape[:2], np.int16)[..., None]
            picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        return picture


def _paste(canvas: U8, patch: U8, left: int, top: int) -> None:
    height, width = canvas.shape[:2]
    tall, wide = patch.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + wide), min(height, top + tall)
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
