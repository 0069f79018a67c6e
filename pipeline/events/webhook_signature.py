"""How a webhook's receiver knows that a request is ours, unchanged and fresh.

The scheme is that of Standard Webhooks 1.0 (https://www.standardwebhooks.com), for which most languages have a
library. Three headers:

- ``webhook-id``: `message_id` of the event, the same each time it is sent; repeated as ``idempotency-key``.
- ``webhook-timestamp``: when this attempt was made, in whole Unix seconds. Receivers refuse what is older than a few
  minutes, so that a recorded request opens no door later.
- ``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256, by the secret's bytes, over
  ``{webhook-id}.{webhook-timestamp}.{body}``. Two of them with a space between while a secret is being changed; one
  that fits is enough.

The ``ce-`` headers are not in that text. But the id is made of the event's source, id and type, so who works it out
again knows that these three are ours; camera, times and all the rest are in the signed body.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from pipeline.events.event import Event

PREFIX: Final = "whsec_"
"""How a secret begins, so that one that leaked is recognised by scanners."""

_KEY_BYTES: Final = (24, 64)


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A secret that the sender and the receiver share. Not in ``repr``.

    Attributes:
        key: The bytes that HMAC takes.
    """

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``whsec_`` and the base64 of 24 to 64 random bytes.

        Raises:
            ValueError: It is none; the message does not hold it.
        """
        try:
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        least, most = _KEY_BYTES
        if not text.startswith(PREFIX) or not least <= len(key) <= most:
            # `from None`: the cause could quote the secret.
            raise ValueError(
                f"a webhook secret is {PREFIX} and the base64 of {least} to {most} random bytes; "
                f'echo "{PREFIX}$(openssl rand -base64 32)" makes one'
            ) from None
        return cls(key)

    def sign(self, message: str, timestamp_s: int, body: bytes) -> str:
        """The signature of one attempt, ``v1,`` and base64."""
        text = f"{message}.{timestamp_s}.".encode() + body
        return "v1," + base64.b64encode(hmac.digest(self.key, text, "sha256")).decode()


def message_id(event: Event) -> str:
    """``evt_`` and the first 32 hexadecimal digits of SHA-256 over source, id and type, with newlines between."""
    text = f"{event.source}\n{event.id}\n{event.type}"
    return "evt_" + hashlib.sha256(text.encode()).hexdigest()[:32]


def signature_headers(secrets: Sequence[WebhookSecret], message: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; without a secret there is no signature, and nothing to trust."""
    headers = {"webhook-id": message, "webhook-timestamp": str(timestamp_s)}
    if secrets:
        headers["webhook-signature"] = " ".join(secret.sign(message, timestamp_s, body) for secret in secrets)
    return headers
