from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.vidface.exposition.made import LOST, camera, service
from vidface.errors import NothingAnswers, PortTaken
from vidface.exposition.client import fetch
from vidface.exposition.server import MAX_CONNECTIONS, ExpositionServer
from vidface.status import Phase, ServiceStatus

PATIENCE_S = 30.0


@contextmanager
def serving(status: Callable[[], ServiceStatus] = service, *, connection_s: float = PATIENCE_S) -> Iterator[str]:
    with ExpositionServer("127.0.0.1", 0, status, connection_s=connection_s) as server:
        yield server.url


def get(url: str, *, accept: str = "*/*") -> tuple[int, str, str]:
    """Status, content type and body."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other end to close; what it had not read yet makes that a reset."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("accept", ["*/*", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0"])
def test_metrics(accept: str) -> None:
    with serving() as url:
        code, kind, body = get(f"{url}/metrics", accept=accept)
    assert code == 200
    assert kind.startswith("application/openmetrics-text" if "openmetrics" in accept else "text/plain; version=0.0.4")
    assert any(family.name.startswith("vidface_frames") for family in text_string_to_metric_families(body))


@pytest.mark.parametrize(
    ("status", "health", "readiness", "reason"),
    [
        pytest.param(service(), 200, 200, "ok", id="running"),
        pytest.param(service(camera("door", LOST, "stalled")), 200, 200, "ok", id="a-camera-down"),
        pytest.param(service(phase=Phase.STARTING), 200, 503, "models", id="starting"),
        pytest.param(service(camera("hall", None, None)), 200, 503, "hall", id="not-tried"),
        pytest.param(service(phase=Phase.ENDING), 200, 503, "ending", id="ending"),
        pytest.param(service(phase=Phase.FAILED, failure="the embed stage failed"), 503, 503, "embed", id="failed"),
    ],
)
def test_health_and_readiness(status: ServiceStatus, health: int, readiness: int, reason: str) -> None:
    with serving(lambda: status) as url:
        assert get(f"{url}/healthz")[0] == health
        code, _, body = get(f"{url}/readyz?verbose=1")
    assert code == readiness
    assert reason in body


def test_the_status_comes_back_as_it_was() -> None:
    status = service(camera("door"), camera("hall", LOST, "stalled"), camera("new", None, None))
    with serving(lambda: status) as url:
        assert fetch(url) == status
        assert json.loads(get(f"{url}/status")[2])["cameras"][1]["state"] == "lost"


def test_what_is_not_there() -> None:
    with serving() as url:
        code, _, body = get(f"{url}/secrets")
    assert (code, body) == (404, "there is /metrics, /healthz, /readyz and /status\n")


def test_a_head_has_no_body_and_other_methods_are_refused() -> None:
    with serving() as url:
        for method, expected in (("HEAD", 200), ("POST", 501)):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
            connection.request(method, "/healthz")
            answer = connection.getresponse()
            assert answer.status == expected
            assert answer.headers["Server"] == "vidface"
            assert bool(answer.read()) is (method == "POST")
            connection.close()


def test_a_snapshot_that_fails_is_an_answer_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> ServiceStatus:
        raise KeyError("rtsp://user:secret@door")

    with serving(broken) as url:
        code, _, body = get(f"{url}/status")
    assert (code, body) == (500, "KeyError\n")
    assert "/status could not be answered" in caplog.text


def test_a_port_that_is_taken() -> None:
    with serving() as url:
        port = urlsplit(url).port
        assert port is not None
        with (
            pytest.raises(PortTaken, match=f"on 127.0.0.1 port {port}: Address already in use; give another"),
            ExpositionServer("127.0.0.1", port, service),
        ):
            pytest.fail("it listens")


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(PortTaken, match=r"on 192\.0\.2\.1 port"), ExpositionServer("192.0.2.1", 0, service):
        pytest.fail("it listens")


def test_it_listens_on_ipv6_where_there_is_any() -> None:
    try:
        with ExpositionServer("::1", 0, service) as server:
            assert server.url.startswith("http://[::1]:")
            assert get(f"{server.url}/healthz")[0] == 200
    except PortTaken as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "said", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nX: "], ids=["nothing", "half", "headers"]
)
def test_who_never_finishes_is_cut_off_and_holds_up_nobody(said: bytes) -> None:
    with serving(connection_s=0.5) as url, connect(url) as slow:
        slow.sendall(said)
        assert get(f"{url}/healthz")[0] == 200
        assert is_closed(slow)


def test_too_many_connections_are_closed_unanswered() -> None:
    with serving() as url, ExitStack() as stack:
        held = [stack.enter_context(connect(url)) for _ in range(MAX_CONNECTIONS)]
        one_more = stack.enter_context(connect(url))
        assert is_closed(one_more)
        for connection in held:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.0 200"


def test_closing_waits_for_no_client() -> None:
    with ExitStack() as stack:
        with serving(connection_s=3600) as url:
            slow = stack.enter_context(connect(url))
            slow.sendall(b"GET /metrics HTTP/1.0\r\n")
            assert get(f"{url}/healthz")[0] == 200  # by now the slow one has its thread
        assert is_closed(slow)
        with pytest.raises(NothingAnswers, match="no running service answers at"):
            fetch(url)
