"""Anything that FFmpeg opens, as `Media`: files, GIFs, network cameras, devices. The door to PyAV."""

import re
import struct
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from streams.capture import CaptureClock
from streams.clock import SYSTEM_CLOCK, Clock
from streams.dali import CPU_CODECS, DaliDecoder
from streams.decoder import nvdec
from streams.demand import Demand
from streams.errors import PictureError, SourceError
from streams.frame import Picture
from streams.interrupt import Interrupt
from streams.media import Damaged, Decoded, MediaEnd, Undecoded
from streams.nal import is_unreferenced
from streams.picture import DecodedPicture, UprightPicture
from streams.redact import redact_text
from streams.refusal import is_rtsp, why_refused
from streams.shed import LagMeter, Shedder, Skipped
from streams.spec import DEVICE_PREFIX, DecodeDevice, Kind, SourceSpec
from streams.state import Cause
from streams.timeline import NS_PER_S

if TYPE_CHECKING:
    from av.packet import Packet

_NETWORK: Final = re.compile(r"^(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
_UNKNOWN_RATE_FPS: Final = 25
_MAX_HELD: Final = 16
"""More frames than H.264 and H.265 let a decoder hold back; a count beyond it is of packets that held none."""
_HELD_CODECS: Final = frozenset({"h264", "hevc", "mpeg4"})
"""RTP's marker bit is not read: FFmpeg hands over a packet of these when the next one's first part has come."""
_REORDER_WAIT_US: Final = 300_000
"""How long a UDP packet that is missing is waited for. FFmpeg's own 0.1 s turns delays of 60 ms into losses (measured:
34 of 60 pictures right, with this 58); what is lost indeed costs this much delay, once."""
_AT_END_TOLERANCE_S: Final = 0.5
"""A recording that stops this much before its announced end is taken for whole: containers round."""

_WAITED_S: Final = 0.003
"""Reading a packet that is there takes less; one that is not there yet takes longer."""


class Container:
    """An open FFmpeg input and its best video stream. Used by the one thread that made it.

    Nothing is converted here: pictures hold the decoder's planes.
    """

    def __init__(
        self,
        spec: SourceSpec,
        stopped: threading.Event,
        clock: Clock = SYSTEM_CLOCK,
        demand: "Demand[Packet[VideoStream]] | None" = None,
    ) -> None:
        """Open it; blocks up to `spec.open_timeout_s`.

        Args:
            spec: What to open.
            stopped: Once set, opening and reading return at once.
            clock: When packets arrive, and, for a recording in real time, when their turn comes.
            demand: Which packets are decoded, and when; None: each as it comes.

        Raises:
            SourceError: It cannot be opened, did not answer in time, refused the user, or holds no video.
        """
        self._spec = spec
        self._stopped = stopped
        self._clock = clock
        self._demand = demand
        self._started_ns: int | None = None
        self._shedder = Shedder(tolerance=spec.priority)
        self._lag = LagMeter()
        self._waited = False
        self._gap = False
        self._inside = 0  # packets given to the decoder whose frames have not come out
        self._capture = CaptureClock()
        self._read_ns: int | None = None
        self._span_ns: tuple[int, int] | None = None  # from where to where this round's packets go
        self._round_ns = 0  # what a looped recording's earlier rounds took
        self._interrupt = Interrupt(stopped)
        self._is_network = spec.reconnects or _NETWORK.match(spec.url) is not None
        self._end: MediaEnd | None = None
        self._last_pts_s: float | None = None
        self._packets_damaged = 0
        self._last_picture_s = 0.0
        container = self._opened()
        try:
            self._stream = self._chosen(container)
        except SourceError:
            container.close()
            raise
        self._container: InputContainer | None = container
        self._dali: DaliDecoder | None = None
        if spec.decode in {DecodeDevice.DALI, DecodeDevice.DALI_CPU}:
            self._dali = DaliDecoder(self._stream, device_id=0 if spec.decode is DecodeDevice.DALI else None)
        self._is_held = is_rtsp(spec.url) and self._stream.codec_context.name in _HELD_CODECS
        self._expected_end_s = _expected_end_s(container, self._stream)
        self._start_ns = 0 if spec.reconnects else round(spec.start_s * NS_PER_S)
        if spec.loop and self._expected_end_s:
            self._start_ns %= max(1, round(self._expected_end_s * NS_PER_S))
        self._skipping = self._start_ns > 0

    @property
    def step_ns(self) -> int:
        """See `Media.step_ns`."""
        rate = self._stream.average_rate or self._stream.guessed_rate or _UNKNOWN_RATE_FPS
        return max(1, round(NS_PER_S / rate))

    @property
    def announced_size_wh(self) -> tuple[int, int] | None:
        """The pictures' width and height as the stream announces them before one is decoded; None where it does not."""
        codec = self._stream.codec_context
        return (codec.width, codec.height) if codec.width and codec.height else None

    def read(self) -> Generator[Decoded | Damaged | Undecoded]:
        """See `Media.read`."""
        if self._container is None:
            return
        packets = self._packets(self._container)
        limit_s = self._spec.stall_timeout_s if self._is_network else float("inf")
        # Longer than a stall: a camera joined in the middle of a group of pictures has none until the next.
        patience_s = self._spec.open_timeout_s + self._spec.stall_timeout_s
        self._last_picture_s = time.monotonic()
        while True:
            try:
                began_s = time.monotonic()
                with self._interrupt.within(limit_s):
                    packet = next(packets, None)
                self._waited = time.monotonic() - began_s > _WAITED_S
            except av.FFmpegError as error:
                yield from self._broken(error)
                return
            if packet is None:
                return
            items = self._taken(packet)
            if items is None:
                return
            for item in items:
                if not isinstance(item, Damaged):
                    self._last_picture_s = time.monotonic()
                yield item
            if self._spec.reconnects and time.monotonic() - self._last_picture_s > patience_s:
                raise self._error(
                    Cause.UNDECODABLE,
                    f"data came for {patience_s:g} s, but no picture; check the camera's codec settings",
                )

    def skip_to_keyframe(self) -> None:
        """See `Media.skip_to_keyframe`."""
        self._shedder.skip_to_keyframe()

    def end(self) -> MediaEnd:
        """See `Media.end`."""
        if self._end is not None:
            return self._end
        expected_s, last_s = self._expected_end_s, self._last_pts_s
        if expected_s is not None and last_s is not None and not self._spec.reconnects:
            missing_s = expected_s - (last_s + self.step_ns / NS_PER_S)
            if missing_s > _AT_END_TOLERANCE_S or (self._packets_damaged and missing_s > 0):
                return MediaEnd(
                    cause=Cause.TRUNCATED,
                    detail=f"the recording is cut off: its last {missing_s:.1f} s of {expected_s:.1f} s are missing",
                )
        what = "the camera closed the stream" if self._spec.reconnects else "the recording was read to its end"
        return MediaEnd(cause=Cause.EOF, detail=what)

    def close(self) -> None:
        """See `Media.close`."""
        container, self._container = self._container, None
        if self._dali is not None:
            self._dali.close()
        if container is not None:
            container.close()

    def _opened(self) -> InputContainer:
        spec = self._spec
        if spec.tls_ca_file is not None and not Path(spec.tls_ca_file).is_file():
            raise self._error(Cause.OPEN_FAILED, f"there is no file {spec.tls_ca_file}, its tls_ca_file")
        is_device = spec.url.startswith(DEVICE_PREFIX)
        # "file:" keeps a colon in a file's name from being read as a protocol.
        is_file = not self._is_network and not is_device and Path(spec.url).exists()
        try:
            with self._interrupt.within(spec.open_timeout_s if self._is_network else float("inf")):
                return av.open(
                    f"file:{spec.url}" if is_file else spec.url,
                    format="v4l2" if is_device else None,
                    options=_options(spec),
                    timeout=(spec.open_timeout_s, spec.stall_timeout_s) if self._is_network else None,
                    hwaccel=nvdec() if spec.decode is DecodeDevice.NVDEC else None,
                )
        except (av.FFmpegError, ValueError) as error:
            raise self._open_error(error) from None  # the error itself shows the address with its password
        except RuntimeError:  # PyAV's word for a GPU that decodes nothing of what it holds
            raise self._error(Cause.OPEN_FAILED, "NVDEC decodes nothing of it; decode it on the cpu") from None

    def _chosen(self, container: InputContainer) -> VideoStream:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise self._error(Cause.OPEN_FAILED, "it holds no video stream; check that it is a video")
        # PyAV types the decoder as always there, but leaves it out where FFmpeg has none.
        decoder: object = stream.codec_context
        if decoder is None:
            raise self._error(Cause.OPEN_FAILED, "its codec has no decoder here; set the camera or encode it to H.264")
        codec, decode = stream.codec_context.name, self._spec.decode
        # Where the GPU decodes another stream of it, PyAV would decode this one on the CPU.
        if decode is DecodeDevice.NVDEC and not stream.codec_context.is_hwaccel:
            raise self._error(Cause.OPEN_FAILED, f"NVDEC does not decode {codec} here; decode it on the cpu")
        if decode is DecodeDevice.DALI_CPU and codec not in CPU_CODECS:
            raise self._error(
                Cause.OPEN_FAILED, f"DALI decodes {', '.join(sorted(CPU_CODECS))} without a GPU, not {codec}"
            )
        stream.codec_context.thread_count = self._spec.threads
        stream.codec_context.copy_opaque = True  # a picture carries the time at which its packet arrived
        # Sharing frames among threads delays each by a frame a thread; sharing slices delays none.
        stream.codec_context.thread_type = "SLICE" if self._spec.reconnects else "AUTO"
        return stream

    def _taken(self, packet: "Packet[VideoStream]") -> Iterable[Decoded | Damaged | Undecoded] | None:
        """What becomes of a packet: it is decoded, or left out. None once stopped."""
        if packet.is_corrupt:
            self._packets_damaged += 1
        received_ns = self._received(packet)
        if received_ns is None:
            return None
        packet.opaque = received_ns
        skipped = self._judged(packet, received_ns)
        begins_gap = skipped is Skipped.LATE and not self._gap
        self._gap = skipped is Skipped.LATE
        if skipped is not None:
            return [Undecoded(why=skipped)] * (1 + (self._let_go() if begins_gap else 0))
        chosen = (packet,) if self._demand is None else self._demand.admit(packet, self._clock.monotonic_ns())
        if not chosen:
            self._last_picture_s = time.monotonic()  # nobody wants one, so none is missed
        return chain.from_iterable(map(self._decoded, chosen))

    def _judged(self, packet: "Packet[VideoStream]", received_ns: int) -> Skipped | None:
        """Whether a live camera's packet is left undecoded."""
        if self._spec.pace is not Kind.LIVE or packet.size == 0:
            return None
        decoder = self._stream.codec_context
        now_ns = self._clock.monotonic_ns()
        if self._spec.reconnects:
            dts, base = packet.dts, packet.time_base
            media_s = None if dts is None or base is None else float(dts * base)
            lag_s = self._lag.lag_s(now_ns / NS_PER_S, media_s, waited=self._waited)
        else:
            lag_s = (now_ns - received_ns) / NS_PER_S
        return self._shedder.judge(
            lag_s=lag_s,
            is_keyframe=packet.is_keyframe,
            is_referenced=lambda: (
                not (packet.is_disposable or is_unreferenced(decoder.name, bytes(packet), decoder.extradata))
            ),
        )

    def _let_go(self) -> int:
        """Drop what the decoder holds: it would come out behind the gap, too late. How many frames it was."""
        self._stream.codec_context.flush_buffers()
        dropped, self._inside = min(self._inside, _MAX_HELD), 0
        return dropped

    def _received(self, packet: "Packet[VideoStream]") -> int | None:
        """When a packet's picture was received, monotonic ns: see `streams.capture` for a live one.

        In real time its turn is waited for first. None once stopped.
        """
        now_ns = self._clock.monotonic_ns()
        if self._spec.reconnects:
            return self._captured(packet, now_ns)
        if not self._spec.real_time or packet.dts is None or packet.time_base is None:
            return now_ns
        at_ns = self._round_ns + _in_ns(packet.dts, packet.time_base)
        if self._started_ns is None:
            self._started_ns = now_ns - (self._start_ns or at_ns)
        due_ns = self._started_ns + at_ns
        return None if self._clock.wait(self._stopped, (due_ns - now_ns) / NS_PER_S) else due_ns

    def _captured(self, packet: "Packet[VideoStream]", now_ns: int) -> int:
        read_ns, self._read_ns = self._read_ns, now_ns
        # One that was held came no later than the packet before it was handed over.
        arrived_ns = read_ns if self._is_held and read_ns is not None else now_ns
        pts_ns: int | None = None
        if packet.pts is not None and packet.time_base is not None:
            pts_ns = _in_ns(packet.pts, packet.time_base)
        return self._capture.captured_ns(arrived_ns=arrived_ns, pts_ns=pts_ns, sender_ns=_sender_ns(packet))

    def _packets(self, container: InputContainer) -> "Iterator[Packet[VideoStream]]":
        """The stream's packets from where it should begin; of a looped recording without an end."""
        while True:
            for packet in container.demux(self._stream):
                if not self._is_before_start(packet):
                    yield packet
            if not self._rewound(container):
                return

    def _is_before_start(self, packet: "Packet[VideoStream]") -> bool:
        """Whether a packet is to be passed over: all are before the first key frame of where it should begin."""
        if packet.pts is None or packet.time_base is None:
            return self._skipping
        at_ns = _in_ns(packet.pts, packet.time_base)
        begin_ns, end_ns = self._span_ns or (at_ns, at_ns)
        self._span_ns = min(begin_ns, at_ns), max(end_ns, at_ns)
        if self._skipping:
            self._skipping = not packet.is_keyframe or at_ns < self._start_ns
        return self._skipping

    def _rewound(self, container: InputContainer) -> bool:
        """Put a looped recording back to its start, behind what was played; False where nothing more is to come."""
        if not self._spec.loop or self._spec.reconnects or self._stopped.is_set():
            return False
        if self._span_ns is not None:
            begin_ns, end_ns = self._span_ns
            self._round_ns += end_ns - begin_ns + self.step_ns
        self._span_ns, self._last_pts_s, self._skipping, self._inside = None, None, False, 0
        try:
            container.seek(0)
        except av.FFmpegError as error:
            self._end = MediaEnd(cause=Cause.READ_FAILED, detail=f"it cannot be played a second time: {error.strerror}")
            return False
        return True

    def _decoded(self, packet: "Packet[VideoStream] | None") -> Iterator[Decoded | Damaged]:
        if self._dali is not None:
            yield from self._decoded_by_dali(self._dali, packet)
            return
        self._inside += packet is not None and packet.size > 0
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.error.EOFError:
            return
        except av.FFmpegError as error:
            self._inside -= 1
            yield Damaged(detail=redact_text(error.strerror or type(error).__name__))
            return
        self._inside = max(0, self._inside - len(frames))
        for frame in frames:
            pts_ns: int | None = None
            if frame.pts is not None and frame.time_base is not None:
                pts_ns = frame.pts * frame.time_base.numerator * NS_PER_S // frame.time_base.denominator
                self._reached(pts_ns)
                pts_ns += self._round_ns
            if frame.is_corrupt:
                yield Damaged(detail="a picture with missing or damaged parts")
                continue
            try:
                picture: Picture = DecodedPicture(frame)
            except PictureError as error:
                yield Damaged(detail=str(error))
                continue
            quarter_turns = round(frame.rotation / 90) % 4
            if quarter_turns:
                picture = UprightPicture(picture, quarter_turns=quarter_turns)
            received_ns = frame.opaque if isinstance(frame.opaque, int) else None
            yield Decoded(picture=picture, pts_ns=pts_ns, received_ns=received_ns)

    def _decoded_by_dali(
        self, decoder: DaliDecoder, packet: "Packet[VideoStream] | None"
    ) -> Iterator[Decoded | Damaged]:
        try:
            for item in decoder.decode(packet):
                if isinstance(item, Decoded) and item.pts_ns is not None:
                    self._reached(item.pts_ns)
                yield item
        except PictureError as error:
            raise self._error(Cause.UNDECODABLE, str(error)) from None

    def _reached(self, pts_ns: int) -> None:
        self._last_pts_s = max(self._last_pts_s or 0.0, pts_ns / NS_PER_S)

    def _broken(self, error: av.FFmpegError) -> Iterator[Decoded | Damaged]:
        """Reading failed: a stream raises; a recording gives what its decoder still holds, and ends."""
        spec = self._spec
        if self._stopped.is_set():
            self._end = MediaEnd(cause=Cause.STOPPED, detail="asked to stop")
            return
        if self._interrupt.timed_out:
            cause, detail = Cause.STALLED, f"nothing was received for {spec.stall_timeout_s:g} s"
        else:
            cause = Cause.READ_FAILED if self._is_network else Cause.TRUNCATED
            detail = f"reading failed: {error.strerror}"
        if spec.reconnects:
            raise self._error(cause, detail) from None
        self._end = MediaEnd(cause=cause, detail=f"{detail}; what came before was read")
        yield from self._decoded(None)

    def _open_error(self, error: Exception) -> SourceError:
        spec = self._spec
        if self._stopped.is_set():
            return self._error(Cause.STOPPED, "asked to stop while it was opened")
        if self._interrupt.timed_out:
            return self._error(
                Cause.OPEN_TIMEOUT,
                f"no video within {spec.open_timeout_s:g} s; check address, network and that the camera is on",
            )
        return self._error(*why_refused(error, spec, is_network=self._is_network))

    def _error(self, cause: Cause, detail: str) -> SourceError:
        return SourceError(camera=self._spec.camera, source=self._spec.source, cause=cause, detail=detail)


def _options(spec: SourceSpec) -> dict[str, str]:
    """Options for FFmpeg's demuxer.

    `fflags=nobuffer` is left out on purpose: it throws away what was read to find out the stream's codec, its first key
    frame with it, so that the first picture has to wait for the next one (measured: 1.1 s in place of 0.4 s).
    """
    options: dict[str, str] = {}
    if spec.reconnects:
        # Guessing the frame rate takes 20 more frames; nobody here needs it.
        options["fpsprobesize"] = "0"
    if is_rtsp(spec.url):
        options["rtsp_transport"] = spec.rtsp_transport
        if spec.rtsp_transport == "udp":
            options["max_delay"] = str(_REORDER_WAIT_US)
        options["allowed_media_types"] = "video"
        options["timeout"] = str(round(spec.open_timeout_s * 1e6))
    # FFmpeg's own default is to take any certificate.
    if spec.tls_ca_file is not None:
        options |= {"tls_verify": "1", "ca_file": spec.tls_ca_file}
    return options | dict(spec.ffmpeg_options)


def _in_ns(ticks: int, time_base: Fraction) -> int:
    """Ticks of a time base in whole nanoseconds, the nearest; without a `Fraction` for each packet."""
    return (ticks * time_base.numerator * NS_PER_S + time_base.denominator // 2) // time_base.denominator


def _sender_ns(packet: "Packet[VideoStream]") -> int | None:
    """When a packet's picture was taken, Unix ns by its sender's clock; None without RTCP sender reports."""
    if not packet.has_sidedata("prft"):
        return None
    # AVProducerReferenceTime: int64 wallclock in microseconds, then an int and flags.
    (wallclock_us,) = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))
    return int(wallclock_us) * 1000


def _expected_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Where a recording says that its pictures end, in its own time; None where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return ((container.start_time or 0) + container.duration) / av.time_base
    return None
