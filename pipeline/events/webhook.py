"""The webhook sink: each event is posted to a URL. The only file that knows the HTTP client.

Request
    ``POST``, a CloudEvent in the binary mode of CloudEvents' HTTP binding: the attributes are ``ce-`` headers, the
    body is the data as JSON. Beside them stand an idempotency key and a signature over time and body; their exact
    form is in :mod:`~pipeline.events.webhook_signature`.

Answers
    ======================  ======================================================================================
    2xx                     The receiver has it; the next event is sent.
    401, 403, 404, 407,     Tried again, later and later, and not before ``Retry-After``: an expired token or an address
    408, 425, 429, 5xx      that is being deployed delays events. Which 4xx is for ``retry_statuses`` to say.
    3xx                     Tried again, and reported: a redirect is never followed, since it would carry names and
                            credentials to where nobody configured them.
    other 4xx               Refused for good: the event goes to the dead letters.
    none, or a broken line  Tried again.
    ======================  ======================================================================================

Order
    One request at a time, on a connection that is kept: an event is sent when the one before it was answered. A
    request that was cut off may have arrived; it is sent again with the same ``webhook-id``.

Trust
    Certificates are verified, there is no switch against it: ``ca_file`` names a private authority. Proxies of the
    environment are not used.
"""

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.events.errors import EventRefused, SinkError
from pipeline.events.event import CONTENT_TYPE, Event
from pipeline.events.webhook_options import WebhookOptions
from pipeline.events.webhook_signature import message_id, signature_headers

_USER_AGENT: Final = "vidface"
_ANSWER_BYTES: Final = 64 * 1024
_QUOTED_CHARACTERS: Final = 200


class WebhookSink:
    """Posts events to a URL, in their order, and believes in a delivery when it was answered with 2xx.

    Connects with the first delivery.
    """

    def __init__(
        self,
        options: WebhookOptions,
        *,
        name: str = "webhook",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Describe the receiver; nothing is connected.

        Args:
            options: Where, and how.
            name: The sink's name in the outbox.
            now_s: The wall clock, Unix seconds: for ``webhook-timestamp``, and for a ``Retry-After`` that is a date.
        """
        self._options = options
        self._name = name
        self._now_s = now_s
        place = urlsplit(options.url)
        self._host, self._port, self._tls = str(place.hostname), place.port, place.scheme == "https"
        self._target = (place.path or "/") + (f"?{place.query}" if place.query else "")
        self._delivering = threading.Lock()  # held during a delivery: its end is when the connection may be closed
        self._lock = threading.Lock()  # guards the two below; never held while waiting for the receiver
        self._connection: Any = None
        self._closed = False

    @property
    def name(self) -> str:
        """The sink's name in the outbox."""
        return self._name

    def __repr__(self) -> str:
        return f"WebhookSink({self._options.origin})"

    def deliver(self, events: Sequence[Event]) -> None:
        """Post the events one after the other. Blocks.

        Raises:
            SinkError: The receiver is away, slow, busy or in trouble. ``delivered`` counts from the first event.
            EventRefused: It answered that it will not take an event.
        """
        with self._delivering:
            for position, event in enumerate(events):
                try:
                    self._post(event)
                except EventRefused as error:
                    raise EventRefused(str(error), delivered=position) from error
                except SinkError as error:
                    raise SinkError(str(error), delivered=position, retry_after_s=error.retry_after_s) from error

    def close(self) -> None:
        """Drop the connection; a delivery that is under way fails, at once or within ``connect_timeout_s``."""
        with self._lock:
            self._closed = True
            connection = self._connection
        if connection is not None:
            _cut(connection)
        with self._delivering:
            self._drop()

    def _post(self, event: Event) -> None:
        import urllib3.exceptions

        headers, body = self._request(event)
        overdue = threading.Event()
        try:
            connection = self._connected()
            with _deadline(connection, self._options.timeout_s, overdue):
                status, answered, answer = _exchange(connection, self._target, headers, body)
            if overdue.is_set():  # a line that is cut within the headers looks like their end
                raise TimeoutError
        except SinkError:
            self._drop()
            raise
        except (OSError, HTTPException, urllib3.exceptions.HTTPError) as error:
            self._drop()
            raise SinkError(self._explain(error, overdue=overdue.is_set())) from error
        if answer is None or answered.get("connection", "").lower() == "close":
            self._drop()
        self._judge(event, status, answered, answer or b"")

    def _request(self, event: Event) -> tuple[dict[str, str], bytes]:
        attributes, body = event.to_binary()
        message = message_id(event)
        headers = {"content-type": CONTENT_TYPE, "user-agent": _USER_AGENT, "idempotency-key": message}
        headers |= {f"ce-{name}": header_value(text) for name, text in attributes.items()}
        headers |= signature_headers(self._options.secrets, message, int(self._now_s()), body)
        if self._options.bearer_token is not None:
            headers["authorization"] = f"Bearer {self._options.bearer_token}"
        return {**headers, **self._options.headers}, body

    def _connected(self) -> Any:
        with self._lock:
            if self._closed:
                raise SinkError("the sink is closed")
            connection = self._connection
        if connection is not None and connection.is_connected:
            return connection
        self._drop()  # the receiver hung up since, as servers do with idle connections
        connection = self._connect()
        if not self._keep(connection):
            connection.close()
            raise SinkError("the sink was closed while it connected")
        return connection

    def _keep(self, connection: Any) -> bool:
        with self._lock:
            if not self._closed:
                self._connection = connection
            return not self._closed

    def _connect(self) -> Any:
        import urllib3.connection

        options = self._options
        connection: Any
        if self._tls:
            connection = urllib3.connection.HTTPSConnection(
                self._host, self._port, timeout=options.connect_timeout_s, ssl_context=_trust(options.ca_file)
            )
        else:
            connection = urllib3.connection.HTTPConnection(self._host, self._port, timeout=options.connect_timeout_s)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.timeout = options.timeout_s + 1.0  # the deadline is first
        return connection

    def _judge(self, event: Event, status: int, headers: Mapping[str, str], answer: bytes) -> None:
        if 200 <= status < 300:
            return
        said = self._options.scrub(_one_line(answer))
        what = f"{self._options.origin} answered {status} to event {event.id}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            raise SinkError(f"{what}; redirects are not followed, correct the url")
        if 400 <= status < 500 and status not in self._options.retry_statuses:
            raise EventRefused(what)
        raise SinkError(what, retry_after_s=retry_after_s(headers.get("retry-after"), self._now_s()))

    def _explain(self, error: Exception, *, overdue: bool) -> str:
        with self._lock:
            closed = self._closed
        if closed:
            return "the sink was closed during a delivery"
        options = self._options
        if overdue:
            return f"{options.origin} did not answer within {options.timeout_s:g} s"
        reason = str(error) or type(error).__name__
        return options.scrub(f"{options.origin} cannot be reached, or broke off: {reason}")

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def header_value(text: str) -> str:
    """A CloudEvents attribute as a header's value: percent-encoded as the HTTP binding says (section 3.1.3.2)."""
    return "".join(
        character if "!" <= character <= "~" and character not in '"%' else _percent(character) for character in text
    )


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """The seconds that a ``Retry-After`` header asks for, be it a number or a date; None if it is neither."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,10}", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now_s, UTC)).total_seconds())


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """Read anew for each connection, so that renewed certificates count without a restart."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SinkError(f"ca_file {ca_file} cannot be used: {error.strerror or error}") from error


def _exchange(
    connection: Any, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, Mapping[str, str], bytes | None]:
    """Send a request and return (status, headers by lower-case name, answer); None for one too long to be read."""
    connection.request("POST", target, body=body, headers=headers, preload_content=False, decode_content=False)
    response = connection.getresponse()
    with contextlib.closing(response):
        answer: bytes = response.read(_ANSWER_BYTES)
    whole = len(answer) < _ANSWER_BYTES
    status: int = response.status
    return status, {name.lower(): value for name, value in response.headers.items()}, answer if whole else None


@contextlib.contextmanager
def _deadline(connection: Any, timeout_s: float, overdue: threading.Event) -> Iterator[None]:
    """Cut the connection when the time is over: a socket's own timeout begins anew with each byte."""

    def cut() -> None:
        overdue.set()
        _cut(connection)

    timer = threading.Timer(timeout_s, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _cut(connection: Any) -> None:
    """Wake whoever waits for the connection's socket. Any thread."""
    held = connection.sock
    if held is not None:
        try:
            # Below TLS: SSLSocket.shutdown would take its state away under the thread that reads.
            socket.socket.shutdown(held, socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def _one_line(answer: bytes) -> str:
    text = "".join(character if character.isprintable() else " " for character in answer.decode(errors="replace"))
    return " ".join(text.split())[:_QUOTED_CHARACTERS]


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
