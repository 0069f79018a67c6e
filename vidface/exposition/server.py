"""HTTP for a running service: ``/metrics``, ``/healthz``, ``/readyz`` and ``/status``.

Whoever asks must not be able to hold anything up. A connection has `CONNECTION_S` seconds from its acceptance to its
answer, however it spends them (a byte now and then does not prolong it), there are at most `MAX_CONNECTIONS` at once,
one request each, and closing the server cuts what is open before it joins the threads.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from vidface.errors import PortTaken
from vidface.exposition.families import new_registry
from vidface.exposition.health import failure_of, missing_of
from vidface.status import ServiceStatus

_log = logging.getLogger(__name__)

CONNECTION_S: Final = 5.0
"""Longest life of a connection; a scrape takes milliseconds."""

MAX_CONNECTIONS: Final = 16
"""Open at once; further ones are closed unanswered."""

_LOOK_S: Final = 0.2
"""How often the server looks for connections that are too old, and for its own end."""

_TEXT: Final = "text/plain; charset=utf-8"


class ExpositionServer:
    """Answers while its context is open. Made before what it tells of: `status` must answer at any time.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.
        status: Takes a snapshot; called in the server's threads.
        connection_s: Longest life of a connection, in seconds.
    """

    def __init__(
        self, host: str, port: int, status: Callable[[], ServiceStatus], *, connection_s: float = CONNECTION_S
    ) -> None:
        self._host = host
        self._port = port
        self._status = status
        self._connection_s = connection_s
        self._server: _Server
        self._thread: threading.Thread

    def __enter__(self) -> Self:
        """Begin to listen.

        Raises:
            PortTaken: The address can't be listened on.
        """
        try:
            self._server = _Server(self._host, self._port, self._status, self._connection_s)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PortTaken(
                f"metrics can't be told on {self._host} port {self._port}: {reason}; "
                "give another metrics.port or metrics.host in the configuration"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="vidface metrics")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.cut(older_than_s=0.0)
        self._server.server_close()  # joins the connections' threads

    @property
    def url(self) -> str:
        """Where it answers, without a path; the port is the real one."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    """The standard library's server with bounds; each connection is a thread of its own."""

    daemon_threads = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, host: str, port: int, status: Callable[[], ServiceStatus], connection_s: float) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.status = status
        self.registry: CollectorRegistry = new_registry(status)
        self._connection_s = connection_s
        self._lock = threading.Lock()
        self._accepted_s: dict[socket.socket, float] = {}
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without the reverse look-up of the host's name that `HTTPServer` makes, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        with self._lock:
            welcome = len(self._accepted_s) < MAX_CONNECTIONS
            if welcome:
                self._accepted_s[request] = time.monotonic()
        if welcome:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Forget and close a connection."""
        with self._lock:
            self._accepted_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called by the server's loop every now and then."""
        self.cut(older_than_s=self._connection_s)

    def cut(self, *, older_than_s: float) -> None:
        """Break off connections that are older than this; their threads then end."""
        before_s = time.monotonic() - older_than_s
        with self._lock:
            for request, accepted_s in self._accepted_s.items():
                if accepted_s <= before_s:
                    with contextlib.suppress(OSError):  # it has gone by itself
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's affair; what `_Handler` does wrong it answers and logs itself."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Server
    timeout = CONNECTION_S

    def version_string(self) -> str:
        """The ``Server`` header: no versions for whoever looks for old ones."""
        return "vidface"

    def do_GET(self) -> None:
        """Answer."""
        try:
            code, kind, body = self._answer(self.path.partition("?")[0])
        except Exception as error:  # a bug in a snapshot must not be silent, nor end the thread without an answer
            _log.exception("metrics: %s could not be answered", self.path.partition("?")[0])
            code, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, f"{type(error).__name__}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a line for each scrape would bury everything else."""

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        match path:
            case "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                return HTTPStatus.OK, kind, encode(self.server.registry)
            case "/healthz":
                failure = failure_of(self.server.status())
                return _verdict([failure] if failure else [])
            case "/readyz":
                return _verdict(missing_of(self.server.status()))
            case "/status":
                return HTTPStatus.OK, "application/json", self.server.status().to_json()
            case _:
                words = "there is /metrics, /healthz, /readyz and /status\n"
                return HTTPStatus.NOT_FOUND, _TEXT, words.encode()


def _verdict(wrong: list[str]) -> tuple[HTTPStatus, str, bytes]:
    if not wrong:
        return HTTPStatus.OK, _TEXT, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, ("\n".join(wrong) + "\n").encode()
