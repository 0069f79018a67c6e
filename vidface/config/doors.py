"""What a file of doors says, for ``vidface access``: cameras, people, hours, certainty, and what opens the door.

As in `model`: one frozen type a section, one described field an option; nothing is converted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from vidface.access.hours import Weekday
from vidface.access.webhook_action import signing_key
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit, refuse_twins
from vidface.config.sinks import KafkaTopicConfig

DEFAULT_ACCESS_DIR = "./access-state"
"""Where the audit log and the ledger are kept unless said otherwise."""

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_WEB = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
PersonEntry = Annotated[str, Field(min_length=1)]


def _time(value: object) -> object:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        # YAML reads 19:30 without quotes as the number 1170.
        raise PydanticCustomError("time", 'expected a time of day in quotes, "00:00" to "24:00"')
    return time.min if value == "24:00" else time.fromisoformat(value)


def _zone(value: object) -> object:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise PydanticCustomError("zone", "expected an IANA time zone, such as Europe/Berlin") from None
    return value


def _web(value: object) -> object:
    if isinstance(value, str) and not _WEB.fullmatch(value):
        raise PydanticCustomError("url", "expected a URL that begins with https:// or http://")
    return value


def _secret(secret: SecretStr) -> SecretStr:
    try:
        signing_key(secret.get_secret_value())
    except ValueError as error:
        raise PydanticCustomError("secret", "{words}", {"words": str(error)}) from None
    return secret


TimeOfDay = Annotated[
    time, BeforeValidator(_time), WithJsonSchema({"type": "string", "pattern": f"^({_TIME.pattern})$"})
]
TimeZone = Annotated[str, BeforeValidator(_zone)]
TimeoutSeconds = Annotated[
    float, Field(gt=0, le=60, description="An action that takes longer has failed, and is ended. Seconds.")
]


class HoursConfig(Section):
    """From a time of day up to another."""

    days: tuple[Weekday, ...] = Field(
        default=tuple(Weekday), min_length=1, description="The days on which they begin; left out, every day."
    )
    start: TimeOfDay = Field(alias="from", description='The time of day at which they begin, such as "07:00".')
    end: TimeOfDay = Field(
        alias="to",
        description='The time of day at which they end. Earlier than from: on the next day. "24:00" is legal.',
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start == self.end and self.start != time.min:
            raise misfit(("to",), 'is the same as from; for a whole day write from: "00:00", to: "24:00"')
        return self


class ScheduleConfig(Section):
    """Hours of the week, as a wall clock at the door shows them."""

    time_zone: TimeZone | None = Field(
        default=None, description="Whose clock counts; the file's time_zone unless given."
    )
    hours: tuple[HoursConfig, ...] = Field(min_length=1, description="Any of them is enough.")
    holidays: bool = Field(
        default=True,
        description="Whether the file's holidays are without hours: those dates, and the rest of a night that began on "
        "one.",
    )


class RuleConfig(Section):
    """Who, when and how sure; all of it must hold. A door opens when one of its rules does."""

    name: str = Field(pattern=NAME_PATTERN, description="Its name in the audit log, unique at its door.")
    people: tuple[PersonEntry, ...] = Field(default=(), description="Names, or ids from 'vidface gallery list'.")
    groups: tuple[Name, ...] = Field(default=(), description="Groups of this file; people and groups add up.")
    schedule: str | None = Field(default=None, description="A schedule of this file; left out, at any time.")
    min_score: float | None = Field(
        default=None,
        gt=-1,
        le=1,
        description="Least similarity (cosine); left out, the one that the pipeline asked for.",
    )
    min_margin: float = Field(
        default=0.08,
        ge=0,
        le=1,
        description="Least lead over the second most similar person. Where only one person is enrolled there is no "
        "lead, and only 0 opens.",
    )
    min_agreeing_shots: int = Field(default=3, ge=1, le=12, description="Least shots that alone give the same answer.")
    liveness: None = Field(
        default=None, description="Reserved: no version yet tells a person from a photo, so it must be left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _no_liveness(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("liveness") is not None:
            raise misfit(
                ("liveness",),
                "cannot be asked for: this version does not tell a person from a photo; leave it out, and do not let a "
                "face alone open what a photo must not",
            )
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.people and not self.groups:
            raise misfit((), "names nobody; give people or groups")
        return self


class CommandActionConfig(Section):
    """A program that opens the door. It gets the decision as JSON on its standard input; no shell is involved."""

    type: Literal["command"] = Field(description="A program.")
    command: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="The program's path and its arguments, each an item. Exit status 0 is success."
    )
    timeout_s: TimeoutSeconds = 5.0


class WebhookActionConfig(Section):
    """An HTTP POST that opens the door; any status from 200 to 299 is success. Redirects are not followed."""

    type: Literal["webhook"] = Field(description="An HTTP POST.")
    url: Annotated[str, BeforeValidator(_web)] = Field(description="Where to; it holds no user and password.")
    secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        default=None,
        description="Signs the body, so that nobody else can open the door: whsec_ and the base64 of 24 to 64 random "
        'bytes, as echo "whsec_$(openssl rand -base64 32)" makes; write ${NAME}.',
    )
    ca_file: FilePath | None = Field(
        default=None, description="Certificates that the server's is checked against (PEM); the system's unless given."
    )
    timeout_s: TimeoutSeconds = 5.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "@" in self.url.split("://", 1)[1].partition("/")[0]:
            raise misfit(("url",), "holds a user or password; the receiver is to check the signature, see secret")
        if self.ca_file is not None and not self.url.lower().startswith("https:"):
            raise misfit(("ca_file",), "has no use with an http URL")
        return self


class MqttActionConfig(Section):
    """A message that opens the door: MQTT 5, QoS 1, never retained, and void once the decision is too old."""

    type: Literal["mqtt"] = Field(description="An MQTT message.")
    host: str = Field(pattern=r"^[A-Za-z0-9.:_-]{1,253}$", description="The broker.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Its port; 8883 with tls, else 1883.")
    topic: str = Field(pattern=r"^[^+#\x00]{1,1000}$", description="The topic.")
    tls: bool = Field(default=False, description="Whether the connection is encrypted and the broker's name checked.")
    ca_file: FilePath | None = Field(
        default=None, description="Certificates that the broker's is checked against (PEM); the system's unless given."
    )
    username: str | None = Field(default=None, min_length=1, description="The user, where the broker asks for one.")
    password: SecretStr | None = Field(default=None, min_length=1, description="Its password; write ${NAME}.")
    timeout_s: TimeoutSeconds = 5.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.password is not None and self.username is None:
            raise misfit(("username",), "is needed with a password")
        if self.ca_file is not None and not self.tls:
            raise misfit(("ca_file",), "has no use without tls: true")
        return self


ActionConfig = Annotated[CommandActionConfig | WebhookActionConfig | MqttActionConfig, Field(discriminator="type")]
"""Any action."""


class DoorConfig(Section):
    """One door."""

    id: str = Field(pattern=NAME_PATTERN, description="Its name in the audit log, unique among the doors.")
    cameras: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        description="The cameras that look at it: their ids, or the sources of their events where they are of another "
        "site, such as /vidface/berlin/cameras/door.",
    )
    rules: tuple[RuleConfig, ...] = Field(min_length=1, description="Any of them is enough.")
    max_age_s: float = Field(
        default=3.0,
        gt=0,
        le=60,
        description="How old the picture may be at the moment of decision. Seconds.",
    )
    hold_off_s: float = Field(
        default=10.0,
        ge=0,
        le=86_400,
        description="How long it does not open again for the same person. Seconds; 0 for no such time.",
    )
    two_people_within_s: float | None = Field(
        default=None,
        gt=0,
        le=300,
        description="Two different people must be seen within so many seconds, each allowed by a rule. Default: one "
        "is enough.",
    )
    action: ActionConfig | None = Field(
        default=None, description="What opens it; left out, a decision is only written to the audit log."
    )

    @field_validator("rules")
    @classmethod
    def _unique_rules(cls, rules: tuple[RuleConfig, ...]) -> tuple[RuleConfig, ...]:
        refuse_twins([rule.name for rule in rules], "name", "rules")
        return rules


class JsonlEventsConfig(Section):
    """A file of events, as a jsonl sink of 'vidface serve' writes it."""

    type: Literal["jsonl"] = Field(description="A file of JSON lines.")
    path: FilePath = Field(
        description="The file. It is followed from its end: what was written before the start is too old for a door."
    )


class KafkaEventsConfig(KafkaTopicConfig):
    """A Kafka topic, as a kafka sink of 'vidface serve' writes it."""

    group: str = Field(
        default="vidface-access",
        pattern=NAME_PATTERN,
        description="The consumer group. One process reads for these doors: the ledger of what was opened is its own. "
        "A group that is new begins with the newest event.",
    )


EventsConfig = Annotated[JsonlEventsConfig | KafkaEventsConfig, Field(discriminator="type")]
"""Any place where events come from."""


class DoorsConfig(Section):
    """A whole file of doors."""

    data_dir: FilePath = Field(
        default=Path(DEFAULT_ACCESS_DIR),
        validate_default=True,
        description="The folder of the audit log, audit.jsonl, and of the ledger, which knows what was handled; made "
        "if need be. A relative path counts from this file's folder.",
    )
    site: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="The site of the cameras that doors name by their ids."
    )
    time_zone: TimeZone = Field(default="UTC", description="Whose clock counts for schedules; an IANA time zone.")
    events: EventsConfig = Field(description="Where events come from.")
    max_clock_skew_s: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="How far in the future a picture may seem to be taken, as no two clocks are the same. Seconds.",
    )
    groups: dict[Name, tuple[PersonEntry, ...]] = Field(
        default={}, description="People under one name: names, or ids from 'vidface gallery list'."
    )
    holidays: tuple[date, ...] = Field(default=(), description='Dates without hours, such as "2026-12-25".')
    schedules: dict[Name, ScheduleConfig] = Field(default={}, description="Hours of the week under a name.")
    doors: tuple[DoorConfig, ...] = Field(min_length=1, description="The doors; at least one.")

    @field_validator("doors")
    @classmethod
    def _unique_doors(cls, doors: tuple[DoorConfig, ...]) -> tuple[DoorConfig, ...]:
        refuse_twins([door.id for door in doors], "id", "doors")
        return doors

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for number, door in enumerate(self.doors):
            for position, rule in enumerate(door.rules):
                at = ("doors", number, "rules", position)
                for place, group in enumerate(rule.groups):
                    if group not in self.groups:
                        raise misfit((*at, "groups", place), _unknown("group", group, self.groups))
                if rule.schedule is not None and rule.schedule not in self.schedules:
                    raise misfit((*at, "schedule"), _unknown("schedule", rule.schedule, self.schedules))
        return self


def _unknown(what: str, name: str, there_are: Iterable[str]) -> str:
    names = ", ".join(there_are) or "none"
    return f"there is no {what} {name!r} in this file; there are: {names}"
