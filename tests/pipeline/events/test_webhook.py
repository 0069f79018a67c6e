"""The sink against a real HTTP server; the signature is checked by what the specification says, written out here."""

import base64
import hashlib
import hmac
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.errors import EventRefused, SinkError
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Backoff, Publisher
from pipeline.events.webhook import WebhookSink, header_value, retry_after_s
from pipeline.events.webhook_options import WebhookOptions
from pipeline.events.webhook_signature import WebhookSecret, message_id
from tests.pipeline.events.examples import numbered, sighting
from tests.pipeline.events.receiver import Answer, Receiver, Request
from tests.schemas import assert_valid
from tests.services.certificates import Certificates, make_certificates

QUICK = Backoff(initial_s=0.01, max_s=0.05)
NOW_S = 1_769_860_800.75
KEY, NEW_KEY = bytes(range(32)), bytes(range(32, 64))
Make = Callable[..., WebhookSink]


def secret_text(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[WebhookSink] = []

    def make_it(
        url: str, *, name: str = "webhook", now_s: Callable[[], float] = lambda: NOW_S, **options: Any
    ) -> WebhookSink:
        made.append(WebhookSink(WebhookOptions(url=url, **options), name=name, now_s=now_s))
        return made[-1]

    yield make_it
    for sink in made:
        sink.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db", ["webhook"]) as opened:
        yield opened


def event_of(request: Request) -> Event:
    """Read a request as CloudEvents' HTTP binding says; none of our names need decoding."""
    attributes = {name.removeprefix("ce-"): value for name, value in request.headers.items() if name.startswith("ce-")}
    event = Event.from_cloudevent({**attributes, "data": json.loads(request.body)})
    assert_valid(event)
    return event


def is_signed(request: Request, key: bytes) -> bool:
    """What https://github.com/standard-webhooks/standard-webhooks/blob/main/spec asks of a receiver."""
    message, moment = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in (message.encode(), b".", moment.encode(), b".", request.body):
        mac.update(part)
    expected = base64.b64encode(mac.digest()).decode()
    given = [each.split(",", 1) for each in request.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(text, expected) for version, text in given)


def test_an_event_is_a_cloudevent_in_binary_mode(make: Make) -> None:
    event = sighting().to_event()
    with Receiver() as receiver:
        make(receiver.url("/hooks/faces?site=hq")).deliver([event])
        (request,) = receiver.requests
    assert request.target == "/hooks/faces?site=hq"
    assert event_of(request) == event
    assert request.headers["content-type"] == "application/json"
    assert request.headers["ce-specversion"] == "1.0"
    assert request.headers["ce-dataschema"] == f"urn:vidface:schema:{event.type}:1"
    assert "webhook-signature" not in request.headers


def test_the_key_is_made_of_source_id_and_type_and_stays_the_same(make: Make) -> None:
    event = sighting().to_event()
    with Receiver([Answer(status=500)]) as receiver:
        sink = make(receiver.url())
        with pytest.raises(SinkError):
            sink.deliver([event])
        sink.deliver([event])
        first, second = receiver.requests
    headers = first.headers
    text = "\n".join(headers[f"ce-{name}"] for name in ("source", "id", "type"))
    assert headers["webhook-id"] == "evt_" + hashlib.sha256(text.encode()).hexdigest()[:32]
    assert headers["idempotency-key"] == headers["webhook-id"]
    assert second.headers["idempotency-key"] == headers["idempotency-key"]
    assert message_id(numbered(1)[0]) != message_id(numbered(1, "gate")[0]) != message_id(numbered(1, first=2)[0])


def test_a_request_is_signed_over_its_time_and_body(make: Make) -> None:
    with Receiver() as receiver:
        make(receiver.url(), secrets=(WebhookSecret.parse(secret_text(KEY)),)).deliver(numbered(1))
        (request,) = receiver.requests
    assert request.headers["webhook-timestamp"] == "1769860800"
    assert is_signed(request, KEY)
    assert not is_signed(request, NEW_KEY)
    later = {**request.headers, "webhook-timestamp": "1769860801"}
    other = {**request.headers, "webhook-id": message_id(numbered(1, first=2)[0])}
    for forged in (
        Request(target="", headers=request.headers, body=request.body.replace(b"lobby", b"vault"), connection=0),
        Request(target="", headers=later, body=request.body, connection=0),
        Request(target="", headers=other, body=request.body, connection=0),
    ):
        assert not is_signed(forged, KEY)


def test_a_secret_that_is_being_changed_signs_twice(make: Make) -> None:
    with Receiver() as receiver:
        secrets = tuple(WebhookSecret.parse(secret_text(key)) for key in (NEW_KEY, KEY))
        make(receiver.url(), secrets=secrets).deliver(numbered(1))
        (request,) = receiver.requests
    assert is_signed(request, KEY)
    assert is_signed(request, NEW_KEY)


def test_the_example_of_the_specification() -> None:
    secret = WebhookSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(base64.b64encode(KEY).decode(), id="no-prefix"),
        pytest.param("whsec_" + base64.b64encode(KEY[:23]).decode(), id="too-short"),
        pytest.param("whsec_" + base64.b64encode(KEY * 3).decode(), id="too-long"),
        pytest.param("whsec_correct horse battery staple", id="no-base64"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32") as caught:
        WebhookSecret.parse(text)
    assert len(text) < 10 or text[6:] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_connection_is_kept_and_made_anew_when_the_receiver_hung_up(make: Make) -> None:
    with Receiver([Answer(), Answer(status=200, body=b"ok"), Answer(headers={"connection": "close"})]) as receiver:
        sink = make(receiver.url())
        sink.deliver(numbered(3))
        sink.deliver(numbered(2, first=4))
        connections = [request.connection for request in receiver.requests]
        assert [event_of(request) for request in receiver.requests] == numbered(5)
    assert len(set(connections[:3])) == 1
    assert len(set(connections[3:])) == 1
    assert connections[0] != connections[3]


def test_an_answer_too_long_to_be_read_costs_the_connection_alone(make: Make) -> None:
    with Receiver([Answer(status=200, body=b"x" * 1_000_000)]) as receiver:
        make(receiver.url()).deliver(numbered(2))
        first, second = receiver.requests
    assert first.connection != second.connection


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(make: Make, status: int) -> None:
    with Receiver([Answer(), Answer(status=status)]) as receiver:
        sink = make(receiver.url())
        with pytest.raises(SinkError, match=f"answered {status} to event ") as caught:
            sink.deliver(numbered(3))
        assert not isinstance(caught.value, EventRefused)
        assert caught.value.delivered == 1
        sink.deliver(numbered(2, first=2))
        assert [event_of(request) for request in receiver.requests] == [*numbered(2), *numbered(2, first=2)]


@pytest.mark.parametrize("status", [400, 405, 410, 413, 422])
def test_what_is_refused_for_good(make: Make, status: int) -> None:
    with (
        Receiver([Answer(), Answer(status=status, body=b"no such\n\x1b[31m thing")]) as receiver,
        pytest.raises(EventRefused, match=rf"answered {status} to event .*: no such \[31m thing") as caught,
    ):
        make(receiver.url()).deliver(numbered(3))
    assert caught.value.delivered == 1


@pytest.mark.parametrize("status", [401, 403, 404, 407, 408, 425, 429])
def test_what_is_not_about_the_event_is_tried_again(make: Make, status: int) -> None:
    with Receiver([Answer(status=status), Answer()]) as receiver:
        sink = make(receiver.url())
        with pytest.raises(SinkError) as caught:
            sink.deliver(numbered(1))
        assert not isinstance(caught.value, EventRefused)
        sink.deliver(numbered(1))


def test_a_status_can_be_declared_to_pass(make: Make) -> None:
    with Receiver([Answer(status=404), Answer(status=429)]) as receiver:
        sink = make(receiver.url(), retry_statuses=frozenset({404}))
        with pytest.raises(SinkError) as caught:
            sink.deliver(numbered(1))
        assert not isinstance(caught.value, EventRefused)
        with pytest.raises(EventRefused):
            sink.deliver(numbered(1))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(make: Make, status: int) -> None:
    with Receiver() as elsewhere, Receiver([Answer(status=status, headers={"location": elsewhere.url()})]) as receiver:
        with pytest.raises(SinkError, match="redirects are not followed") as caught:
            make(receiver.url(), bearer_token="t0ken").deliver(numbered(1))
        assert not isinstance(caught.value, EventRefused)
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("said", "expected_s"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 29.25),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        (None, None),
    ],
)
def test_retry_after(said: str | None, expected_s: float | None) -> None:
    assert retry_after_s(said, NOW_S) == expected_s


@pytest.mark.parametrize("status", [429, 503])
def test_the_receiver_may_ask_to_be_left_alone(make: Make, status: int) -> None:
    with (
        Receiver([Answer(status=status, headers={"Retry-After": "30"})]) as receiver,
        pytest.raises(SinkError) as caught,
    ):
        make(receiver.url()).deliver(numbered(1))
    assert caught.value.retry_after_s == 30.0


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(trickle=True)], ids=["silence", "a-byte-now-and-then"])
def test_a_receiver_that_accepts_and_never_answers(make: Make, answer: Answer) -> None:
    with Receiver([Answer(), answer]) as receiver:
        sink = make(receiver.url(), timeout_s=0.4)
        with pytest.raises(SinkError, match=r"http://127\.0\.0\.1:\d+ did not answer within 0\.4 s") as caught:
            sink.deliver(numbered(3))
        assert caught.value.delivered == 1
        sink.deliver(numbered(2, first=2))
        assert [event_of(request) for request in receiver.requests] == [*numbered(2), *numbered(2, first=2)]


def test_a_receiver_that_hangs_up(make: Make) -> None:
    with Receiver([Answer(cut=True)]) as receiver:
        sink = make(receiver.url())
        with pytest.raises(SinkError, match="broke off") as caught:
            sink.deliver(numbered(2))
        assert caught.value.delivered == 0
        sink.deliver(numbered(2))


def test_a_receiver_that_is_not_there(make: Make) -> None:
    with Receiver() as receiver:
        url = receiver.url()
    with pytest.raises(SinkError, match=r"cannot be reached.*Connection refused"):
        make(url).deliver(numbered(1))


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_closing_cuts_a_delivery_short(make: Make, certificates: Certificates, secure: bool) -> None:
    errors: list[SinkError] = []
    with Receiver([Answer(hang=True)], tls=certificates if secure else None) as receiver:
        sink = make(receiver.url(), timeout_s=60.0, ca_file=certificates.authority)

        def deliver() -> None:
            try:
                sink.deliver(numbered(1))
            except SinkError as error:
                errors.append(error)

        thread = threading.Thread(target=deliver)
        thread.start()
        assert receiver.hanging.wait(30)
        sink.close()
        thread.join(10)
        assert not thread.is_alive()
    assert [str(error) for error in errors] == ["the sink was closed during a delivery"]
    with pytest.raises(SinkError, match="closed"):
        sink.deliver(numbered(1))


def test_https_is_verified(make: Make, certificates: Certificates, tmp_path: Path) -> None:
    with Receiver(tls=certificates) as receiver:
        make(receiver.url(), ca_file=certificates.authority).deliver(numbered(2))
        assert [event_of(request) for request in receiver.requests] == numbered(2)
        with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
            make(receiver.url()).deliver(numbered(1))
        with pytest.raises(SinkError, match=r"ca_file .*gone\.pem cannot be used: No such file"):
            make(receiver.url(), ca_file=tmp_path / "gone.pem").deliver(numbered(1))
        assert len(receiver.requests) == 2
    elsewhere = make_certificates(tmp_path / "other", names="DNS:elsewhere.example")
    with Receiver(tls=elsewhere) as receiver:
        with pytest.raises(SinkError, match=r"CERTIFICATE_VERIFY_FAILED.*127\.0\.0\.1"):
            make(receiver.url(), ca_file=elsewhere.authority).deliver(numbered(1))
        assert receiver.requests == []


def test_headers_and_a_token_are_sent_and_never_shown(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    shown = []
    with Receiver([Answer(), Answer(status=500, body=b"bad key hunter2-key or t0ken-long")]) as receiver:
        options = WebhookOptions(
            url=receiver.url("/p?key=qu3ry-key"),
            headers={"X-Api-Key": "hunter2-key"},
            bearer_token="t0ken-long",
            secrets=(WebhookSecret.parse(secret_text(KEY)),),
        )
        sink = make(**{name: getattr(options, name) for name in ("url", "headers", "bearer_token", "secrets")})
        with caplog.at_level(logging.DEBUG), pytest.raises(SinkError) as caught:
            sink.deliver(numbered(2))
        headers = receiver.requests[0].headers
        shown = [repr(options), repr(sink), str(caught.value), caplog.text]
    assert (headers["authorization"], headers["x-api-key"]) == ("Bearer t0ken-long", "hunter2-key")
    assert "bad key *** or ***" in str(caught.value)
    hidden = ("hunter2", "t0ken", "qu3ry", secret_text(KEY)[6:], repr(KEY))
    assert not [text for text in shown[1:] if any(secret in text for secret in hidden)]
    assert not any(secret in shown[0] for secret in hidden if secret != "qu3ry")


def test_a_proxy_of_the_environment_is_not_used(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with Receiver() as receiver:
        make(receiver.url()).deliver(numbered(1))
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({"url": "ftp://example.com/"}, "https:// or http://", id="another-scheme"),
        pytest.param({"url": "https:///path"}, "a host", id="no-host"),
        pytest.param({"url": "https://a.example/x y"}, "percent-encoded", id="a-space"),
        pytest.param({"url": "https://u:hunter2@a.example/"}, "holds no user", id="user-and-password"),
        pytest.param({"url": "https://a.example:99999/"}, "[Pp]ort", id="no-port"),
        pytest.param({"headers": {"CE-Id": "x"}}, "cannot be a header", id="an-attribute"),
        pytest.param({"headers": {"Webhook-Signature": "x"}}, "cannot be a header", id="the-signature"),
        pytest.param({"headers": {"a b": "x"}}, "cannot be a header", id="no-header"),
        pytest.param({"headers": {"a": "hunter2\r\nb: c"}}, "printable", id="a-header-in-a-header"),
        pytest.param({"bearer_token": "hunter2\n"}, "printable", id="a-newline-in-the-token"),
        pytest.param({"bearer_token": "a", "headers": {"Authorization": "b"}}, "two answers", id="authorized-twice"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        WebhookOptions(**{"url": "https://a.example/", **options})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/vidface/cameras/lobby", "/vidface/cameras/lobby"),
        ("a b", "a%20b"),
        ('say "50%"', "say%20%2250%25%22"),
        ("Ångström €", "%C3%85ngstr%C3%B6m%20%E2%82%AC"),
        ("😀", "%F0%9F%98%80"),
    ],
)
def test_attributes_as_headers(text: str, written: str) -> None:
    assert header_value(text) == written


def test_through_the_publisher_nothing_is_lost_and_the_order_holds(make: Make, outbox: Outbox, tmp_path: Path) -> None:
    answers = [
        Answer(),
        Answer(status=500),
        Answer(),
        Answer(cut=True),
        Answer(),
        Answer(hang=True),
        Answer(status=410, body=b"gone for good"),
    ]
    events = numbered(30)
    with Receiver(answers) as receiver:
        publisher = Publisher(outbox, [make(receiver.url(), timeout_s=0.3)], batch_size=8, backoff=QUICK)
        publisher.start()
        outbox.append(events)
        requests = receiver.wait_for(33)
        assert publisher.stop(drain_timeout_s=30) == {"webhook": 0}
        arrived = [event_of(request) for request in requests]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead-letters.jsonl").read_text().splitlines()]
    assert "answered 410" in letter["reason"]
    assert "gone for good" in letter["reason"]
    # Each event that failed was sent once more; the order of what is new is the order of the events.
    assert list(dict.fromkeys(event.id for event in arrived)) == [event.id for event in events]
    assert Event.from_cloudevent(letter["event"]) == events[3]
    (figures,) = publisher.statistics()
    assert (figures.delivered, figures.refused, figures.retries, figures.pending) == (29, 1, 3, 0)


def test_importing_the_sink_does_not_import_the_client() -> None:
    code = "import sys, pipeline.events.webhook; sys.exit('urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
