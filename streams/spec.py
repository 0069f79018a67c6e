"""What a camera is: `SourceSpec`, and whether its address means live or recorded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import urlsplit

from streams.errors import SourceSpecError
from streams.redact import redact


class Kind(Enum):
    """The promise of a source."""

    RECORDED = "recorded"
    """Every frame is delivered, the consumer may make it wait; it has an end."""
    LIVE = "live"
    """Frames come when they come; after a loss it is connected again, for ever."""


class DecodeDevice(StrEnum):
    """What turns a camera's packets into pictures."""

    CPU = "cpu"
    """FFmpeg's decoders."""
    NVDEC = "nvdec"
    """FFmpeg's, on an NVIDIA GPU."""
    DALI = "dali"
    """NVIDIA DALI on a GPU. Live pictures come a group of pictures late."""
    DALI_CPU = "dali-cpu"
    """DALI's same graph without a GPU, for VP8, VP9 and MJPEG; slower than `CPU`, and there to be tested."""


DEVICE_PREFIX: Final = "/dev/"

_HAS_SCHEME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")
_LIVE_SCHEMES: Final = frozenset(
    {"rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srtp", "srt", "rist", "tcp", "mmsh", "mmst"}
)
_RECORDING_SUFFIXES: Final = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv"}
    | {".gif", ".jpg", ".jpeg", ".png", ".webp", ".h264", ".264", ".h265", ".265", ".hevc", ".ogv", ".3gp"}
)


@lru_cache(maxsize=1024)  # asked for each packet
def judge_kind(url: str) -> Kind:
    """Whether an address means a live camera or a recording.

    RTSP, RTMP, UDP, SRT and the like, and devices, are live. HTTP is live unless its path ends like a recording's.
    Everything else, files and folders above all, is recorded.
    """
    if url.startswith(DEVICE_PREFIX):
        return Kind.LIVE
    if _HAS_SCHEME.match(url) is None:
        return Kind.RECORDED
    scheme, _, rest = url.partition(":")
    if scheme.lower() in _LIVE_SCHEMES:
        return Kind.LIVE
    if scheme.lower() in {"http", "https"}:
        path = urlsplit(f"//{rest.removeprefix('//')}").path
        return Kind.RECORDED if Path(path).suffix.lower() in _RECORDING_SUFFIXES else Kind.LIVE
    return Kind.RECORDED


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One camera or recording, and how to read it.

    Raises:
        SourceSpecError: A field is out of range; the message names camera, field and legal values.
    """

    camera: str
    """Camera id; keys everything downstream."""
    url: str = field(repr=False)
    """File, any URL that FFmpeg opens, device such as `/dev/video0`, or folder of images. May hold a password: show
    `source` instead."""
    kind: Kind | None = None
    """None: judged from the address, see `judge_kind`."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    """Longest time from the start of an attempt to an open stream."""
    stall_timeout_s: float = 5.0
    """Longest silence of an open stream before it counts as lost."""
    backoff_initial_s: float = 0.5
    """Wait after the first failed attempt; doubles with each further one."""
    backoff_max_s: float = 2.0
    """Longest wait between attempts: a camera that returns is back within this and the time to connect."""
    backoff_auth_s: float = 30.0
    """Wait after a refused user or password: cameras lock those out who keep trying."""
    decode: DecodeDevice = DecodeDevice.CPU
    """What decodes it; one that is absent is an error, see `streams.decoder`."""
    threads: int = 1
    """CPU decoder threads. Live ones share a picture's slices, which adds no delay; recorded ones may share frames."""
    real_time: bool = False
    """Play a recording at its own pace, to be treated as live; it still ends."""
    priority: float = 1.0
    """How much further than others a live camera may fall behind before frames are left undecoded."""
    loop: bool = False
    """Play a recording over and over, as one connection whose time goes on growing; it ends when it is stopped."""
    start_s: float = 0.0
    """How far into a recording to begin. A video begins with the first key frame from there on and, in real time, when
    that frame's turn comes, as with a camera that is joined at any moment. Looped, it counts modulo the length."""
    folder_fps: float = 25.0
    """Pace of a folder of images."""
    max_bad_frames: int = 250
    """So many damaged pictures in a row make a live source connect anew."""
    tls_ca_file: str | None = None
    """PEM file of the certificates that an encrypted stream's must be signed by, or be one of, and made out to the
    address's host. None: any certificate is taken, as cameras come with ones that nobody signed: then nobody reads
    along, but who answers is not proven."""
    ffmpeg_options: Mapping[str, str] = field(default_factory=dict)
    """More options for FFmpeg's demuxer, such as `video_size` and `framerate` of a device."""

    def __post_init__(self) -> None:
        if not self.camera:
            raise SourceSpecError("a source needs a camera id that is not empty")
        if not self.url:
            raise self._error("url", self.url, "a file, URL, device or folder")
        if self.rtsp_transport not in {"tcp", "udp"}:
            raise self._error("rtsp_transport", self.rtsp_transport, "tcp or udp")
        for name in (
            "open_timeout_s",
            "stall_timeout_s",
            "backoff_initial_s",
            "backoff_auth_s",
            "folder_fps",
            "priority",
        ):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise self._error(name, getattr(self, name), "a number above 0")
        if not self.backoff_initial_s <= self.backoff_max_s < float("inf"):
            raise self._error("backoff_max_s", self.backoff_max_s, f"at least {self.backoff_initial_s}")
        if not 0.0 <= self.start_s < float("inf"):
            raise self._error("start_s", self.start_s, "a number of at least 0")
        for name in ("threads", "max_bad_frames"):
            if getattr(self, name) < 1:
                raise self._error(name, getattr(self, name), "an integer of at least 1")
        # A frozen spec must not change through a mapping that somebody else holds.
        object.__setattr__(self, "ffmpeg_options", MappingProxyType(dict(self.ffmpeg_options)))

    @property
    def source(self) -> str:
        """The address, redacted, for people."""
        return redact(self.url)

    @property
    def reconnects(self) -> bool:
        """Whether it is connected again after its end or a loss."""
        return (self.kind or judge_kind(self.url)) is Kind.LIVE

    @property
    def pace(self) -> Kind:
        """How a consumer is to treat its frames: LIVE also for a recording in real time."""
        return Kind.LIVE if self.real_time or self.reconnects else Kind.RECORDED

    def _error(self, name: str, value: object, legal: str) -> SourceSpecError:
        return SourceSpecError(f"camera {self.camera!r}: {name} is {value!r}, but must be {legal}")
