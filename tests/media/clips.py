"""Recipes. Each function writes one clip into a folder and returns its path."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from streams.frame import U8Image

_BITS: Final = 10
_CELL_PX: Final = 8
SMALLEST_WIDTH_PX: Final = _BITS * _CELL_PX


def numbered(number: int, size_wh: tuple[int, int] = (160, 120)) -> U8Image:
    """A picture: a colour gradient, a square that moves with the number, the number itself in black and white cells.

    The cells are the top row, 10 of 8x8 px, the lowest bit first: large enough to survive any codec.
    """
    width, height = size_wh
    if width < SMALLEST_WIDTH_PX or not 0 <= number < 2**_BITS:
        raise ValueError(f"numbers are 0..{2**_BITS - 1}, pictures at least {SMALLEST_WIDTH_PX} px wide")
    x = np.linspace(40, 200, width, dtype=np.float32)
    y = np.linspace(40, 200, height, dtype=np.float32)[:, None]
    bgr = np.stack([x + 0 * y, 0 * x + y, 240 - (x + y) / 2], axis=2).astype(np.uint8)
    left = (number * 5) % max(1, width - 24)
    cv2.rectangle(bgr, (left, height // 2), (left + 24, height // 2 + 24), (30, 60, 220), cv2.FILLED)
    for bit in range(_BITS):
        bgr[:_CELL_PX, bit * _CELL_PX : (bit + 1) * _CELL_PX] = 255 if number >> bit & 1 else 0
    return np.asarray(bgr, np.uint8)


def number_of(bgr: U8Image) -> int:
    """The number in a picture's cells."""
    centres = np.arange(_BITS) * _CELL_PX + _CELL_PX // 2
    lit = bgr[_CELL_PX // 2, centres].mean(axis=1) > 127
    return int(sum(1 << bit for bit in range(_BITS) if lit[bit]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a clip is encoded."""

    codec: str = "libx264"
    frames: int = 50
    fps: int = 25
    size_wh: tuple[int, int] = (160, 120)
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "g": "10", "bf": "0"})


MOVING: Final = Recipe()
B_FRAMES: Final = Recipe(options={"preset": "veryfast", "g": "25", "bf": "3", "b_strategy": "0"})
ODD_SIZE: Final = Recipe(size_wh=(161, 121), pixel_format="yuv444p", options={"preset": "ultrafast", "g": "10"})
VP9: Final = Recipe(codec="libvpx-vp9", frames=20, options={"deadline": "realtime", "cpu-used": "8", "g": "10"})
MJPEG: Final = Recipe(codec="mjpeg", frames=10, pixel_format="yuvj422p", options={})


def clip(path: Path, recipe: Recipe = MOVING) -> Path:
    """Pictures 0, 1, 2 ... encoded as the recipe says; the container is the suffix's. MP4 has its index in front."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(recipe.codec, rate=recipe.fps, options=recipe.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = recipe.size_wh
        stream.pix_fmt = recipe.pixel_format
        stream.codec_context.thread_count = 1
        for number in range(recipe.frames):
            frame = av.VideoFrame.from_ndarray(numbered(number, recipe.size_wh), format="bgr24")
            frame.pts = number
            frame.time_base = Fraction(1, recipe.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def truncated(path: Path, *, keep: float = 0.6, recipe: Recipe = MOVING) -> Path:
    """A clip whose file was cut off; its index, if any, is in front and promises all of it."""
    whole = clip(path.with_stem(f"{path.stem}-whole"), recipe)
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def corrupted(path: Path, *, bad: Sequence[int] = range(20, 30), recipe: Recipe = MOVING) -> Path:
    """A clip in which the packets of these places hold noise."""
    whole = clip(path.with_stem(f"{path.stem}-whole"), recipe)
    noise = np.random.default_rng(0)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream_in = source.streams.video[0]
        stream_out = target.add_stream_from_template(stream_in)
        for place, packet in enumerate(source.demux(stream_in)):
            if packet.dts is None:
                continue
            sent: av.Packet[Any] = packet
            if place in bad:
                # A legal length in front, so that it is the decoder and not the container who finds out.
                size = max(64, packet.size)
                body = noise.integers(0, 256, size - 4, dtype=np.uint8).tobytes()
                sent = av.Packet((size - 4).to_bytes(4, "big") + body)
                sent.pts, sent.dts, sent.time_base = packet.pts, packet.dts, packet.time_base
                sent.is_keyframe = packet.is_keyframe
            sent.stream = stream_out
            target.mux(sent)
    return path


def without_video(path: Path) -> Path:
    """A file that holds sound alone: a tenth of a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def image_folder(path: Path, *, count: int = 12, size_wh: tuple[int, int] = (160, 120)) -> Path:
    """PNG images img0.png ... img11.png, numbered as people do, beside a file that is no image."""
    path.mkdir(parents=True)
    for number in range(count):
        done, data = cv2.imencode(".png", numbered(number, size_wh))
        assert done
        (path / f"img{number}.png").write_bytes(data.tobytes())
    (path / "notes.txt").write_text("not an image\n")
    return path
