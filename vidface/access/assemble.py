"""From a file of doors to the doors: the one place where the configuration's types are converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from index.identity import name_key
from pipeline.events.event import camera_source
from vidface.access.action import Action
from vidface.access.command_action import CommandAction
from vidface.access.door import Door, Rule, Site
from vidface.access.feed import Feed, JsonlFeed
from vidface.access.hours import Hours, Schedule
from vidface.access.polled_feed import PolledFeed
from vidface.access.webhook_action import WebhookAction, signing_key
from vidface.config.document import Document
from vidface.config.doors import (
    ActionConfig,
    CommandActionConfig,
    DoorConfig,
    DoorsConfig,
    EventsConfig,
    JsonlEventsConfig,
    RuleConfig,
    WebhookActionConfig,
)
from vidface.config.load import load_section
from vidface.config.schema import doors_schema

_NO_SECRET = "whsec_" + "A" * 44
"""Stands for a secret that nothing is going to be signed with."""


def load_doors(
    path: Path, environ: Mapping[str, str] | None = None, *, opens: bool = True
) -> tuple[DoorsConfig, Document]:
    """Read a file of doors, with the place of each value.

    Args:
        path: The YAML file.
        environ: The variables for `${NAME}`; the process's own unless given.
        opens: Whether doors are going to be opened: else what they take from the environment need not be set.

    Raises:
        ConfigError: It cannot be used; the error lists every problem.
    """
    unopened = () if opens else ("doors",)
    return load_section(path, DoorsConfig, doors_schema(), environ, unopened=unopened, stand_in=_NO_SECRET)


def site_of(config: DoorsConfig) -> Site:
    """The doors and their rules."""
    schedules = {
        name: Schedule(
            name=name,
            zone=ZoneInfo(schedule.time_zone or config.time_zone),
            hours=tuple(Hours(days=frozenset(each.days), start=each.start, end=each.end) for each in schedule.hours),
            holidays=frozenset(config.holidays) if schedule.holidays else frozenset(),
        )
        for name, schedule in config.schedules.items()
    }
    doors = tuple(_door(door, config, schedules) for door in config.doors)
    return Site(doors=doors, clock_skew_ns=_ns(config.max_clock_skew_s))


def entries_of(rule: RuleConfig, groups: Mapping[str, Iterable[str]]) -> list[str]:
    """The people of a rule as the file writes them, those of its groups included."""
    return [*rule.people, *(entry for group in rule.groups for entry in groups[group])]


def actions_of(config: DoorsConfig) -> dict[str, Action]:
    """What opens each door that has an action, by the door's id."""
    return {door.id: _action(door.action) for door in config.doors if door.action is not None}


def feed_of(events: EventsConfig) -> Feed:
    """Where events come from; nothing is connected.

    Raises:
        KafkaMissing: The client is not installed.
    """
    if isinstance(events, JsonlEventsConfig):
        return JsonlFeed(events.path)
    from pipeline.events.kafka_feed import KafkaFeed

    topic = KafkaFeed(events.bootstrap_servers, events.topic, events.group, start="newest", security=events.security())
    return PolledFeed(topic)


def place_of(events: EventsConfig) -> str:
    """The same for people."""
    if isinstance(events, JsonlEventsConfig):
        return str(events.path)
    return f"the topic {events.topic} at {', '.join(events.bootstrap_servers)}"


def _door(door: DoorConfig, config: DoorsConfig, schedules: Mapping[str, Schedule]) -> Door:
    return Door(
        id=door.id,
        sources=frozenset(
            camera if camera.startswith("/") else camera_source(camera, config.site) for camera in door.cameras
        ),
        rules=tuple(
            Rule(
                name=rule.name,
                # What is written may be either; an id has one spelling, and a name any, as far as case goes.
                ids=frozenset(entry.strip() for entry in entries_of(rule, config.groups)),
                names=frozenset(name_key(entry) for entry in entries_of(rule, config.groups)),
                schedule=None if rule.schedule is None else schedules[rule.schedule],
                min_score=rule.min_score,
                min_margin=rule.min_margin,
                min_agreeing_shots=rule.min_agreeing_shots,
            )
            for rule in door.rules
        ),
        max_age_ns=_ns(door.max_age_s),
        hold_off_ns=_ns(door.hold_off_s),
        two_people_ns=None if door.two_people_within_s is None else _ns(door.two_people_within_s),
    )


def _action(action: ActionConfig) -> Action:
    if isinstance(action, CommandActionConfig):
        return CommandAction(action.command, timeout_s=action.timeout_s)
    if isinstance(action, WebhookActionConfig):
        key = None if action.secret is None else signing_key(action.secret.get_secret_value())
        return WebhookAction(action.url, key=key, timeout_s=action.timeout_s, ca_file=action.ca_file)
    from vidface.access.mqtt_action import MqttAction

    return MqttAction(
        action.host,
        action.port or (8883 if action.tls else 1883),
        action.topic,
        tls=action.tls,
        ca_file=action.ca_file,
        username=action.username,
        password=None if action.password is None else action.password.get_secret_value(),
        timeout_s=action.timeout_s,
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
