from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.vidface.conftest import WriteConfig
from vidface.access.assemble import load_doors
from vidface.access.hours import Weekday
from vidface.config.doors import JsonlEventsConfig
from vidface.config.schema import doors_schema
from vidface.config.sinks import KafkaTopicConfig
from vidface.errors import ConfigError

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "configs" / "examples" / "doors").glob("*.yaml"))
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ENVIRON = {"DOOR_SECRET": SECRET, "MQTT_PASSWORD": "s3cr3t-mqtt", "KAFKA_PASSWORD": "s3cr3t-kafka"}
EVENTS = "events: {type: jsonl, path: events.jsonl}\n"
RULE = "{name: r, people: [Alice]}"


def doors(rules: str = RULE, more: str = "", top: str = "") -> str:
    return f"{EVENTS}{top}doors:\n  - {{id: main, cameras: [lobby], rules: [{rules}]{more}}}\n"


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_doors(path, environ or {})
    return str(caught.value).splitlines()


def test_the_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "configs" / "schemas" / "doors.schema.json").read_text(encoding="utf-8"))
    assert committed == doors_schema(), "run: vidface access schema > configs/schemas/doors.schema.json"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(doors_schema())


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["door.yaml", "full.yaml", "kafka.yaml", "office.yaml"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_loads_and_obeys_the_schema(path: Path) -> None:
    config, _ = load_doors(path, ENVIRON)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), doors_schema())
    assert "s3cr3t" not in repr(config)
    assert SECRET not in repr(config) + config.model_dump_json()


def test_every_field_is_described_and_in_an_example() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES)
    definitions = doors_schema()["$defs"]
    for name, schema in _fields(doors_schema()):
        assert "description" in {**definitions.get(schema.get("$ref", "").rpartition("/")[2], {}), **schema}, name
        assert f"{name}:" in text or name in KafkaTopicConfig.model_fields, name


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from schema["properties"].items()
    for definition in schema["$defs"].values():
        yield from definition.get("properties", {}).items()


def test_the_full_example_holds_the_defaults_it_says() -> None:
    full, _ = load_doors(ROOT / "configs" / "examples" / "doors" / "full.yaml", ENVIRON)
    for door in full.doors[:1]:
        assert (door.max_age_s, door.hold_off_s, door.two_people_within_s) == (3, 10, None)
    assert full.doors[0].rules[0].min_margin == full.doors[1].rules[0].min_margin
    assert full.doors[0].rules[0].min_agreeing_shots == full.doors[1].rules[0].min_agreeing_shots
    assert {door.action.timeout_s for door in full.doors if door.action} == {5}


def test_what_is_written(write_config: WriteConfig, tmp_path: Path) -> None:
    config, document = load_doors(
        write_config(
            "time_zone: Europe/Berlin\n"
            f"{EVENTS}"
            "holidays: [2026-12-25]\n"
            "schedules: {night: {hours: [{days: [fri], from: '22:00', to: '24:00'}]}}\n"
            "doors:\n"
            "  - id: main\n"
            "    cameras: [lobby]\n"
            "    rules: [{name: r, people: [Alice], schedule: night}]\n"
        )
    )
    assert isinstance(config.events, JsonlEventsConfig)
    assert (config.data_dir, config.events.path) == (tmp_path / "access-state", tmp_path / "events.jsonl")
    assert config.holidays == (date(2026, 12, 25),)
    (hours,) = config.schedules["night"].hours
    assert (hours.days, hours.start, hours.end) == ((Weekday.FRI,), time(22), time(0))
    assert document.place(("doors", 0, "rules", 0, "schedule")).line == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(EVENTS, "doors: is missing; expected a list of at least 1", id="no-doors"),
        pytest.param("events: {type: nats}", "events.type: expected one of jsonl, kafka; given 'nats'", id="no-feed"),
        pytest.param(
            "events: {type: kafka, topic: t, bootstrap_servers: ['a:1'], username: u}",
            "events.username: has no use with security_protocol PLAINTEXT",
            id="kafka-user",
        ),
        pytest.param(EVENTS + "doors: []", "doors: expected a list of at least 1; given an empty list", id="empty"),
        pytest.param("doors: [{id: a, cameras: [b], rules: []}]", "events: is missing", id="no-events"),
        pytest.param(doors(more=", max_age_s: 0"), "doors[0].max_age_s: expected a number over 0", id="no-age"),
        pytest.param(doors(more=", max_age: 3"), "no such field; did you mean max_age_s", id="misspelt"),
        pytest.param(doors("{name: r}"), "doors[0].rules[0]: names nobody; give people or groups", id="nobody"),
        pytest.param(doors("{name: r, groups: [g]}"), "rules[0].groups[0]: there is no group 'g'", id="no-group"),
        pytest.param(
            doors(
                "{name: r, people: [A], schedule: s}", top="schedules: {t: {hours: [{from: '07:00', to: '08:00'}]}}\n"
            ),
            "rules[0].schedule: there is no schedule 's' in this file; there are: t",
            id="no-schedule",
        ),
        pytest.param(doors(f"{RULE}, {RULE}"), "rules[1].name: 'r' is rules[0].name already", id="twin-rules"),
        pytest.param(
            doors("{name: r, people: [A], liveness: 0.5}"),
            "rules[0].liveness: cannot be asked for: this version does not tell a person from a photo",
            id="liveness",
        ),
        pytest.param(doors("{name: r, people: [A], min_score: yes}"), "min_score: expected a number", id="truth"),
        pytest.param(doors("{name: r, people: [A], min_margin: 2}"), "a number from 0 to 1; given 2", id="margin"),
        pytest.param(doors(top="time_zone: Berlin\n"), "time_zone: expected an IANA time zone", id="no-zone"),
        pytest.param(doors(top="time_zone: ../../etc/passwd\n"), "time_zone: expected an IANA", id="a-path-as-zone"),
        pytest.param(doors(top="holidays: [Christmas]\n"), "holidays[0]: expected", id="no-date"),
        pytest.param(
            doors(top="schedules: {s: {hours: [{from: '07:00', to: 19:00}]}}\n"),
            'schedules.s.hours[0].to: expected a time of day in quotes, "00:00" to "24:00"; given 19:00',
            id="a-time-without-quotes",
        ),
        pytest.param(
            doors(top="schedules: {s: {hours: [{from: '07:00', to: '7:30'}]}}\n"), "a time of day", id="half-a-time"
        ),
        pytest.param(
            doors(top="schedules: {s: {hours: [{from: '07:00', to: '07:00'}]}}\n"), "the same as from", id="no-time"
        ),
        pytest.param(
            doors(top="schedules: {s: {hours: [{days: [monday], from: '07:00', to: '08:00'}]}}\n"),
            "schedules.s.hours[0].days[0]: expected one of mon, tue",
            id="no-day",
        ),
        pytest.param(
            doors(top="schedules: {s: {hours: []}}\n"), "schedules.s.hours: expected a list of", id="no-hours"
        ),
        pytest.param(doors(top="groups: {'a b': [A]}\n"), "groups", id="no-name"),
        pytest.param(
            doors(more=", action: {type: bell}"), "action.type: expected one of command, mqtt, webhook", id="bell"
        ),
        pytest.param(doors(more=", action: {command: [a]}"), "action.type: is missing; expected one of", id="no-type"),
        pytest.param(
            doors(more=", action: {type: command}"),
            "doors[0].action.command: is missing; expected a list",
            id="nothing",
        ),
        pytest.param(
            doors(more=", action: {type: command, command: open the door}"),
            "doors[0].action.command: expected a list of at least 1",
            id="a-shells-line",
        ),
        pytest.param(
            doors(more=", action: {type: command, command: [a, '']}"),
            "doors[0].action.command[1]: expected",
            id="blank",
        ),
        pytest.param(
            doors(more=", action: {type: command, command: [a], timeout_s: 61}"),
            "action.timeout_s: expected",
            id="long",
        ),
        pytest.param(
            doors(more=", action: {type: webhook, url: 'ftp://x'}"), "action.url: expected a URL that begins", id="ftp"
        ),
        pytest.param(
            doors(more=", action: {type: webhook, url: 'https://u:s3cr3t@x/'}"), "holds a user or password", id="login"
        ),
        pytest.param(
            doors(more=", action: {type: webhook, url: 'http://x/', ca_file: c}"), "no use with an http URL", id="ca"
        ),
        pytest.param(
            doors(more=", action: {type: webhook, url: 'https://x/', secret: s3cr3t}"),
            "action.secret: expected whsec_ and the base64 of 24 to 64 random bytes; given ***",
            id="no-secret",
        ),
        pytest.param(
            doors(more=", action: {type: mqtt, host: h, topic: 'a/#'}"), "action.topic: expected text", id="wildcard"
        ),
        pytest.param(
            doors(more=", action: {type: mqtt, host: h, topic: a, password: s3cr3t}"),
            "username: is needed",
            id="no-user",
        ),
        pytest.param(
            doors(more=", action: {type: mqtt, host: h, topic: a, ca_file: c}"), "no use without tls: true", id="no-tls"
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write_config: WriteConfig, text: str, words: str) -> None:
    path = write_config(text)
    lines = problems(path)
    assert any(words in line for line in lines), lines
    assert all(line.startswith(f"{path}:") for line in lines)
    assert "s3cr3t" not in "".join(lines)


def test_a_door_twice(write_config: WriteConfig) -> None:
    door = f"{{id: main, cameras: [a], rules: [{RULE}]}}"
    (line,) = problems(write_config(f"{EVENTS}doors:\n  - {door}\n  - {door}\n"))
    assert line.endswith(":4:10: doors[1].id: 'main' is doors[0].id already; each needs its own")


def test_a_secret_of_the_environment_is_not_shown(write_config: WriteConfig) -> None:
    path = write_config(doors(more=", action: {type: webhook, url: 'https://x/', secret: '${S}'}"))
    (line,) = problems(path, {"S": "s3cr3t"})
    assert "s3cr3t" not in line
    assert "${S} (its value is not shown)" in line
