"""Decoding by NVIDIA DALI, the `gpu` extra. The door to DALI.

It takes files, not packets, so that it is fed groups of pictures (`group`): for a recording that makes no difference;
a live camera's pictures come a group late, which for most cameras is one to four seconds. For live cameras `nvdec` is
the better choice; DALI is there for recordings, and for cameras whose every picture is a key frame (MJPEG).

The graph is the same on a CPU, where DALI decodes VP8, VP9 and MJPEG alone: so it is tested. On a GPU it has not run.
"""

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from streams.errors import PictureError
from streams.frame import Picture
from streams.group import GroupSplitter, file_of, shown_order
from streams.media import Damaged, Decoded
from streams.picture import ArrayPicture, UprightPicture

if TYPE_CHECKING:
    from av.packet import Packet

CPU_CODECS: Final = frozenset({"vp8", "vp9", "mjpeg"})
"""What DALI 2.4 decodes without a GPU; FFmpeg's names."""

_INPUT: Final = "group"
_PICTURES_A_RUN: Final = 4
"""So many decoded pictures are held at once: at 1080p 25 MB."""
_MOST_BYTES: Final = 256 << 20
"""Of one group: beyond it the stream has no key frames to cut it at."""


def is_installed() -> bool:
    """Whether DALI is there; it is not imported."""
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def graph(device_id: int | None) -> Any:
    """A pipeline that takes a file of one group and gives its pictures, (F, H, W, 3) uint8 RGB, a few a run.

    Args:
        device_id: CUDA's number of the GPU; None for the CPU. Nothing else differs between the two.
    """
    from nvidia.dali import Pipeline, fn

    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        pictures = fn.experimental.inputs.video(
            name=_INPUT,
            device="cpu" if device_id is None else "mixed",
            sequence_length=_PICTURES_A_RUN,
            last_sequence_policy="partial",
        )
        pipeline.set_outputs(pictures)
    pipeline.build()
    return pipeline


class DaliDecoder:
    """Turns the packets of one stream into pictures. Used by one thread."""

    def __init__(self, stream: VideoStream, *, device_id: int | None) -> None:
        """Prepare; the graph is built with the first group.

        Args:
            stream: Where the packets come from.
            device_id: See `graph`.
        """
        self._stream = stream
        self._codec = stream.codec_context.name
        self._device_id = device_id
        self._splitter = GroupSplitter()
        self._pipeline: Any = None
        self._quarter_turns: int | None = None

    def decode(self, packet: "Packet[VideoStream] | None") -> Iterator[Decoded | Damaged]:
        """Take the next packet, None or an empty one at the end; yield the pictures of a group that it completes.

        Pictures come in the order in which they are shown, with the times of their packets.

        Raises:
            PictureError: A group is longer than can be held.
        """
        if packet is None or packet.dts is None:
            for group in self._splitter.flush():
                yield from self._pictures(group)
            return
        done = self._splitter.add(packet)
        if done is not None:
            yield from self._pictures(done)
        if self._splitter.size_bytes > _MOST_BYTES:
            raise PictureError(
                f"{_MOST_BYTES >> 20} MiB without a key frame to cut at, which is more than DALI is given at once; "
                "decode it with cpu or nvdec"
            )

    def close(self) -> None:
        """Let go of the graph, its threads and its memory. May be called again."""
        self._pipeline = None

    def _pictures(self, group: "list[Packet[VideoStream]]") -> Iterator[Decoded | Damaged]:
        if self._quarter_turns is None:
            self._quarter_turns = self._turned(group[0])
        times = shown_order(group, self._codec)
        try:
            data = np.frombuffer(file_of(group, self._stream), np.uint8)
        except av.FFmpegError as error:
            yield Damaged(detail=f"a group of {len(group)} pictures: {error.strerror}")
            return
        if self._pipeline is None:
            self._pipeline = graph(self._device_id)
        self._pipeline.feed_input(_INPUT, data[None])
        done = 0
        while done < len(times):
            try:
                rgb = np.asarray(self._pipeline.run()[0].as_cpu().at(0))
            except RuntimeError as error:
                # It may have read nothing of the group, or too few pictures; its graph is of no more use.
                self._pipeline = None
                yield Damaged(detail=_cause(error, done, len(times)))
                return
            for picture, time in zip(rgb, times[done:], strict=False):
                bgr: Picture = ArrayPicture(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8))
                if self._quarter_turns:
                    bgr = UprightPicture(bgr, quarter_turns=self._quarter_turns)
                yield Decoded(picture=bgr, pts_ns=time.pts_ns, received_ns=time.received_ns)
            done += len(rgb)
            if len(rgb) < _PICTURES_A_RUN and done < len(times):
                yield Damaged(detail=f"of a group of {len(times)} pictures, {done} could be decoded")
                return

    def _turned(self, key: "Packet[VideoStream]") -> int:
        """Quarter turns of the recording, which only FFmpeg's own decoder tells: it decodes one picture."""
        context = self._stream.codec_context
        try:
            frames = [*context.decode(key), *context.decode(None)]
        except av.FFmpegError:
            return 0
        return round(frames[0].rotation / 90) % 4 if frames else 0


def _cause(error: RuntimeError, done: int, wanted: int) -> str:
    """DALI's own words without its traceback and where in its source they come from."""
    lines = [line.strip() for line in str(error).splitlines()]
    start = lines.index("encountered:") + 1 if "encountered:" in lines else 0
    words = next((line for line in lines[start:] if line), type(error).__name__)
    return f"of a group of {wanted} pictures, {done} could be decoded: {words[:200]}"
