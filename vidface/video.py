"""Pictures to a video file that every player and browser shows: MP4 with H.264, the index in front."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from pipeline.errors import ShapeError
from pipeline.faces import U8Image

_CODECS: Final = (
    ("libx264", {"preset": "veryfast", "crf": "21"}),
    ("mpeg4", {"qscale": "3"}),
)
"""The first that this build of FFmpeg has: builds without GPL parts lack x264."""


class VideoWriter:
    """Writes one MP4 file; a context manager. One thread uses it.

    The file is complete when the context is left, by an error too: what was written until then can be played. A side
    of an odd number of pixels is widened by one, which H.264 with 4:2:0 colour needs.

    Args:
        path: The file; replaced if it is there.
        size_wh: Width and height of every picture, in pixels.
        fps: Frames a second.
        threads: CPU threads of the encoder.
    """

    def __init__(self, path: Path, *, size_wh: tuple[int, int], fps: float, threads: int = 2) -> None:
        self._path = path
        self._size_wh = size_wh
        self._rate = Fraction(fps).limit_denominator(1001)
        self._threads = threads
        self._count = 0
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            OSError: It can't be written.
        """
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "faststart"})
        try:
            self._stream = self._new_stream()
            self._container.start_encoding()  # which makes the file: better told here than at the first picture
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._count:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    @property
    def frame_count(self) -> int:
        """Frames written so far."""
        return self._count

    def write(self, bgr: U8Image) -> None:
        """Append one picture, ``(H, W, 3)`` uint8 BGR.

        Raises:
            ShapeError: It is of another size than the video.
            OSError: The file can't be written.
        """
        width, height = self._size_wh
        if bgr.shape != (height, width, 3):
            raise ShapeError(f"{self._path}: expected a picture of shape ({height}, {width}, 3), got {bgr.shape}")
        even = np.pad(bgr, ((0, height % 2), (0, width % 2), (0, 0)), "edge") if height % 2 or width % 2 else bgr
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(even), format="bgr24"),
            format="yuv420p",
            # Said and done: players guess BT.601 or BT.709 by the size of a video that does not say.
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts = self._count
        frame.time_base = 1 / self._rate
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def _new_stream(self) -> VideoStream:
        codec, options = next((each for each in _CODECS if each[0] in av.codecs_available), _CODECS[-1])
        stream = self._container.add_stream(codec, rate=self._rate, options=options)
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{codec} makes no video")
        width, height = self._size_wh
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = self._threads
        context.colorspace = int(Colorspace.ITU709)
        context.color_range = int(ColorRange.MPEG)
        context.color_primaries = context.color_trc = 1  # BT.709, ITU-T H.273
        return stream
