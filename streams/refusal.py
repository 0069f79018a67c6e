"""Why something could not be opened, in words that say what to do."""

import errno
import re
from typing import Final, TypeAlias

import av
import av.error

from streams.redact import redact_text
from streams.spec import SourceSpec
from streams.state import Cause

_RTSP: Final = re.compile(r"rtsps?://", re.IGNORECASE)


def is_rtsp(url: str) -> bool:
    """Whether an address is one of RTSP, encrypted or not."""
    return _RTSP.match(url) is not None


def why_refused(error: Exception, spec: SourceSpec, *, is_network: bool) -> tuple[Cause, str]:
    """Cause and detail, redacted, of an error of FFmpeg's on opening.

    Args:
        error: What `av.open` raised.
        spec: What was opened.
        is_network: Whether it is somewhere else: the same error means another thing there.
    """
    known = _OPEN_FAILED
    if is_network:
        known = (*(_RTSP_FAILED if is_rtsp(spec.url) else ()), *_CONNECTION_FAILED, *known)
    for kinds, cause, detail in known:
        if isinstance(error, kinds):
            return cause, detail
    code = error.errno if isinstance(error, av.FFmpegError) else None
    if code == errno.EIO and spec.url.lower().startswith(("rtsps:", "https:")):
        # FFmpeg says no more of anything that goes wrong with TLS.
        wanted = f"is signed as {spec.tls_ca_file} says" if spec.tls_ca_file else "can be read"
        return Cause.OPEN_FAILED, f"TLS failed; check that this port speaks it, and that the certificate {wanted}"
    what = error.strerror if isinstance(error, av.FFmpegError) else str(error)
    return Cause.OPEN_FAILED, f"cannot be opened: {redact_text(what or '')}"


_Why: TypeAlias = tuple[type[Exception] | tuple[type[Exception], ...], Cause, str]

_RTSP_FAILED: Final[tuple[_Why, ...]] = (
    (
        av.error.InvalidDataError,
        Cause.OPEN_FAILED,
        "the connection was closed, or the answer is not RTSP; check address and port, and whether it wants rtsps",
    ),
)
_CONNECTION_FAILED: Final[tuple[_Why, ...]] = (
    (
        # FFmpeg says "not permitted" where an answer broke off.
        (PermissionError, ConnectionResetError, BrokenPipeError, av.error.EOFError),
        Cause.OPEN_FAILED,
        "the connection was closed while it was opened; check address and port, and that not too many watch",
    ),
    (
        av.error.HTTPServerError,
        Cause.OPEN_FAILED,
        "the server answered that it failed; it may be starting, or too many watch",
    ),
)
_OPEN_FAILED: Final[tuple[_Why, ...]] = (
    (av.error.HTTPUnauthorizedError, Cause.AUTH_FAILED, "user or password refused; correct them in the address"),
    (av.error.HTTPForbiddenError, Cause.AUTH_FAILED, "access refused; check the rights of the camera's user"),
    (av.error.HTTPNotFoundError, Cause.OPEN_FAILED, "the server has no such stream; check the address's path"),
    (FileNotFoundError, Cause.OPEN_FAILED, "there is no such file or device; check the path"),
    (PermissionError, Cause.OPEN_FAILED, "this user may not read it; check its rights"),
    (IsADirectoryError, Cause.OPEN_FAILED, "it is a folder, not a video"),
    (ConnectionRefusedError, Cause.OPEN_FAILED, "nothing listens there; check address, port and that it is on"),
    (TimeoutError, Cause.OPEN_TIMEOUT, "no answer; check address, network and that the camera is on"),
    (av.error.ProtocolNotFoundError, Cause.OPEN_FAILED, "FFmpeg does not know this protocol; check the address"),
    (av.error.DemuxerNotFoundError, Cause.OPEN_FAILED, "FFmpeg does not know this format; check the address"),
    (
        av.error.InvalidDataError,
        Cause.OPEN_FAILED,
        "not a video, or damaged at its start or index; check it with a player",
    ),
)
