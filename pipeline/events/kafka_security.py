"""How to be let in by a Kafka cluster, kept so that no password is ever shown."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

_HIDDEN = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """The options of the same names in Kafka's clients. Passwords are in neither ``repr`` nor any message.

    Attributes:
        security_protocol: Whether to encrypt (``SSL``), log in (``SASL``), both or neither.
        sasl_mechanism: How to log in; needed with a SASL protocol.
        sasl_plain_username: For PLAIN and SCRAM.
        sasl_plain_password: For PLAIN and SCRAM.
        ssl_cafile: Certificates to trust, PEM; the system's where None.
        ssl_certfile: The client's own certificate, PEM.
        ssl_keyfile: The key of that certificate.
        ssl_password: The password of that key.
        ssl_check_hostname: Whether the broker's certificate must name the broker.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = field(default=None, repr=False)
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: str | None = field(default=None, repr=False)
    ssl_check_hostname: bool = True

    def __post_init__(self) -> None:
        sasl = self.security_protocol.startswith("SASL")
        if sasl != (self.sasl_mechanism is not None):
            raise ValueError(
                f"security_protocol {self.security_protocol} with sasl_mechanism {self.sasl_mechanism}: "
                "a SASL protocol needs a mechanism, and no other takes one"
            )
        if sasl and not (self.sasl_plain_username and self.sasl_plain_password):
            raise ValueError(f"sasl_mechanism {self.sasl_mechanism} needs sasl_plain_username and sasl_plain_password")

    def options(self) -> dict[str, Any]:
        """Return keyword arguments for a client. They hold the passwords: not for logs."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def scrub(self, text: str) -> str:
        """Return the text with every password masked, for messages that quote a library."""
        for secret in (self.sasl_plain_password, self.ssl_password):
            if secret:
                text = text.replace(secret, _HIDDEN)
        return text
