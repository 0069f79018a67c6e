"""Which MQTT broker, which topics, and how to be let in; kept so that no password is ever shown."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pipeline.events.event import Event

_SERVER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/,@\[\]]+):(?P<port>\d{1,5})")
_TOPIC: Final = re.compile(r"[^\s+#$/\0][^+#\0]{0,200}")
_HIDDEN: Final = "***"
_TYPE_PREFIX: Final = "vidface."


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """How a broker is reached. The password is in neither ``repr`` nor any message.

    Attributes:
        server: ``host:port``; 1883 is usual, and 8883 with TLS.
        prefix: What topics begin with; no wildcards, no slash at its ends.
        client_id: For brokers that give rights by it; the broker makes one up where None. Two clients of one id throw
            each other out.
        username: For brokers that ask.
        password: Likewise.
        tls: Whether to encrypt, and to verify the broker's certificate and its name.
        ca_file: Certificates to trust (PEM); the system's where None.
        cert_file: Our own certificate (PEM), where the broker asks for one.
        key_file: Its key (PEM), without a password.
        status_topic: Holds, retained, ``online`` while we are connected, and ``offline`` else: by the broker, as our
            last will, if we vanish. None for no such topic.
        connect_timeout_s: For connecting, TLS included, and again for being let in.
        timeout_s: For the acknowledgements of what is under way together.
    """

    server: str
    prefix: str = "vidface"
    client_id: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    status_topic: str | None = None
    connect_timeout_s: float = 5.0
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        match = _SERVER.fullmatch(self.server)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise ValueError("an MQTT server is host:port, such as broker.example.com:8883")
        for what, topic in (("prefix", self.prefix), ("status_topic", self.status_topic)):
            if topic is not None and (not _TOPIC.fullmatch(topic) or topic.endswith("/")):
                raise ValueError(
                    f"{what} {topic!r} is no topic to publish to: no + # or $ at its start, no / at its ends"
                )
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ValueError("ca_file, cert_file and key_file have no use without tls")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")

    @property
    def host(self) -> str:
        """The server's name or address."""
        return self.server.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The server's port."""
        return int(self.server.rpartition(":")[2])

    def scrub(self, text: str) -> str:
        """The text with the password masked, for messages that quote a library."""
        return text.replace(self.password, _HIDDEN) if self.password else text


def topic_of(prefix: str, event: Event) -> str:
    """The topic of an event. What would be a level or a wildcard in a camera's id is percent-encoded."""
    kind = event.type.removeprefix(_TYPE_PREFIX).replace(".", "/")
    return f"{prefix}/{quote(event.camera, safe='')}/{quote(kind, safe='/')}"
