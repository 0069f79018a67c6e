from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.vidface.access.made import at
from tests.vidface.conftest import WriteConfig
from vidface.access.assemble import actions_of, feed_of, load_doors, place_of, site_of
from vidface.access.command_action import CommandAction
from vidface.access.feed import JsonlFeed
from vidface.access.hours import Openness
from vidface.access.mqtt_action import MqttAction
from vidface.access.polled_feed import PolledFeed
from vidface.access.webhook_action import WebhookAction

SECRET = "whsec_" + "A" * 44
TEXT = """
site: headquarters
time_zone: Europe/Berlin
events: {type: jsonl, path: events.jsonl}
max_clock_skew_s: 0.5
groups: {staff: [Alice, " p-bob "]}
holidays: ["2026-12-25"]
schedules:
  berlin: {hours: [{from: "07:00", to: "24:00"}]}
  london: {time_zone: Europe/London, holidays: false, hours: [{from: "07:00", to: "24:00"}]}
doors:
  - id: main
    cameras: [lobby, /vidface/berlin/cameras/gate]
    rules:
      - {name: a, groups: [staff], people: [ZOË], schedule: berlin, min_score: 0.5}
      - {name: b, people: [Carol], schedule: london}
    max_age_s: 1.5
    hold_off_s: 0
    two_people_within_s: 20
    action: {type: command, command: [/bin/true], timeout_s: 2}
  - id: hook
    cameras: [c]
    rules: [{name: a, people: [Alice]}]
    action: {type: webhook, url: "https://h/", secret: "%s"}
  - {id: mqtt, cameras: [c], rules: [{name: a, people: [Alice]}], action: {type: mqtt, host: h, topic: t, tls: true}}
  - {id: none, cameras: [c], rules: [{name: a, people: [Alice]}]}
"""


@pytest.fixture
def path(write_config: WriteConfig) -> Path:
    return write_config(TEXT % SECRET)


def test_doors(path: Path) -> None:
    site = site_of(load_doors(path)[0])
    door = site.doors[0]
    assert site.clock_skew_ns == 500_000_000
    assert door.sources == {"/vidface/headquarters/cameras/lobby", "/vidface/berlin/cameras/gate"}
    assert (door.max_age_ns, door.hold_off_ns, door.two_people_ns) == (1_500_000_000, 0, 20_000_000_000)
    assert site.doors_of("/vidface/cameras/lobby") == ()  # another site's camera of the same name
    assert site.doors_of("/vidface/headquarters/cameras/lobby") == (door,)
    assert site.doors[1].two_people_ns is None


def test_rules(path: Path) -> None:
    first, second = site_of(load_doors(path)[0]).doors[0].rules
    assert first.is_for("x", "Zoë")
    assert first.is_for("x", "alice")
    assert first.is_for("p-bob", "Robert")
    assert not first.is_for("x", "Carol")
    assert (first.min_score, first.min_margin, first.min_agreeing_shots) == (0.5, 0.08, 3)
    assert second.min_score is None


def test_schedules(path: Path) -> None:
    berlin, london = (rule.schedule for rule in site_of(load_doors(path)[0]).doors[0].rules)
    assert berlin is not None
    assert london is not None
    moment = at("2026-12-24 07:30")
    assert (berlin.at(moment), london.at(moment)) == (Openness.OPEN, Openness.OUTSIDE)
    moment = at("2026-12-25 12:00")
    assert (berlin.at(moment), london.at(moment)) == (Openness.HOLIDAY, Openness.OPEN)
    assert berlin.holidays == {date(2026, 12, 25)}


def test_actions_hide_their_secrets(path: Path) -> None:
    actions = actions_of(load_doors(path)[0])
    assert {door: type(action) for door, action in actions.items()} == {
        "main": CommandAction,
        "hook": WebhookAction,
        "mqtt": MqttAction,
    }
    assert actions["main"].timeout_s == 2
    assert SECRET not in repr(actions)


def test_feeds(path: Path, write_config: WriteConfig) -> None:
    events = load_doors(path)[0].events
    assert isinstance(feed_of(events), JsonlFeed)
    assert place_of(events) == str(path.parent / "events.jsonl")
    kafka = "events: {type: kafka, bootstrap_servers: ['k:9092'], topic: t}"
    text = (TEXT % SECRET).replace("events: {type: jsonl, path: events.jsonl}", kafka)
    events = load_doors(write_config(text))[0].events
    assert isinstance(feed_of(events), PolledFeed)
    assert place_of(events) == "the topic t at k:9092"


def test_what_is_only_looked_at_needs_no_secrets(write_config: WriteConfig) -> None:
    path = write_config(TEXT % "${DOOR_SECRET}")
    load_doors(path, {}, opens=False)
    with pytest.raises(ValueError, match="DOOR_SECRET is not set"):
        load_doors(path, {})
