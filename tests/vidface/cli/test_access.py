from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.events.event import Event
from tests.pipeline.events.examples import NOON_NS
from tests.vidface.access.made import ALICE, BOB, MALLORY, SECOND_NS, seen
from tests.vidface.conftest import RunCommand, WriteConfig
from vidface.access.errors import LedgerLocked
from vidface.access.feed import Feed
from vidface.access.ledger import Ledger
from vidface.config.schema import doors_schema
from vidface.place import find_place

DOORS = (
    "time_zone: Europe/Berlin\n"
    "events: {type: jsonl, path: events.jsonl}\n"
    "doors:\n"
    "  - id: main\n"
    "    cameras: [lobby]\n"
    "    rules: [{name: staff, people: [Alice]}]\n"
    "    action: {type: command, command: [/bin/sh, -c, 'cat > opened.json']}\n"
)


@pytest.fixture
def doors(write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_config(DOORS)


def feed_of(monkeypatch: pytest.MonkeyPatch, *events: Event | str) -> None:
    """Let the command be given events instead of following a file."""

    class Given:
        def run(self, handle: object, malformed: object) -> None:
            for event in events:
                (malformed if isinstance(event, str) else handle)(event)  # type: ignore[operator]

        def stop(self) -> None:
            pass

    given: Feed = Given()
    monkeypatch.setattr("vidface.cli.access.feed_of", lambda _events: given)


def fresh(**changes: object) -> Event:
    who = changes.pop("who", ALICE)
    return seen(who, now_ns=time.time_ns(), **changes)  # type: ignore[arg-type]


def test_it_opens_and_tells(run: RunCommand, doors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed_of(monkeypatch, fresh(), "line 2: not JSON", fresh(who=MALLORY, track=8))
    outcome = run("access", "--config", doors)
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "opened.json").read_text())["people"][0]["name"] == "Alice"
    first, second, third, *_ = outcome.out.splitlines()
    assert first.endswith("  main  open  Alice may pass by the rule 'staff'")
    assert second.endswith("  -  shut (malformed)  line 2: not JSON")
    assert third.endswith("  main  shut (not_permitted)  no rule of the door names Mallory")
    assert "opened once, refused 2 times" in outcome.out
    assert "guarding 1 door" in outcome.err
    audit = (tmp_path / "access-state" / "audit.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["kind"] for line in audit) == ["action", "decision", "decision", "decision"]


def test_a_second_start_knows_what_the_first_did(run: RunCommand, doors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = fresh()
    feed_of(monkeypatch, event)
    run("access", "--config", doors)
    lines = run("access", "--config", doors, "--json").out.splitlines()
    decision, summary = map(json.loads, lines)
    assert (decision["decision"], decision["reason"]) == ("refused", "duplicate")
    assert (summary["kind"], summary["opened"], summary["refused"]) == ("summary", 0, 1)


def test_a_failed_action_is_told(
    run: RunCommand, write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(DOORS.replace("/bin/sh, -c, 'cat > opened.json'", "/nonexistent/door"))
    feed_of(monkeypatch, fresh())
    outcome = run("access", "--config", path)
    assert outcome.status == 0
    assert (
        "error: door 'main', event lobby/2/7/2: not begun: /nonexistent/door cannot be run: No such file" in outcome.err
    )


def test_a_dry_run_opens_nothing_and_can_run_beside_the_real_one(
    run: RunCommand, doors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_of(monkeypatch, fresh())
    with Ledger(tmp_path / "access-state" / "ledger.db"):
        outcome = run("access", "--config", doors, "--dry-run")
    assert outcome.status == 0, outcome.err
    assert "main  would open  Alice may pass" in outcome.out
    assert not (tmp_path / "opened.json").exists()
    assert json.loads((tmp_path / "access-state" / "audit-dry-run.jsonl").read_text())["dry_run"] is True


def test_two_at_once_are_refused(run: RunCommand, doors: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "access-state" / "ledger.db"):
        outcome = run("access", "--config", doors, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == LedgerLocked.code
    assert "another process decides for these doors" in outcome.err


def test_a_clock_that_was_set_back_and_is_right_now(
    run: RunCommand, doors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / "access-state" / "ledger.db") as ledger:
        ledger._connection.execute("UPDATE clock SET latest_ns = ?", (2**62,))
    feed_of(monkeypatch, fresh())
    assert "shut (clock_backwards)" in run("access", "--config", doors).out
    feed_of(monkeypatch, fresh(track=8))
    assert "main  open" in run("access", "--config", doors, "--accept-clock").out


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "recorded.jsonl"
    events = [seen(), seen(), seen(track=8, now_ns=NOON_NS + SECOND_NS), seen(BOB, track=9), seen(camera="attic")]
    path.write_text("".join(f"{event.to_json()}\n" for event in events), encoding="utf-8")
    return path


def test_a_replay_shows_a_table(run: RunCommand, doors: Path, recorded: Path, tmp_path: Path) -> None:
    outcome = run("access", "--config", doors, "--replay", recorded)
    assert outcome.status == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["opened", "once,", "refused", "4", "times"]
    assert lines[2:6] == [
        ["door", "who", "opened", "refused", "why", "not"],
        ["main", "Alice", "1", "2", "duplicate", "1,", "hold_off", "1"],
        ["main", "Bob", "0", "1", "not_permitted", "1"],
        ["(no", "door)", "Alice", "0", "1", "unknown_camera", "1"],
    ]
    assert ["duplicate", "1", "the", "event", "was", "handled", "before"] in lines
    assert not (tmp_path / "access-state").exists()
    assert not (tmp_path / "opened.json").exists()


def test_a_replay_with_each_decision(run: RunCommand, doors: Path, recorded: Path) -> None:
    out = run("access", "--config", doors, "--replay", recorded, "--each").out
    assert "main  shut (duplicate)  Alice: this event was handled before" in out


def test_a_replay_as_json(run: RunCommand, doors: Path, recorded: Path) -> None:
    answer = run("access", "--config", doors, "--replay", recorded, "--json").json
    assert answer["summary"]["refused_by_reason"] == {
        "duplicate": 1,
        "hold_off": 1,
        "not_permitted": 1,
        "unknown_camera": 1,
    }
    assert [each["reason"] for each in answer["decisions"]] == [
        "allowed",
        "duplicate",
        "hold_off",
        "not_permitted",
        "unknown_camera",
    ]
    assert all(each["words"] and each["event"] for each in answer["decisions"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--config is missing"),
        (["--config", "cameras.yaml", "--replay", "x", "--dry-run"], "--replay opens nothing"),
        (["--config", "cameras.yaml", "--each"], "--each has no use without --replay"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
        (["--config", "cameras.yaml", "--replay", "x.jsonl"], "x.jsonl: No such file"),
    ],
)
def test_what_cannot_be(run: RunCommand, doors: Path, arguments: list[str], words: str) -> None:
    outcome = run("access", *arguments)
    assert outcome.status in {1, 2}
    assert words in outcome.err


def test_check_with_a_gallery(run: RunCommand, write_config: WriteConfig, tmp_path: Path) -> None:
    with find_place(None, tmp_path / "state").open_gallery() as gallery:
        gallery.enroll(
            "Alice",
            np.eye(192, dtype=np.float32)[:1],
            qualities=np.ones(1, np.float32),
            sources=["a.jpg"],
            duplicate_threshold=0.6,
        )
    path = write_config(DOORS)
    outcome = run("access", "check", "--config", path, "--data-dir", tmp_path / "state")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{path}: OK, 1 door" in outcome.out
    assert "door main: cameras lobby; rules staff; command" in outcome.out

    path.write_text(DOORS.replace("[Alice]", "[Alice, Mallory]"), encoding="utf-8")
    outcome = run("access", "check", "--config", path, "--data-dir", tmp_path / "state", "--json")
    assert outcome.status == 1
    assert outcome.json["ok"] is False
    assert outcome.json["findings"] == [
        {
            "code": "unknown_person",
            "level": "error",
            "message": "'Mallory' is nobody in the gallery; see 'vidface gallery list'",
            "field": "doors[0].rules[0].people[1]",
            "line": 6,
        }
    ]
    assert f"error: {path}:6: doors[0].rules[0].people[1]: 'Mallory' is nobody" in outcome.err


def test_check_without_a_gallery(run: RunCommand, doors: Path, tmp_path: Path) -> None:
    outcome = run("access", "check", "--config", doors)
    assert outcome.status == 0
    assert "whether the people are enrolled was not checked" in outcome.err
    outcome = run("access", "check", "--config", doors, "--data-dir", tmp_path / "none")
    assert outcome.status == 2
    assert "there is no gallery" in outcome.err


def test_only_who_opens_needs_the_secrets(
    run: RunCommand, write_config: WriteConfig, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOOR_SECRET", raising=False)
    action = "{type: webhook, url: 'https://192.0.2.1/', secret: '${DOOR_SECRET}'}"
    path = write_config(DOORS[: DOORS.index("    action:")] + f"    action: {action}\n")
    assert run("access", "check", "--config", path).status == 0
    assert run("access", "--config", path, "--replay", recorded).status == 0
    feed_of(monkeypatch, fresh())
    assert run("access", "--config", path, "--dry-run").status == 0
    outcome = run("access", "--config", path)
    assert outcome.status == 2
    assert "the environment variable DOOR_SECRET is not set" in outcome.err


def test_schema(run: RunCommand) -> None:
    assert run("access", "schema").json == doors_schema()
