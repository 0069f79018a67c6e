"""A local HTTP server that misbehaves on request: cuts transfers, ignores ranges, fails, holds an answer back."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Served:
    """What the server does; tests change it between requests.

    Attributes:
        content: The file, under any path.
        cut_after: Bytes that each answer sends before it breaks off; consumed one per request, None for all.
        failures: Status codes to answer with first; consumed one per request.
        etag: Validator; empty for none.
        gate: If set, an answer waits for it.
        requests: The Range header of each request that came ("" for none).
        arrived: Set when a request is there.
    """

    content: bytes
    cut_after: list[int | None] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    etag: str = '"one"'
    ranges: bool = True
    url: str = ""
    requests: list[str] = field(default_factory=list)
    gate: threading.Event | None = None
    arrived: threading.Event = field(default_factory=threading.Event)


def _handler(served: Served) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            served.requests.append(wanted)
            served.arrived.set()
            if served.gate is not None:
                served.gate.wait(30)
            if served.failures:
                self.send_error(served.failures.pop(0))
                return
            begin = 0
            if wanted and served.ranges and self.headers.get("If-Range") == served.etag:
                begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(served.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(served.content) - 1}/{len(served.content)}")
            else:
                self.send_response(200)
            body = served.content[begin:]
            self.send_header("Content-Length", str(len(body)))
            if served.etag:
                self.send_header("ETag", served.etag)
            self.end_headers()
            self.wfile.write(body[: served.cut_after.pop(0) if served.cut_after else None])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's own name
            pass

    return Handler


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Served]:
    served = Served(content)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_port}/box.tgz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
