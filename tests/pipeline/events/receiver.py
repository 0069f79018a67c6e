"""A webhook's receiver, really listening: it answers as told and remembers what it was sent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.services.certificates import Certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came in. Header names are lower case; ``connection`` tells connections apart."""

    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes out. ``hang`` keeps the line open in silence, ``trickle`` sends a byte now and then, both until the
    receiver ends; ``cut`` closes the connection in place of an answer."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    trickle: bool = False
    cut: bool = False


class Receiver:
    """Answers one request after the other with the given answers, and then with 204."""

    def __init__(self, answers: Sequence[Answer] = (), *, tls: Certificates | None = None) -> None:
        self._answers = list(answers)
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._kept: list[socket.socket] = []
        self._ending = threading.Event()
        self.hanging = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="receiver")

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    @property
    def requests(self) -> list[Request]:
        with self._changed:
            return list(self._requests)

    def wait_for(self, count: int, timeout_s: float = 30.0) -> list[Request]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s), self._requests
            return list(self._requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._server.shutdown()
        with self._changed:
            kept = list(self._kept)
        for each in kept:
            with contextlib.suppress(OSError):  # the other side was quicker
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        self._server.server_close()  # joins the handlers
        self._thread.join()

    def _next(self, request: Request) -> Answer:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            return self._answers.pop(0) if self._answers else Answer()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"receiver": self})


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"  # connections are kept
    timeout = 20
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.receiver._changed:
            self.receiver._kept.append(self.connection)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(target=self.path, headers=headers, body=body, connection=self.client_address[1])
        answer = self.receiver._next(request)
        if answer.hang or answer.trickle or answer.cut:
            self.close_connection = True
            self._leave_open(answer)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who does not want to read it all hangs up
            self.wfile.write(answer.body)

    def _leave_open(self, answer: Answer) -> None:
        if answer.hang:
            self.receiver.hanging.set()
            self.receiver._ending.wait(30)
        if answer.trickle:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            with contextlib.suppress(OSError):
                while not self.receiver._ending.wait(0.05):
                    self.wfile.write(b"z")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
