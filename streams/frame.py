"""A frame: what a camera delivers, pixels behind a protocol and everything else in `FrameMeta`."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

U8Image: TypeAlias = npt.NDArray[np.uint8]
"""Pixels, (H, W, 3) uint8, colour order blue, green, red."""


class Picture(Protocol):
    """Decoded pixels that are converted only when and as far as they are asked for.

    Several threads may hold the same picture and ask at any time; their requests are served one after the other.
    What is returned belongs to the caller for reading; whether it shares memory with the picture is not promised,
    so nobody writes into it.
    """

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels, as it is to be shown (a rotated recording is upright)."""
        ...

    def bgr(self) -> U8Image:
        """The whole picture, (H, W, 3) uint8 BGR."""
        ...

    def scaled_bgr(self, size_wh: tuple[int, int]) -> U8Image:
        """The whole picture scaled to `size_wh`, (h, w, 3) uint8 BGR, aspect ratio not kept.

        Pixels are averaged over their area, and centres are aligned: pixel x of the result covers pixels
        x * W / w to (x + 1) * W / w of the picture.
        """
        ...

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        """Full-resolution pixels of columns x0 to x1 and rows y0 to y1, ends excluded, uint8 BGR.

        The rectangle is clipped to the picture. One that lies wholly outside gives an array with no pixels.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMeta:
    """Where and when a frame comes from."""

    camera: str
    """Camera id."""
    epoch: int
    """Counts the camera's connections; frames of different epochs have unrelated times and indices."""
    index: int
    """0-based within the epoch; counts decoded frames and those left undecoded under overload; frames that were lost on
    the way leave no gap."""
    pts_ns: int
    """Media time in ns since the epoch's first frame; always grows."""
    captured_ns: int
    """Unix ns. Live: when the frame was received. Recorded: when the recording was opened, plus `pts_ns`."""
    received_ns: int
    """Monotonic ns. Live: when its first packet arrived, before it was decoded; a recording in real time: when its turn
    had come. Recorded: when it was read. The age of whatever is decided about it counts from here."""
    arrived_ns: int
    """Monotonic ns when decoding finished."""
    size_wh: tuple[int, int]
    """Width and height in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame."""

    meta: FrameMeta
    picture: Picture
