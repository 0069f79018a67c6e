from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.vidface.conftest import WriteConfig
from vidface.errors import NothingAnswers, UsageError
from vidface.exposition.client import fetch, find_url

CAMERAS = "cameras: [{id: a, source: 'rtsp://192.0.2.1/'}]\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:9464", "http://127.0.0.1:9464"),
        ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464"),
        ("camera-box:9464", "http://camera-box:9464"),
        ("https://[::1]:9464/", "https://[::1]:9464"),
    ],
)
def test_urls(given: str, expected: str) -> None:
    assert find_url(None, given) == expected


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ("{port: 9464}", "http://127.0.0.1:9464"),
        ("{port: 9464, host: 0.0.0.0}", "http://127.0.0.1:9464"),
        ("{port: 9464, host: '::'}", "http://[::1]:9464"),
        ("{port: 1, host: box}", "http://box:1"),
    ],
)
def test_a_configuration_names_it(write_config: WriteConfig, metrics: str, expected: str) -> None:
    assert find_url(write_config(f"{CAMERAS}metrics: {metrics}\n"), None) == expected


@pytest.mark.parametrize(
    ("metrics", "said"),
    [("{host: box}", "has no metrics.port"), ("{port: 0}", "any free port: give --url")],
    ids=["off", "any-port"],
)
def test_a_configuration_that_names_none(write_config: WriteConfig, metrics: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_url(write_config(f"{CAMERAS}metrics: {metrics}\n"), None)


@pytest.mark.parametrize("url", [None, "file:///etc/passwd", "http://"])
def test_an_address_that_is_none(url: str | None) -> None:
    with pytest.raises(UsageError):
        find_url(None, url)


@pytest.fixture
def stranger() -> Iterator[str]:
    """Something else that speaks HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "success"}')

        def log_request(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_something_else_answers(stranger: str) -> None:
    with pytest.raises(NothingAnswers, match="is no vidface"):
        fetch(stranger)
