"""Pictures on their way into a network: read from a file, stacked as uint8, prepared as the manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weights.errors import BadTrainingData
from weights.manifest import Colour, ModelSpec

U8Picture = NDArray[np.uint8]

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
"""File names that are taken for pictures in a folder."""


def read_picture(path: Path) -> U8Picture:
    """Decode a picture file, turned upright as its EXIF data says.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        BadTrainingData: The file can't be read, is no picture, or is damaged.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise BadTrainingData(f"{path}: the picture can't be read ({error.strerror or error})") from error
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except cv2.error as error:  # more pixels than OpenCV's own limit
        raise BadTrainingData(f"{path}: the picture can't be decoded ({error.err or error})") from error
    if picture is None:
        raise BadTrainingData(f"{path}: not a picture, or damaged; remove it from the labels, or mend it")
    return np.asarray(picture, np.uint8)


def fill_bgr(spec: ModelSpec) -> tuple[int, int, int]:
    """The model's mean colour as a BGR pixel: zero once prepared, as convolutions pad."""
    first, second, third = (round(value) for value in spec.mean)
    return (third, second, first) if spec.colour is Colour.RGB else (first, second, third)


def prepared(pictures: U8Picture, *, mean: Sequence[float], scale: float) -> NDArray[np.float32]:
    """``(pixel - mean) * scale`` on pictures that are in the model's colour order.

    Args:
        pictures: ``(B, H, W, 3)`` uint8.
        mean: The manifest's.
        scale: The manifest's.

    Returns:
        ``(B, 3, H, W)`` float32, contiguous.
    """
    values = (pictures.astype(np.float32) - np.asarray(mean, np.float32)) * np.float32(scale)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


class Preparation(nn.Module):
    """``(pixel - mean) * scale`` in the model's colour order, as the first step of a learner.

    Pictures travel from the reading processes and to a device as uint8, at a quarter of the bytes.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.scale = spec.scale
        self.flip = spec.colour is Colour.RGB
        # No part of the weights: the manifest says it.
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """``(B, H, W, 3)`` uint8 BGR to ``(B, 3, H, W)`` float32."""
        planes = pictures.permute(0, 3, 1, 2)
        if self.flip:
            planes = planes.flip(1)
        return (planes.float() - self.mean) * self.scale
