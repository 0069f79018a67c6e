"""Groups of pictures: runs of packets that can be decoded by themselves, and a file of each in memory.

A decoder that takes whole files, as DALI's does, is fed a live stream or a long recording in such pieces. Each begins
with a key frame. Where pictures that are shown before the key frame follow it (an open group), they refer to the group
before, so that no cut is made there.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av
from av.video.stream import VideoStream

from streams.timeline import NS_PER_S

if TYPE_CHECKING:
    from av.packet import Packet

_VP8_SHOWN: Final = 0x10
"""Bit of a VP8 packet's first byte: the picture is shown (RFC 6386, section 9.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAt:
    """When a picture is shown and when its packet came."""

    pts_ns: int | None
    received_ns: int | None


class GroupSplitter:
    """Collects packets, in decoding order, into groups. What comes before the first key frame is dropped."""

    def __init__(self) -> None:
        self._group: list[Packet[VideoStream]] = []
        self._key: Packet[VideoStream] | None = None  # begins the next group, if what follows does not lean on this one
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Of the packets that wait for their group to be complete."""
        return self._size_bytes

    def add(self, packet: "Packet[VideoStream]") -> "list[Packet[VideoStream]] | None":
        """Take the next packet; the group before, if it is now known to be complete."""
        done: list[Packet[VideoStream]] | None = None
        if self._key is not None:
            if _leads(packet, self._key):
                self._group.append(self._key)
            else:
                done, self._group = self._group, [self._key]
                self._size_bytes = self._key.size
            self._key = None
        self._size_bytes += packet.size
        if packet.is_keyframe and self._group:
            self._key = packet
        elif packet.is_keyframe or self._group:
            self._group.append(packet)
        else:
            self._size_bytes = 0
        return done

    def flush(self) -> "Iterator[list[Packet[VideoStream]]]":
        """What is left, at the end of the stream."""
        group, key = self._group, self._key
        self._group, self._key, self._size_bytes = [], None, 0
        if group:
            yield group
        if key is not None:
            yield [key]


def _leads(packet: "Packet[VideoStream]", key: "Packet[VideoStream]") -> bool:
    return packet.pts is not None and key.pts is not None and packet.pts < key.pts


def shown_order(group: "Sequence[Packet[VideoStream]]", codec: str) -> list[ShownAt]:
    """The times of a group's pictures in the order in which they are shown, which is the order of their decoder.

    Args:
        group: Packets in decoding order. Their `opaque` is the monotonic ns of their arrival.
        codec: FFmpeg's name of it: VP8 has packets whose picture is never shown.
    """
    shown = [packet for packet in group if codec != "vp8" or (packet.size and bytes(packet)[0] & _VP8_SHOWN)]
    times = [
        ShownAt(pts_ns=_pts_ns(packet), received_ns=packet.opaque if isinstance(packet.opaque, int) else None)
        for packet in shown
    ]
    return [times[place] for place in _places(shown)]


def file_of(group: "Sequence[Packet[VideoStream]]", stream: VideoStream) -> bytes:
    """A group as a Matroska file; its times are counted anew, so that no jump or gap of the stream's own matters.

    Args:
        group: Packets in decoding order; they are changed, and of no use afterwards.
        stream: Where they came from.

    Raises:
        av.FFmpegError: FFmpeg cannot put this codec into Matroska, or a packet is damaged beyond that.
    """
    rank_of = {place: rank for rank, place in enumerate(_places(group))}
    # A picture is decoded before it is shown: so many ticks must lie between.
    delay = max((index - rank_of[index] for index in range(len(group))), default=0)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        target = container.add_stream_from_template(stream)
        for index, packet in enumerate(group):
            packet.stream = target
            packet.time_base = Fraction(1, 100)
            packet.dts, packet.pts = index, rank_of[index] + delay
            packet.duration = 1
            container.mux(packet)
    return buffer.getvalue()


def _places(group: "Sequence[Packet[VideoStream]]") -> list[int]:
    """Indices of packets in the order in which they are shown; that of decoding where one does not say when."""
    times = [packet.pts for packet in group]
    if any(time is None for time in times):
        return list(range(len(group)))
    return sorted(range(len(group)), key=lambda index: times[index] or 0)


def _pts_ns(packet: "Packet[VideoStream]") -> int | None:
    if packet.pts is None or packet.time_base is None:
        return None
    return packet.pts * packet.time_base.numerator * NS_PER_S // packet.time_base.denominator
