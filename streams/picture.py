"""Pixels on demand: from a decoder's planes, from an array, and turned upright.

Measured on 1080p H.264, one thread, in ms: to 640x360 straight from the planes 1.1; a face of 150x150 cut from the
planes 0.07, and 0.2 for the first of a frame, whose planes are in no cache.

Scaling is swscale's AREA: each pixel is the mean of those it stands for. FAST_BILINEAR would be 0.15 ms cheaper, but it
aliases, and shifts the picture by 1.1 px at 640x360, which is 3 px of the full picture: boxes and landmarks would be
that far off. It scales the planes, and the small planes are turned into BGR by the matrix that their tags name: 0.15 ms
less than to let swscale do it, whose quick conversion is 1.6 levels too dark in green (mean difference from exact
arithmetic 0.85 levels in place of 0.35).
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from streams.errors import PictureError
from streams.frame import Picture, U8Image

_CHROMA_SHIFTS_XY: Final = {
    "yuv420p": (1, 1),
    "yuvj420p": (1, 1),
    "nv12": (1, 1),
    "yuv422p": (1, 0),
    "yuvj422p": (1, 0),
    "yuv444p": (0, 0),
    "yuvj444p": (0, 0),
}
"""8-bit layouts that crops are cut from directly: log2 of how much smaller the chroma planes are."""

_LUMA_WEIGHTS: Final = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""FFmpeg's AVColorSpace (ITU-T H.273 MatrixCoefficients) to Kr and Kb: BT.709, FCC, SMPTE 240M, BT.2020."""
_BT601: Final = (0.299, 0.114)
"""Kr and Kb of BT.601 and of everything untagged, which is what swscale takes it for, whatever its size."""
_SUPPORTED_COLORSPACES: Final = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
_BT2020_CONSTANT_LUMINANCE: Final = 10
_BT2020: Final = 9

_LAST_CONTEXTS: Final = 16


class _Contexts(threading.local):
    """Each thread's swscale contexts, by what they convert: made once, warm after, never shared by two threads."""

    def __init__(self) -> None:
        self._warm: OrderedDict[tuple[object, ...], VideoReformatter] = OrderedDict()

    def of(self, *key: object) -> VideoReformatter:
        found = self._warm.pop(key, None) or VideoReformatter()
        self._warm[key] = found
        if len(self._warm) > _LAST_CONTEXTS:
            self._warm.popitem(last=False)
        return found


_contexts = _Contexts()


class ArrayPicture:
    """A picture over an array that nobody changes any more. Safe to read from any number of threads."""

    __slots__ = ("_bgr",)

    def __init__(self, bgr: U8Image) -> None:
        """Take (H, W, 3) uint8 BGR; the array is not copied."""
        if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8 or 0 in bgr.shape:
            raise PictureError(f"a picture is (H, W, 3) uint8 with H, W > 0, got {bgr.shape} {bgr.dtype}")
        self._bgr = bgr

    @property
    def size_wh(self) -> tuple[int, int]:
        """See `Picture.size_wh`."""
        return self._bgr.shape[1], self._bgr.shape[0]

    def bgr(self) -> U8Image:
        """See `Picture.bgr`."""
        return self._bgr

    def scaled_bgr(self, size_wh: tuple[int, int]) -> U8Image:
        """See `Picture.scaled_bgr`."""
        return _scaled(self._bgr, size_wh)

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        """See `Picture.crop_bgr`."""
        x0, y0, x1, y1 = _clipped(x0, y0, x1, y1, self.size_wh)
        return self._bgr[y0:y1, x0:x1]


class DecodedPicture:
    """A picture over a decoded FFmpeg frame, converted when and as far as it is asked for.

    swscale's context is the thread's own, and PyAV changes a frame's colour tags while it converts it, so a lock
    lets one conversion of a frame run at a time. Crops from the planes take no lock.
    """

    __slots__ = ("_frame", "_full", "_lock", "_shifts_xy", "_small")

    def __init__(self, frame: av.VideoFrame) -> None:
        """Take over a decoded frame.

        Raises:
            PictureError: Its colour space is one that swscale cannot convert.
        """
        if frame.colorspace == _BT2020_CONSTANT_LUMINANCE:
            frame.colorspace = _BT2020  # as near as swscale gets
        if frame.colorspace not in _SUPPORTED_COLORSPACES:
            raise PictureError(
                f"colour space {frame.colorspace} (ITU-T H.273) cannot be converted; set the camera or encode the "
                "recording to BT.709 or BT.601"
            )
        self._frame = frame
        self._lock = threading.Lock()
        self._full: U8Image | None = None
        self._small: tuple[tuple[int, int], U8Image] | None = None
        self._shifts_xy = _CHROMA_SHIFTS_XY.get(frame.format.name)

    @property
    def size_wh(self) -> tuple[int, int]:
        """See `Picture.size_wh`."""
        return self._frame.width, self._frame.height

    def bgr(self) -> U8Image:
        """See `Picture.bgr`. Kept, so that asking again costs nothing."""
        with self._lock:
            if self._full is None:
                width, height = self.size_wh
                shifts_xy = self._shifts_xy
                self._full = (
                    self._converted((width, height)) if shifts_xy is None else self._cut(0, 0, width, height, shifts_xy)
                )
            return self._full

    def scaled_bgr(self, size_wh: tuple[int, int]) -> U8Image:
        """See `Picture.scaled_bgr`. The last size is kept, so that one thread can scale what another will ask for."""
        _check_size(size_wh)
        if size_wh == self.size_wh:
            return self.bgr()
        with self._lock:
            if self._small is None or self._small[0] != size_wh:
                self._small = size_wh, self._converted(size_wh)
            return self._small[1]

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        """See `Picture.crop_bgr`."""
        x0, y0, x1, y1 = _clipped(x0, y0, x1, y1, self.size_wh)
        if x0 == x1 or y0 == y1:
            return np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        full = self._full
        if full is not None or self._shifts_xy is None:
            return (self.bgr() if full is None else full)[y0:y1, x0:x1]
        return self._cut(x0, y0, x1, y1, self._shifts_xy)

    def _converted(self, size_wh: tuple[int, int]) -> U8Image:
        """Scale by swscale; YUV stays YUV until it is small, see above."""
        frame = self._frame
        wanted = "bgr24" if self._shifts_xy is None else "yuvj444p" if self._full_range else "yuv444p"
        context = _contexts.of(frame.format.name, frame.width, frame.height, frame.colorspace, size_wh)
        scaled = context.reformat(
            frame,
            width=size_wh[0],
            height=size_wh[1],
            format=wanted,
            interpolation=Interpolation.AREA,
            threads=1,  # PyAV's default starts a thread a core for each context
        )
        if self._shifts_xy is None:
            return np.asarray(scaled.to_ndarray(), np.uint8)
        return self._bgr_of([_plane(scaled, index)[: size_wh[1], : size_wh[0]] for index in range(3)])

    def _cut(self, x0: int, y0: int, x1: int, y1: int, shifts_xy: tuple[int, int]) -> U8Image:
        """Convert a rectangle of 8-bit YUV planes; chroma is repeated, as swscale does where it does not scale."""
        frame = self._frame
        shift_x, shift_y = shifts_xy
        # Chroma samples that the rectangle touches, and where that block begins in luma.
        cx0, cy0 = x0 >> shift_x, y0 >> shift_y
        cx1, cy1 = ((x1 - 1) >> shift_x) + 1, ((y1 - 1) >> shift_y) + 1
        luma = _plane(frame, 0)[y0:y1, x0:x1]
        if frame.format.name == "nv12":
            chroma = _plane(frame, 1)[cy0:cy1, 2 * cx0 : 2 * cx1].reshape(cy1 - cy0, cx1 - cx0, 2)
            u, v = chroma[..., 0], chroma[..., 1]
        else:
            u, v = (_plane(frame, i)[cy0:cy1, cx0:cx1] for i in (1, 2))
        inside = np.s_[y0 - (cy0 << shift_y) : y1 - (cy0 << shift_y), x0 - (cx0 << shift_x) : x1 - (cx0 << shift_x)]
        block_wh = ((cx1 - cx0) << shift_x, (cy1 - cy0) << shift_y)
        chroma_of_luma = [
            np.asarray(cv2.resize(plane, block_wh, interpolation=cv2.INTER_NEAREST)[inside], np.uint8)
            for plane in (u, v)
        ]
        return self._bgr_of([luma, *chroma_of_luma])

    def _bgr_of(self, planes: Sequence[U8Image]) -> U8Image:
        """BGR of luma and two planes of chroma of the same size."""
        matrix = _bgr_from_yuv(self._frame.colorspace, full_range=self._full_range)
        return np.asarray(cv2.transform(cv2.merge(planes), matrix), np.uint8)

    @property
    def _full_range(self) -> bool:
        return self._frame.format.name.startswith("yuvj") or self._frame.color_range == ColorRange.JPEG


class UprightPicture:
    """A picture that was recorded turned, as telephones do, made upright."""

    __slots__ = ("_quarter_turns", "_turned")

    def __init__(self, turned: Picture, *, quarter_turns: int) -> None:
        """Wrap a picture.

        Args:
            turned: The picture as it was recorded.
            quarter_turns: How often to turn it counter-clockwise by 90 degrees; 1, 2 or 3.
        """
        if quarter_turns not in {1, 2, 3}:
            raise PictureError(f"a picture is turned by 1, 2 or 3 quarters, got {quarter_turns}")
        self._turned = turned
        self._quarter_turns = quarter_turns

    @property
    def size_wh(self) -> tuple[int, int]:
        """See `Picture.size_wh`."""
        return self._swapped(self._turned.size_wh)

    def bgr(self) -> U8Image:
        """See `Picture.bgr`."""
        return self._upright(self._turned.bgr())

    def scaled_bgr(self, size_wh: tuple[int, int]) -> U8Image:
        """See `Picture.scaled_bgr`."""
        return self._upright(self._turned.scaled_bgr(self._swapped(size_wh)))

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        """See `Picture.crop_bgr`."""
        x0, y0, x1, y1 = _clipped(x0, y0, x1, y1, self.size_wh)
        w, h = self._turned.size_wh
        # Where the rectangle lay before turning counter-clockwise: the upright top is the recorded right, ...
        match self._quarter_turns:
            case 1:
                box = (w - y1, x0, w - y0, x1)
            case 2:
                box = (w - x1, h - y1, w - x0, h - y0)
            case _:
                box = (y0, h - x1, y1, h - x0)
        return self._upright(self._turned.crop_bgr(*box))

    def _swapped(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        return (size_wh[1], size_wh[0]) if self._quarter_turns % 2 else size_wh

    def _upright(self, image: U8Image) -> U8Image:
        return np.ascontiguousarray(np.rot90(image, self._quarter_turns))


def _plane(frame: av.VideoFrame, index: int) -> U8Image:
    """A view of a plane's rows with their padding, (rows, line size) uint8."""
    plane = frame.planes[index]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)


@cache
def _bgr_from_yuv(colorspace: int, *, full_range: bool) -> npt.NDArray[np.float32]:
    """(3, 4) f32 that makes blue, green, red out of (y, u, v, 1), all of 0..255; ITU-T H.273, clause 8.3."""
    kr, kb = _LUMA_WEIGHTS.get(colorspace, _BT601)
    kg = 1.0 - kr - kb
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255.0 / 219.0, 255.0 / 224.0, 16.0)
    red_v, blue_u = 2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma
    matrix = np.array(
        [[luma, blue_u, 0.0], [luma, -blue_u * kb / kg, -red_v * kr / kg], [luma, 0.0, red_v]], np.float64
    )
    offset = -matrix @ np.array([black, 128.0, 128.0])
    return np.hstack([matrix, offset[:, None]]).astype(np.float32)


def _scaled(bgr: U8Image, size_wh: tuple[int, int]) -> U8Image:
    _check_size(size_wh)
    height, width = bgr.shape[:2]
    if size_wh == (width, height):
        return bgr
    # INTER_AREA is a mean only where it shrinks; where it enlarges it repeats pixels.
    shrinks = size_wh[0] <= width and size_wh[1] <= height
    return np.asarray(cv2.resize(bgr, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)


def _check_size(size_wh: tuple[int, int]) -> None:
    if min(size_wh) < 1:
        raise PictureError(f"a picture is scaled to at least 1x1, got (width, height) {size_wh}")


def _clipped(x0: int, y0: int, x1: int, y1: int, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a rectangle that is inside a picture; of no width or height where none is."""
    width, height = size_wh
    x0, y0 = min(max(int(x0), 0), width), min(max(int(y0), 0), height)
    return x0, y0, min(max(int(x1), x0), width), min(max(int(y1), y0), height)
