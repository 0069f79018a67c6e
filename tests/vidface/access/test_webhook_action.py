from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.vidface.access.made import opening
from vidface.access.errors import ActionFailed, ActionTimedOut
from vidface.access.webhook_action import WebhookAction, message_id, signing_key

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PATIENCE_S = 30.0


class Receiver:
    """An HTTP server that answers as it is told and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 204
        self.location: str | None = None
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("location", receiver.location)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/doors/main?token=t0k3n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_the_receiver_can_tell_that_it_is_ours(receiver: Receiver) -> None:
    WebhookAction(receiver.url, key=signing_key(SECRET), timeout_s=PATIENCE_S, now_s=lambda: 1234.9).run(opening())
    ((path, headers, body),) = receiver.requests
    assert path == "/doors/main?token=t0k3n"
    assert json.loads(body) == opening().to_json()
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == headers["idempotency-key"] == message_id(opening())
    assert headers["webhook-timestamp"] == "1234"
    text = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_id_is_the_openings() -> None:
    assert message_id(opening()) == message_id(opening())
    others = [opening(door="side"), opening(event_id="lobby/2/8/2"), opening(source="/vidface/cameras/side")]
    assert len({message_id(each) for each in [opening(), *others]}) == 4


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    WebhookAction(receiver.url, key=None, timeout_s=PATIENCE_S).run(opening())
    assert "webhook-signature" not in receiver.requests[0][1]


@pytest.mark.parametrize("status", [200, 204, 299])
def test_success(receiver: Receiver, status: int) -> None:
    receiver.status = status
    WebhookAction(receiver.url, key=KEY, timeout_s=PATIENCE_S).run(opening())


@pytest.mark.parametrize(
    ("status", "words"),
    [(302, "status 302; a redirect is not followed"), (403, "status 403"), (404, "404"), (500, "status 500")],
)
def test_every_other_answer_is_a_failure_and_nothing_is_sent_again(receiver: Receiver, status: int, words: str) -> None:
    receiver.status = status
    receiver.location = receiver.url
    with pytest.raises(ActionFailed, match=words) as caught:
        WebhookAction(receiver.url, key=KEY, timeout_s=PATIENCE_S).run(opening())
    assert not caught.value.nothing_begun
    assert len(receiver.requests) == 1
    assert "t0k3n" not in str(caught.value)


def test_nobody_is_there() -> None:
    with pytest.raises(ActionFailed, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused") as caught:
        WebhookAction("http://127.0.0.1:1/open", key=KEY, timeout_s=PATIENCE_S).run(opening())
    assert caught.value.nothing_begun


@pytest.mark.parametrize("drip", [b"", b"H"], ids=["silent", "one-byte-at-a-time"])
def test_a_server_that_never_answers(drip: bytes) -> None:
    """A byte now and then is no answer, however long it goes on."""
    done = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while not done.wait(0.05):
                    try:
                        connection.send(drip)
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        began_s = time.monotonic()
        try:
            with pytest.raises(ActionTimedOut, match=r"did not answer within 0\.5 s") as caught:
                WebhookAction(f"http://127.0.0.1:{server.getsockname()[1]}/", key=KEY, timeout_s=0.5).run(opening())
        finally:
            done.set()
            thread.join()
    assert not caught.value.nothing_begun
    assert 0.4 < time.monotonic() - began_s < 10


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    action = WebhookAction("https://127.0.0.1:1/", key=KEY, timeout_s=1, ca_file=tmp_path / "ca.pem")
    with pytest.raises(ActionFailed, match=r"certificates in .*ca\.pem cannot be used") as caught:
        action.run(opening())
    assert caught.value.nothing_begun


def test_a_server_that_speaks_no_tls(receiver: Receiver) -> None:
    with pytest.raises(ActionFailed, match="cannot be reached") as caught:
        WebhookAction(receiver.url.replace("http:", "https:"), key=KEY, timeout_s=5).run(opening())
    assert caught.value.nothing_begun
    assert receiver.requests == []


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "0123456789abcdef0123456789abcdef", "whsec_###", "whsec_" + base64.b64encode(b"x").decode()],
)
def test_what_is_no_secret_is_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="expected whsec_ and the base64") as caught:
        signing_key(secret)
    assert len(secret) < 7 or secret not in str(caught.value)
