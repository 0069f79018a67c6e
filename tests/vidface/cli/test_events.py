from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.event import Event
from tests.vidface.conftest import RunCommand, WriteConfig
from vidface.cli.events import choose_sink, describe
from vidface.errors import NothingToTail
from vidface.place import find_place


def event(kind: str, number: int = 1, **data: Any) -> Event:
    return Event(
        type=f"vidface.{kind}",
        source="/vidface/cameras/door",
        id=f"door/1/7/{number}",
        subject="door",
        time_ns=1_700_000_000_123_000_000,
        data=data,
        camera="door",
    )


IDENTIFIED = event(
    "sighting.identified", track=7, answer="person", identity={"id": "x", "name": "Zoë", "score": 0.7123, "margin": 0.3}
)
STRANGER = event("sighting.ended", 2, track=8, answer="stranger", identity=None, reason="nobody_near")
UNDECIDED = event("sighting.started", 3, track=9, answer="undecided", identity=None, reason="few_shots")
STATE = event("camera.state", 4, state="lost", cause="stalled", detail="silent for 5 s")


@pytest.mark.parametrize(
    ("happened", "words"),
    [
        pytest.param(IDENTIFIED, "door  identified  Zoë  0.71  track 7", id="a person"),
        pytest.param(STRANGER, "door  ended       stranger  track 8", id="a stranger"),
        pytest.param(UNDECIDED, "door  started     undecided (few_shots)  track 9", id="nobody yet"),
        pytest.param(STATE, "door  camera.state  lost (stalled) silent for 5 s", id="a camera"),
    ],
)
def test_a_line_for_people(happened: Event, words: str) -> None:
    assert describe(happened).endswith(words)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    lines = [happened.to_json() for happened in (IDENTIFIED, STRANGER, UNDECIDED)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_tail_from_start(run: RunCommand, data_dir: Path) -> None:
    outcome = run("events", "tail", "--from-start", "--limit", "3", "--data-dir", data_dir)
    assert outcome.status == 0
    assert [line.split()[4] for line in outcome.out.splitlines()] == ["identified", "ended", "started"]


def test_tail_as_json(run: RunCommand, data_dir: Path) -> None:
    outcome = run("events", "tail", "--from-start", "--limit", "2", "--data-dir", data_dir, "--json")
    assert [json.loads(line) for line in outcome.out.splitlines()] == [
        IDENTIFIED.to_cloudevent(),
        STRANGER.to_cloudevent(),
    ]


def test_tail_follows(run: RunCommand, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while it waits is printed; Ctrl-C ends it."""
    file = data_dir / "events.jsonl"
    waits: list[float] = []

    def wait(_self: object, timeout: float) -> bool:
        waits.append(timeout)
        if len(waits) > 1:
            raise KeyboardInterrupt
        with file.open("a", encoding="utf-8") as stream:
            stream.write(STATE.to_json() + "\n")
        return False

    monkeypatch.setattr("vidface.cli.events.threading.Event.wait", wait)
    outcome = run("events", "tail", "--data-dir", data_dir)
    assert outcome.status == 130
    assert outcome.out.splitlines() == [describe(STATE)]


def test_a_line_that_is_no_event(run: RunCommand, data_dir: Path) -> None:
    (data_dir / "events.jsonl").write_text("{}\n")
    outcome = run("events", "tail", "--from-start", "--data-dir", data_dir)
    assert outcome.status == 1
    assert "events.jsonl" in outcome.err


KAFKA = "{type: kafka, bootstrap_servers: ['a:1'], topic: t}"
JSONL = "{type: jsonl, path: a.jsonl}"


@pytest.mark.parametrize(
    ("sinks", "name", "chosen"),
    [
        pytest.param("", None, "jsonl", id="the default file"),
        pytest.param(f"sinks: [{KAFKA}]", None, "kafka", id="a topic alone"),
        pytest.param(f"sinks: [{KAFKA}, {JSONL}]", None, "jsonl", id="a file before a topic"),
        pytest.param(f"sinks: [{JSONL}, {KAFKA}]", "kafka", "kafka", id="by name"),
    ],
)
def test_which_sink(write_config: WriteConfig, sinks: str, name: str | None, chosen: str) -> None:
    place = find_place(write_config(f"cameras: [{{id: a, source: b}}]\n{sinks}"), None)
    assert choose_sink(place, name).type == chosen


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("home", "'home' is of type mqtt, which cannot be read back", id="by-name"),
        pytest.param(None, "no sink can be read back; add one of type jsonl or kafka", id="the-only-one"),
    ],
)
def test_a_sink_that_cannot_be_read_back(write_config: WriteConfig, name: str | None, reason: str) -> None:
    sinks = "sinks: [{type: mqtt, name: home, server: 'b:1883'}]"
    place = find_place(write_config(f"cameras: [{{id: a, source: b}}]\n{sinks}"), None)
    with pytest.raises(NothingToTail, match=reason):
        choose_sink(place, name)


def test_no_such_sink(tmp_path: Path) -> None:
    with pytest.raises(NothingToTail, match="there are: jsonl"):
        choose_sink(find_place(None, tmp_path), "kafka")
