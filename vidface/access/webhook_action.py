"""A door that an HTTP server opens: one signed POST, never repeated, never redirected.

The signature is that of :mod:`pipeline.events.webhook_signature`; ``webhook-id`` is the same for the same opening and
for no other. A receiver checks the signature, refuses an id that it has seen, and opens nothing after the body's
``expires_at``.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.events.webhook_signature import WebhookSecret, signature_headers
from vidface.access.action import Opening
from vidface.access.errors import ActionFailed, ActionTimedOut


class WebhookAction:
    """Posts to one URL."""

    def __init__(
        self,
        url: str,
        *,
        key: bytes | None,
        timeout_s: float,
        ca_file: Path | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Describe the server; nothing is connected.

        Args:
            url: ``https://`` or ``http://``, without user and password.
            key: Signs the body, see `signing_key`; None for no signature.
            timeout_s: For all of it, from connecting to the answer's status.
            ca_file: Certificates to check the server's against; the system's where None.
            now_s: The clock of the signature's timestamp.
        """
        self._parts = urlsplit(url)
        self._key = key
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._now_s = now_s

    @property
    def timeout_s(self) -> float:
        """For all of it."""
        return self._timeout_s

    def run(self, opening: Opening) -> None:
        """Post it; see `Action`."""
        body = json.dumps(opening.to_json(), separators=(",", ":")).encode()
        place = f"{self._parts.scheme}://{self._parts.netloc}"
        deadline_s = time.monotonic() + self._timeout_s
        connection = self._connection()
        try:
            try:
                connection.connect()
            except TimeoutError as error:
                words = f"{place} could not be reached within {self._timeout_s:g} s"
                raise ActionTimedOut(words, nothing_begun=True) from error
            except (OSError, ValueError) as error:
                raise ActionFailed(f"{place} cannot be reached: {_reason(error)}", nothing_begun=True) from error
            with _shut_at(connection.sock, deadline_s) as is_shut:
                try:
                    connection.request("POST", self._target(), body, self._headers(opening, body))
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException) as error:
                    if is_shut() or isinstance(error, TimeoutError):
                        raise ActionTimedOut(f"{place} did not answer within {self._timeout_s:g} s") from error
                    raise ActionFailed(f"{place} did not answer: {_reason(error)}") from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            redirected = "; a redirect is not followed" if 300 <= status < 400 else ""
            raise ActionFailed(f"{place} answered with status {status}{redirected}")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme.lower() == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            words = f"the certificates in {self._ca_file} cannot be used: {_reason(error)}"
            raise ActionFailed(words, nothing_begun=True) from error
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=context)

    def _target(self) -> str:
        query = f"?{self._parts.query}" if self._parts.query else ""
        return (self._parts.path or "/") + query

    def _headers(self, opening: Opening, body: bytes) -> dict[str, str]:
        message = message_id(opening)
        secrets = () if self._key is None else (WebhookSecret(self._key),)
        return {
            "content-type": "application/json",
            "user-agent": "vidface",
            "idempotency-key": message,
            **signature_headers(secrets, message, int(self._now_s()), body),
        }


def message_id(opening: Opening) -> str:
    """The same for the same opening and for no other: ``opn_`` and 32 hexadecimal digits."""
    return "opn_" + hashlib.sha256(opening.key.encode()).hexdigest()[:32]


def signing_key(secret: str) -> bytes:
    """The bytes of a secret, ``whsec_`` and the base64 of 24 to 64 random bytes.

    Raises:
        ValueError: It is none; the message does not hold it.
    """
    try:
        return WebhookSecret.parse(secret).key
    except ValueError:
        raise ValueError("expected whsec_ and the base64 of 24 to 64 random bytes") from None


@contextlib.contextmanager
def _shut_at(connected: socket.socket, deadline_s: float) -> Iterator[Callable[[], bool]]:
    """End a connection at a moment (monotonic seconds): a socket's own timeout begins anew with every byte."""
    shut = threading.Event()

    def end() -> None:
        shut.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline_s - time.monotonic()), end)
    timer.start()
    try:
        yield shut.is_set
    finally:
        timer.cancel()
        timer.join()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
