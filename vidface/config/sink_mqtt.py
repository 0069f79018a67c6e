"""The section of an MQTT broker."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.events.mqtt_options import MqttOptions
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit
from vidface.config.sink_parts import CONNECT_TIMEOUT_HELP, NAME_HELP, Retry, RetryConfig, Server

_TOPIC = r"^[^\s+#$/][^+#]{0,200}$"


class MqttSinkConfig(Section):
    """An MQTT 5 broker; each camera has its topics, and its state is retained. Needs vidface[mqtt]."""

    type: Literal["mqtt"] = Field(description="An MQTT 5 broker.")
    name: str = Field(default="mqtt", pattern=NAME_PATTERN, description=NAME_HELP)
    server: Server = Field(description="The broker, as host:port; 1883 is usual, and 8883 with tls.")
    prefix: str = Field(
        default="vidface",
        pattern=_TOPIC,
        description="What topics begin with: prefix/camera/sighting/identified and the like.",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="For brokers that give rights by it; each client needs its own. The broker makes one up unless "
        "given.",
    )
    username: str | None = Field(default=None, min_length=1, description="The user, where the broker asks for one.")
    password: SecretStr | None = Field(
        default=None, min_length=1, description="Its password; write ${NAME}, not the password."
    )
    tls: bool = Field(
        default=False, description="Whether to encrypt; the broker's certificate must then be valid and name its host."
    )
    ca_file: FilePath | None = Field(
        default=None, description="Certificates that the broker's is checked against (PEM); the system's unless given."
    )
    cert_file: FilePath | None = Field(
        default=None, description="Our own certificate (PEM), where the broker asks for one."
    )
    key_file: FilePath | None = Field(default=None, description="The private key of cert_file (PEM), not encrypted.")
    status_topic: str | None = Field(
        default=None,
        pattern=_TOPIC,
        description="A topic that holds 'online' while this process is connected, and 'offline' else, by the last "
        "will; none unless given.",
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, le=10, description=CONNECT_TIMEOUT_HELP)
    timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="An event that is not acknowledged for so long has failed. Seconds."
    )
    retry: Retry = RetryConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("ca_file", "cert_file", "key_file"):
            if getattr(self, field) is not None and not self.tls:
                raise misfit((field,), "has no use without tls: true")
        if (self.cert_file is None) != (self.key_file is None):
            raise misfit(("cert_file" if self.cert_file else "key_file",), "cert_file and key_file go together")
        for field in ("prefix", "status_topic"):
            if str(getattr(self, field)).endswith("/"):
                raise misfit((field,), "ends in a slash; leave it out")
        return self

    def options(self) -> MqttOptions:
        """What the sink takes. Holds the password in the clear."""
        return MqttOptions(
            server=self.server,
            prefix=self.prefix,
            client_id=self.client_id,
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            tls=self.tls,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            status_topic=self.status_topic,
            connect_timeout_s=self.connect_timeout_s,
            timeout_s=self.timeout_s,
        )

    def where(self) -> str:
        """Where events go, for people."""
        return f"{self.server} {self.prefix}/#"
