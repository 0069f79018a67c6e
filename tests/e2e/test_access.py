"""`vidface access` on what the pipeline really said of the lobby: the right people, and why nobody else."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.events.event import Event, rfc3339
from tests.e2e.guarding import Guarding, live, reasons
from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby
from tests.e2e.story import IDENTIFIED, data, names

DOORS = """
time_zone: Europe/Berlin
events: {type: jsonl, path: %s}
groups:
  staff: [Kate_Winslet, Jason_Kidd, Fujio_Cho, Vaclav_Havel]
schedules:
  always: {hours: [{from: "00:00", to: "24:00"}]}
  never: {hours: [{days: [%s], from: "00:00", to: "24:00"}]}
doors:
  - id: main
    cameras: [lobby]
    rules:
      - {name: staff, groups: [staff], schedule: always}
      - {name: yesterday, people: [Ari_Fleischer], schedule: never}
      - {name: strict, people: [Mahathir_Mohamad], min_margin: 0.9}
    action: {type: command, command: [/bin/sh, -c, "cat >> opened.jsonl; echo >> opened.jsonl"]}
"""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAY = {"Kate_Winslet", "Jason_Kidd", "Fujio_Cho", "Vaclav_Havel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The lobby, served once."""

    installation: Installation
    events: list[Event]
    doors: Path


@pytest.fixture(scope="module")
def watched(install: Callable[[Path], Installation], lobby: Lobby, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    installation = install(tmp_path_factory.mktemp("access"))
    installation.configure(f"id: lobby, source: {lobby.clip}, detect_every: 2")
    done = installation.run("serve", "--config", installation.config)
    assert done.status == 0, done.err
    events = installation.events()
    assert names(events) == lobby.enrolled
    # A schedule of the day before yesterday alone is not open now, whatever the hour is in Berlin.
    day = DAYS[(time.gmtime().tm_wday - 2) % 7]
    doors = installation.folder / "doors.yaml"
    doors.write_text(DOORS % ("followed.jsonl", day), encoding="utf-8")
    return Watched(installation=installation, events=events, doors=doors)


def identified(events: list[Event], name: str) -> Event:
    return next(
        event
        for event in events
        if event.type == IDENTIFIED and data(event)["identity"] and data(event)["identity"]["name"] == name
    )


def written(path: Path, *events: Event) -> Path:
    path.write_text("".join(f"{event.to_json()}\n" for event in events), encoding="utf-8")
    return path


def test_the_replay_opens_for_the_right_people_only(watched: Watched) -> None:
    installation = watched.installation
    done = installation.run("access", "--config", watched.doors, "--replay", installation.events_path, "--json")
    assert done.status == 0, done.err
    decisions = done.json["decisions"]
    opened = [each for each in decisions if each["decision"] == "opened"]
    assert {person["name"] for each in opened for person in each["people"]} == MAY
    assert all(each["rule"] == "staff" for each in opened)
    why = {
        each["people"][0]["name"]: each["reason"]
        for each in decisions
        if each["people"] and each["event"]["type"] == IDENTIFIED and each["decision"] == "refused"
    }
    assert why["Ari_Fleischer"] == "outside_hours"
    assert why["Mahathir_Mohamad"] == "low_margin"
    assert why["Mike_Myers"] == why["Allyson_Felix"] == "not_permitted"
    assert not MAY & {name for name, reason in why.items() if reason == "not_permitted"}
    assert not (installation.folder / "opened.jsonl").exists()
    assert not (installation.folder / "access-state").exists()


def test_the_replay_refuses_what_is_stale_or_comes_twice_and_says_why(watched: Watched, tmp_path: Path) -> None:
    now_ns = time.time_ns()
    kate, jason = (identified(watched.events, name) for name in ("Kate_Winslet", "Jason_Kidd"))
    late = live(jason, now_ns)
    decided_ns = late.time_ns + 10_000_000_000
    stale = replace(late, time_ns=decided_ns, data={**late.data, "decided_at": rfc3339(decided_ns)})
    path = written(tmp_path / "events.jsonl", live(kate, now_ns), live(kate, now_ns), stale)
    done = watched.installation.run("access", "--config", watched.doors, "--replay", path, "--json")
    assert [(each["reason"], each["words"]) for each in done.json["decisions"]] == [
        ("allowed", "Kate_Winslet may pass by the rule 'staff'"),
        ("duplicate", "this event was handled before"),
        ("stale", "the picture is 10.1 s old; 3 s are allowed"),
    ]


def test_the_table_names_them(watched: Watched) -> None:
    installation = watched.installation
    done = installation.run("access", "--config", watched.doors, "--replay", installation.events_path)
    rows = [line.split() for line in done.out.splitlines()]
    assert ["main", "Kate_Winslet", "1", "0"] in rows
    assert ["main", "Ari_Fleischer", "0", "1", "outside_hours", "1"] in rows


def test_check_knows_the_gallery(watched: Watched) -> None:
    installation = watched.installation
    done = installation.run("access", "check", "--config", watched.doors, "--cameras", installation.config, "--json")
    assert (done.status, done.json["ok"], done.json["gallery_checked"]) == (0, True, True)


@pytest.fixture
def followed(watched: Watched) -> Iterator[Path]:
    path = watched.installation.folder / "followed.jsonl"
    path.touch()
    yield path
    path.unlink()


def test_for_real_killed_and_started_again(watched: Watched, followed: Path) -> None:
    """Kate passes, and the process is killed; what comes again opens nothing, and neither does anything else wrong."""
    kate, jason, ari, mahathir = (
        identified(watched.events, name) for name in ("Kate_Winslet", "Jason_Kidd", "Ari_Fleischer", "Mahathir_Mohamad")
    )

    def send(*events: Event) -> None:
        with followed.open("a", encoding="utf-8") as file:
            file.write("".join(f"{event.to_json()}\n" for event in events))

    with Guarding(watched.doors, send) as guarding:
        first = guarding.repeat(lambda: live(kate, time.time_ns()))
        guarding.until(lambda audit: any(entry["kind"] == "action" for entry in audit))
        guarding.end(signal.SIGKILL)
    before = len(guarding.audit())
    with Guarding(watched.doors, send) as guarding:
        guarding.repeat(lambda: first)
        now_ns = time.time_ns()
        wrong = [
            live(ari, now_ns),  # the wrong hour
            live(mahathir, now_ns),  # a low margin
            live(jason, now_ns, age_s=60),  # stale
            kate,  # the recording itself: its id was handled
        ]
        guarding.send(*wrong)
        guarding.until(lambda audit: reasons(audit[before:])[-2:] == ["stale", "duplicate"])
        status, out = guarding.end(signal.SIGTERM)
    assert status == 0
    told = reasons(guarding.audit()[before:])
    assert set(told[:-4]) == {"duplicate"}
    assert told[-4:] == ["outside_hours", "low_margin", "stale", "duplicate"]
    assert "shut (stale)  Jason_Kidd: the picture is 6" in out
    assert "opened 0 times" in out
    opened = (watched.installation.folder / "opened.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["people"][0]["name"] for line in opened if line] == ["Kate_Winslet"]
