"""Where events go: one type for each kind of sink, told apart by their ``type``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from pipeline.events.kafka_security import KafkaSecurity
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit

_NAME_HELP = (
    "How the sink is called in statistics and in the outbox, which keeps what a sink has not yet acknowledged under "
    "this name; change it and the sink begins anew. Needed where there are two sinks of a type."
)


class JsonlSinkConfig(Section):
    """A file that gets one event a line, in CloudEvents' JSON form."""

    type: Literal["jsonl"] = Field(description="A file of JSON lines.")
    name: str = Field(default="jsonl", pattern=NAME_PATTERN, description=_NAME_HELP)
    path: FilePath = Field(
        description="The file; events are appended. A relative path counts from the configuration file's folder."
    )


SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/,@\[\]]+):(?P<port>\d{1,5})")


def _servers(value: object) -> object:
    """``a:9092,b:9092``, as it comes from an environment variable, is a list too."""
    if isinstance(value, str):
        return [server.strip() for server in value.split(",") if server.strip()]
    return value


def _server(value: object) -> object:
    if isinstance(value, str):
        match = _SERVER.fullmatch(value)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise PydanticCustomError("server", "expected host:port, such as kafka-1.example.com:9092")
    return value


class KafkaSinkConfig(Section):
    """A Kafka topic; events are keyed by camera, so that each camera's order holds."""

    type: Literal["kafka"] = Field(description="A Kafka topic.")
    name: str = Field(default="kafka", pattern=NAME_PATTERN, description=_NAME_HELP)
    bootstrap_servers: Annotated[
        tuple[Annotated[str, BeforeValidator(_server)], ...],
        BeforeValidator(_servers, json_schema_input_type=Annotated[list[str], Field(min_length=1)] | str),
    ] = Field(min_length=1, description="Brokers to begin with, as host:port; a list, or one text with commas between.")
    topic: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,249}$", description="The topic; it must exist or be created by the broker."
    )
    security_protocol: SecurityProtocol = Field(
        default="PLAINTEXT",
        description="How the connection is secured. The SASL ones need user and password.",
    )
    sasl_mechanism: SaslMechanism | None = Field(
        default=None, description="How user and password are proven; with a SASL protocol PLAIN unless given."
    )
    username: str | None = Field(default=None, min_length=1, description="The user, with a SASL protocol.")
    password: SecretStr | None = Field(
        default=None, min_length=1, description="Its password; write ${NAME}, not the password."
    )
    ssl_cafile: FilePath | None = Field(
        default=None, description="Certificates that the broker's is checked against (PEM); the system's unless given."
    )
    ssl_certfile: FilePath | None = Field(
        default=None, description="Our own certificate (PEM), where the broker asks for one."
    )
    ssl_keyfile: FilePath | None = Field(default=None, description="The private key of ssl_certfile (PEM).")
    ssl_password: SecretStr | None = Field(
        default=None, min_length=1, description="The password of ssl_keyfile; write ${NAME}."
    )
    ssl_check_hostname: bool = Field(default=True, description="Whether the broker's certificate must name its host.")

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        if self.topic in {".", ".."}:
            raise misfit(("topic",), "'.' and '..' are no topics")
        if self.security_protocol.startswith("SASL_"):
            for field in ("username", "password"):
                if getattr(self, field) is None:
                    raise misfit((field,), f"is needed with security_protocol {self.security_protocol}")
        else:
            self._refuse(("sasl_mechanism", "username", "password"), "SASL_PLAINTEXT or SASL_SSL")
        if not self.security_protocol.endswith("SSL"):
            self._refuse(("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password"), "SSL or SASL_SSL")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise misfit(
                ("ssl_certfile" if self.ssl_certfile else "ssl_keyfile",), "ssl_certfile and ssl_keyfile go together"
            )
        return self

    def security(self) -> KafkaSecurity:
        """What the sink and the reader of the topic need to be let in. Holds the passwords in the clear."""
        needs_login = self.security_protocol.startswith("SASL_")
        mechanism = (self.sasl_mechanism or "PLAIN") if needs_login else None
        return KafkaSecurity(
            security_protocol=self.security_protocol,
            sasl_mechanism=mechanism,
            sasl_plain_username=self.username,
            sasl_plain_password=None if self.password is None else self.password.get_secret_value(),
            ssl_cafile=self.ssl_cafile,
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
            ssl_password=None if self.ssl_password is None else self.ssl_password.get_secret_value(),
            ssl_check_hostname=self.ssl_check_hostname,
        )

    def _refuse(self, fields: tuple[str, ...], protocols: str) -> None:
        """Credentials that would silently not be used look like a secured connection and are none."""
        for field in fields:
            if getattr(self, field) is not None:
                raise misfit(
                    (field,), f"has no use with security_protocol {self.security_protocol}; it needs {protocols}"
                )


SinkConfig = Annotated[JsonlSinkConfig | KafkaSinkConfig, Field(discriminator="type")]
"""Any sink."""
