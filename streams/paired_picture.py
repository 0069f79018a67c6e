"""A picture of two: small for detection from the sub stream, faces from the main stream.

It has the main stream's size, so that boxes, landmarks and events are in the main stream's pixels, and whoever uses it
need not know. Where the main stream has no picture of that moment, the sub stream's is enlarged in its place, and that
is counted: it looks the same and shows less.
"""

import threading
from collections.abc import Callable

import cv2
import numpy as np

from streams.frame import Picture, U8Image


class CropCounts:
    """Where full-resolution pixels came from. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from_main = 0
        self._from_sub = 0

    def count(self, *, from_main: bool) -> None:
        """Count one request."""
        with self._lock:
            if from_main:
                self._from_main += 1
            else:
                self._from_sub += 1

    def snapshot(self) -> tuple[int, int]:
        """Requests served from the main and from the sub stream."""
        with self._lock:
            return self._from_main, self._from_sub


class PairedPicture:
    """See the module's text. Safe to ask from several threads; waits for no stream.

    The main stream's picture is chosen at the first request for full-resolution pixels and then kept: landmarks found
    in one crop must hold in the next.
    """

    __slots__ = ("_choose", "_counts", "_lock", "_main", "_size_wh", "_sub")

    def __init__(
        self,
        sub: Picture,
        *,
        size_wh: tuple[int, int],
        choose: Callable[[], Picture | None],
        counts: CropCounts,
    ) -> None:
        """Pair a picture.

        Args:
            sub: The sub stream's.
            size_wh: The size it is to have, in pixels: the main stream's.
            choose: Gives the main stream's picture of that moment, None where there is none; called once at most, and
                must not wait.
            counts: Where requests are counted.
        """
        self._sub = sub
        self._size_wh = size_wh
        self._choose: Callable[[], Picture | None] | None = choose
        self._counts = counts
        self._lock = threading.Lock()
        self._main: Picture | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        """See `Picture.size_wh`; the main stream's."""
        return self._size_wh

    def bgr(self) -> U8Image:
        """See `Picture.bgr`; the main stream's, or the sub stream's enlarged."""
        picture = self._full()
        return picture.bgr() if picture.size_wh == self._size_wh else picture.scaled_bgr(self._size_wh)

    def scaled_bgr(self, size_wh: tuple[int, int]) -> U8Image:
        """See `Picture.scaled_bgr`; always the sub stream's."""
        return self._sub.scaled_bgr(size_wh)

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        """See `Picture.crop_bgr`; from the main stream, or from the sub stream enlarged."""
        picture = self._full()
        if picture.size_wh == self._size_wh:
            return picture.crop_bgr(x0, y0, x1, y1)
        return crop_as(picture, self._size_wh, (x0, y0, x1, y1))

    def _full(self) -> Picture:
        with self._lock:
            if self._choose is not None:
                self._main = self._choose()
                self._choose = None  # it may hold pictures
            main = self._main
        self._counts.count(from_main=main is not None)
        return self._sub if main is None else main


def crop_as(picture: Picture, size_wh: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> U8Image:
    """Cut a rectangle out of a picture as if it had another size, interpolating only what is cut.

    Args:
        picture: Of any size.
        size_wh: Width and height in which the rectangle is told.
        box_xyxy: First column and row, and those behind the last.

    Returns:
        (height, width, 3) uint8 BGR of the rectangle, clipped to `size_wh`. Pixel centres are aligned as in
        `Picture.scaled_bgr`: pixel x of `size_wh` lies at (x + 0.5) * w / W - 0.5 of the picture.
    """
    width, height = size_wh
    x0, y0, x1, y1 = box_xyxy
    x0, y0 = min(max(x0, 0), width), min(max(y0, 0), height)
    x1, y1 = min(max(x1, x0), width), min(max(y1, y0), height)
    if x0 == x1 or y0 == y1:
        return np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    own_w, own_h = picture.size_wh
    factor_x, factor_y = own_w / width, own_h / height
    # The pixels of the picture that the rectangle touches, and one more on each side to interpolate with.
    left, top = max(0, int(x0 * factor_x) - 1), max(0, int(y0 * factor_y) - 1)
    right, bottom = min(own_w, int(x1 * factor_x) + 2), min(own_h, int(y1 * factor_y) + 2)
    block = picture.crop_bgr(left, top, right, bottom)
    to_block = np.array(
        [
            [factor_x, 0.0, (x0 + 0.5) * factor_x - 0.5 - left],
            [0.0, factor_y, (y0 + 0.5) * factor_y - 0.5 - top],
        ],
        np.float64,
    )
    return np.asarray(
        cv2.warpAffine(
            block,
            to_block,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )
