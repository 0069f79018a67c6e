"""Where events go: one type for each kind of sink, told apart by their ``type``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import core_schema

from pipeline.events.kafka_security import KafkaSecurity
from pipeline.events.kafka_topic import NewTopic
from pipeline.events.rotation import Rotation
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit
from vidface.config.sink_mqtt import MqttSinkConfig
from vidface.config.sink_parts import CONNECT_TIMEOUT_HELP, NAME_HELP, Retry, RetryConfig, Server
from vidface.config.sink_plugin import PluginSinkConfig, plugin_types, section_of
from vidface.config.sink_webhook import WebhookSinkConfig


class JsonlSinkConfig(Section):
    """A file that gets one event a line, in CloudEvents' JSON form."""

    type: Literal["jsonl"] = Field(description="A file of JSON lines.")
    name: str = Field(default="jsonl", pattern=NAME_PATTERN, description=NAME_HELP)
    path: FilePath = Field(
        description="The file; events are appended. A relative path counts from the configuration file's folder."
    )
    rotate_mb: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="A file that would grow beyond this is set aside as path.000001, path.000002 and so on, and a new "
        "one is begun. Megabytes of 1,000,000 bytes.",
    )
    rotate: Literal["daily"] | None = Field(
        default=None, description="daily: each day (UTC) has a file of its own. Goes together with rotate_mb."
    )
    keep: int | None = Field(
        default=None,
        ge=1,
        le=999_999,
        description="How many files that were set aside are kept; the oldest is removed, delivered or not to anybody "
        "who reads it. All unless given.",
    )
    retry: Retry = RetryConfig()

    @model_validator(mode="after")
    def _check_rotation(self) -> Self:
        if self.keep is not None and self.rotate is None and self.rotate_mb is None:
            raise misfit(("keep",), "has no use without rotate_mb or rotate")
        return self

    def rotation(self) -> Rotation | None:
        """What the sink takes; None where the file is never set aside."""
        if self.rotate is None and self.rotate_mb is None:
            return None
        max_bytes = None if self.rotate_mb is None else max(1, round(self.rotate_mb * 1e6))
        return Rotation(max_bytes=max_bytes, daily=self.rotate == "daily", keep=self.keep)

    def where(self) -> str:
        """Where events go, for people."""
        return str(self.path)


SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


def _servers(value: object) -> object:
    """``a:9092,b:9092``, as it comes from an environment variable, is a list too."""
    if isinstance(value, str):
        return [server.strip() for server in value.split(",") if server.strip()]
    return value


class CreateTopicConfig(Section):
    """What the topic is to be like if it has to be made; one that is there is left as it is."""

    partitions: int = Field(
        default=NewTopic().partitions,
        ge=1,
        le=10_000,
        description="At least as many as consumers are to share the work; not to be changed later.",
    )
    replication_factor: int = Field(
        default=NewTopic().replication_factor,
        ge=1,
        le=100,
        description="On how many brokers each event is kept; all but one of them must have it before it counts as "
        "delivered.",
    )
    retention_h: float = Field(
        default=NewTopic().retention_h, gt=0, le=1_000_000, description="How long events are kept. Hours."
    )

    def topic(self) -> NewTopic:
        """What the sink takes."""
        return NewTopic(
            partitions=self.partitions, replication_factor=self.replication_factor, retention_h=self.retention_h
        )


class KafkaTopicConfig(Section):
    """A Kafka topic, and how to be let in; for who writes and for who reads."""

    type: Literal["kafka"] = Field(description="A Kafka topic.")
    bootstrap_servers: Annotated[
        tuple[Server, ...],
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

    def where(self) -> str:
        """Where events go, for people."""
        return f"{','.join(self.bootstrap_servers)} {self.topic}"

    def _refuse(self, fields: tuple[str, ...], protocols: str) -> None:
        """Credentials that would silently not be used look like a secured connection and are none."""
        for field in fields:
            if getattr(self, field) is not None:
                raise misfit(
                    (field,), f"has no use with security_protocol {self.security_protocol}; it needs {protocols}"
                )


class KafkaSinkConfig(KafkaTopicConfig):
    """A Kafka topic; events are keyed by camera, so that each camera's order holds."""

    name: str = Field(default="kafka", pattern=NAME_PATTERN, description=NAME_HELP)
    compression: Literal["none", "gzip"] = Field(
        default="none", description="How batches are packed: gzip costs this machine time, and saves network and disks."
    )
    create_topic: CreateTopicConfig | None = Field(
        default=None,
        description="Make the topic, like this, if it is not there; unless given that is the broker's business or its "
        "owner's.",
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, le=10, description=CONNECT_TIMEOUT_HELP)
    timeout_s: float = Field(
        default=15.0,
        ge=2,
        le=300,
        description="Events that are not acknowledged for so long have failed, and are sent again. Seconds.",
    )
    retry: Retry = RetryConfig()


BUILT_IN = ("jsonl", "kafka", "mqtt", "webhook")
"""The types that come with vidface."""

_BuiltIn = Annotated[
    JsonlSinkConfig | KafkaSinkConfig | WebhookSinkConfig | MqttSinkConfig, Field(discriminator="type")
]


def sink_types() -> list[str]:
    """The types that a sink may have here."""
    return [*BUILT_IN, *(kind for kind in plugin_types() if kind not in BUILT_IN)]


def _any_sink(value: Any, built_in: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """A sink of others by its own section, the rest by ours."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in BUILT_IN:
        section = section_of(kind)
        if section is not None:
            return section.model_validate(value, context=info.context)
    return built_in(value)


def _core_schema(_source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    return core_schema.with_info_wrap_validator_function(_any_sink, handler.generate_schema(_BuiltIn))


def _json_schema(schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
    others = {
        "type": "object",
        "description": "A sink of another distribution, which knows its fields.",
        "properties": {"type": {"type": "string", "not": {"enum": list(BUILT_IN)}}},
        "required": ["type"],
    }
    return {"anyOf": [handler(schema), others]}


class _AnySink:
    """How a sink is validated and described."""

    __get_pydantic_core_schema__ = staticmethod(_core_schema)
    __get_pydantic_json_schema__ = staticmethod(_json_schema)


SinkConfig = Annotated[
    JsonlSinkConfig | KafkaSinkConfig | WebhookSinkConfig | MqttSinkConfig | PluginSinkConfig, _AnySink
]
"""Any sink."""
