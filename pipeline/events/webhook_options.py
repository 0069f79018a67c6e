"""Where events are posted, and how; kept so that no credential is ever shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pipeline.events.webhook_signature import WebhookSecret

RETRY_STATUSES: Final = frozenset({401, 403, 404, 407, 408, 425, 429})
"""Of the 4xx those that are about us or about the moment, and not about the event: an expired token, an address that is
being deployed, too many requests. The next event would be answered likewise, and all would go to the dead letters."""

_HIDDEN: Final = "***"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = re.compile(r"(?i)ce-.*|webhook-.*|content-type|content-length|idempotency-key|host|transfer-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """Where events are posted, and how. Credentials are in neither ``repr`` nor any message.

    Attributes:
        url: ``https://`` or ``http://``, without user and password.
        secrets: What requests are signed with; more than one while it is being changed, none for no signature.
        headers: Added to each request. Their values are treated as credentials.
        bearer_token: Sent as ``Authorization: Bearer``.
        ca_file: Certificates to trust (PEM); the system's where None.
        connect_timeout_s: For connecting, TLS included.
        timeout_s: For a whole request, from its first byte to the last of its answer.
        retry_statuses: 4xx that are tried again.
    """

    url: str
    secrets: tuple[WebhookSecret, ...] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    connect_timeout_s: float = 5.0
    timeout_s: float = 10.0
    retry_statuses: frozenset[int] = RETRY_STATUSES

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[!-~]+", self.url) or not urlsplit(self.url).hostname:
            raise ValueError("a webhook's url is https:// or http://, a host and a path, percent-encoded")
        place = urlsplit(self.url)
        if place.port == 0:  # also raises ValueError for what is no port at all
            raise ValueError("a webhook's url has a port of 1 to 65535")
        if place.username is not None or place.password is not None:
            raise ValueError("a webhook's url holds no user and password; use bearer_token or headers")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or _OURS.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a header of one's own")
            _require_printable(value, f"the header {name}")
        if self.bearer_token is not None:
            _require_printable(self.bearer_token, "bearer_token")
            if "authorization" in {name.lower() for name in self.headers}:
                raise ValueError("bearer_token and a header authorization are two answers to one question")

    @property
    def origin(self) -> str:
        """Scheme, host and port: what messages may show, since a path may hold a token."""
        place = urlsplit(self.url)
        port = f":{place.port}" if place.port else ""
        return f"{place.scheme}://{place.hostname}{port}"

    def scrub(self, text: str) -> str:
        """The text with every credential masked, for messages that quote the other side."""
        target = urlsplit(self.url)
        for secret in (self.bearer_token, *self.headers.values(), target.query):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text


def _require_printable(value: str, what: str) -> None:
    if not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", value):
        raise ValueError(f"{what} must be printable ASCII without spaces at its ends")
