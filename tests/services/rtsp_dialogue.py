"""An RTSP camera by the book up to a point, and then not: what no real server can be made to do."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

import pytest

REQUESTS: Final = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY")
"""What a reader asks for, in this order."""
_SDP: Final = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:96 H264/90000\r\na=control:video\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\n"
)
_PATIENCE_S: Final = 30.0


class RtspDialogue:
    """Answers properly until a given request, answers that one as it is told, and then sends what it is told.

    One connection at a time, any number of them, in a thread that `with` starts and joins.
    """

    def __init__(self, *, until: str, answer: bytes | None, close: bool = True) -> None:
        """Prepare.

        Args:
            until: The request that is answered otherwise, one of `REQUESTS`.
            answer: Sent in place of the proper answer; None for the proper one.
            close: Whether the connection is closed after it, else kept open in silence.
        """
        if until not in REQUESTS:
            raise ValueError(f"until must be one of {REQUESTS}, got {until!r}")
        self._until = until
        self._answer = answer
        self._close = close
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="rtsp-dialogue")
        self.reached = threading.Event()
        """Set once the request came that is answered otherwise."""

    @property
    def url(self) -> str:
        """Its address, with a password that nobody may ever show."""
        return f"rtsp://user:secret@127.0.0.1:{self._listening.getsockname()[1]}/camera"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        # Closing alone would not wake the thread.
        for sock in (self._listening, self._connection):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE_S)
        self._listening.close()
        assert not self._thread.is_alive(), "the dialogue did not end"

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._connection = connection
                self._talk(connection)
            self._connection = None

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_S)
        for request in _requests(connection):
            method = request.split(" ", 1)[0]
            if method != self._until:
                connection.sendall(_proper(method, request))
                continue
            connection.sendall(_proper(method, request) if self._answer is None else self._answer)
            self.reached.set()
            if self._close:
                return


def _requests(connection: socket.socket) -> Iterator[str]:
    received = b""
    while data := connection.recv(4096):
        received += data
        while b"\r\n\r\n" in received:
            request, received = received.split(b"\r\n\r\n", 1)
            yield request.decode("latin-1")


def _proper(method: str, request: str) -> bytes:
    found = re.search(r"CSeq: *(\d+)", request, re.IGNORECASE)
    headers = [f"CSeq: {found[1] if found else 0}", "Session: 1"]
    body = ""
    if method == "OPTIONS":
        headers.append(f"Public: {', '.join(REQUESTS)}, TEARDOWN")
    elif method == "DESCRIBE":
        body = _SDP
        headers += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
    elif method == "SETUP":
        headers.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
    return "\r\n".join(["RTSP/1.0 200 OK", *headers, "", body]).encode()


@pytest.fixture
def rtsp_dialogue() -> Iterator[Callable[..., RtspDialogue]]:
    """A factory of running dialogues, which takes what `RtspDialogue` takes; ended after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(RtspDialogue(**settings))
