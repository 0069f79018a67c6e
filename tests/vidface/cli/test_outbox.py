from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions
from tests.pipeline.events.examples import dropped, numbered
from tests.schemas import assert_valid
from tests.vidface.conftest import RunCommand, WriteConfig
from vidface.cli.events import describe

KEEP = OutboxOptions(keep_s=3600)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An outbox of ten kept events: jsonl has all, kafka seven."""
    folder = tmp_path / "data"
    with Outbox.open(folder / "outbox.db", ["jsonl", "kafka"], KEEP) as outbox:
        outbox.append(numbered(10))
        outbox.acknowledge("jsonl", 10)
        outbox.acknowledge("kafka", 7)
    return folder


def test_status(run: RunCommand, data_dir: Path) -> None:
    outcome = run("outbox", "status", "--data-dir", data_dir)
    assert outcome.status == 0
    header, jsonl, kafka, total = outcome.out.splitlines()
    assert header.split() == ["sink", "pending", "oldest", "dropped"]
    assert jsonl.split() == ["jsonl", "0", "-", "0"]
    assert kafka.split()[:2] == ["kafka", "3"]
    assert total.startswith(f"10 events in {data_dir / 'outbox.db'}, 7 of them delivered and kept: ")


def test_status_as_json_while_it_is_in_use(run: RunCommand, data_dir: Path) -> None:
    with Outbox.open(data_dir / "outbox.db", ["jsonl", "kafka"], KEEP) as outbox:
        outbox.append(numbered(1, first=11))
        answer = run("outbox", "status", "--data-dir", data_dir, "--json").json
    assert (answer["last_sequence"], answer["held"], answer["kept"]) == (11, 11, 7)
    jsonl, kafka = answer["sinks"]
    assert (jsonl["sink"], jsonl["pending"], jsonl["dropped"]) == ("jsonl", 1, 0)
    assert (kafka["sink"], kafka["pending"]) == ("kafka", 4)
    assert 0 <= jsonl["oldest_age_s"] <= kafka["oldest_age_s"] < 600
    assert kafka["oldest_at"].endswith("Z")
    assert 0 < answer["used_bytes"] <= answer["file_bytes"] + answer["log_bytes"]


@pytest.mark.parametrize(
    ("sink", "count"), [pytest.param((), 3, id="all"), pytest.param(("--sink", "jsonl"), 0, id="nothing-waits")]
)
def test_export(run: RunCommand, data_dir: Path, tmp_path: Path, sink: tuple[str, ...], count: int) -> None:
    file = tmp_path / "waiting.jsonl"
    outcome = run("outbox", "export", file, *sink, "--data-dir", data_dir, "--json")
    assert outcome.json == {"path": str(file), "events": count}
    events = [Event.from_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for event in events:
        assert_valid(event)
    assert events == numbered(count, first=8)
    assert file.stat().st_mode & 0o777 == 0o600
    again = run("outbox", "export", file, "--data-dir", data_dir)
    assert again.status == 2
    assert "is there already; name another file" in again.err
    assert run("outbox", "status", "--data-dir", data_dir, "--json").json["sinks"][1]["pending"] == 3


def test_export_for_people(run: RunCommand, data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "waiting.jsonl"
    assert run("outbox", "export", file, "--data-dir", data_dir).out == f"3 events in {file}\n"


def test_a_sink_that_is_not_there_makes_no_file(run: RunCommand, data_dir: Path, tmp_path: Path) -> None:
    outcome = run("outbox", "export", tmp_path / "x.jsonl", "--sink", "mqtt", "--data-dir", data_dir, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "unknown_sink"
    assert "it has: jsonl, kafka" in outcome.err
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize("start", ["4", "2026-01-31T12:00:00.004Z"], ids=["number", "time"])
def test_replay(run: RunCommand, data_dir: Path, start: str) -> None:
    answer = run("outbox", "replay", "--from", start, "--sink", "kafka", "--data-dir", data_dir, "--json").json
    (kafka,) = answer["sinks"]
    first = 4 if start == "4" else 1  # all were stored long after that time
    assert kafka == {"sink": "kafka", "events": 8 - first, "pending": 11 - first, "first_sequence": first}
    with Outbox.open(data_dir / "outbox.db", ["jsonl", "kafka"], KEEP) as outbox:
        assert [event for _, event in outbox.read("kafka", 99)] == numbered(11 - first, first=first)
        assert outbox.pending("jsonl") == 0


def test_replay_for_people(run: RunCommand, data_dir: Path, write_config: WriteConfig) -> None:
    config = write_config("data_dir: data\ncameras: [{id: a, source: a.mp4}]\noutbox: {max_age_h: 2, keep_h: 1}")
    outcome = run("outbox", "replay", "--from", "9", "--config", config)
    assert outcome.out.splitlines() == [
        "jsonl: 2 events again from number 9, at the next 'vidface serve'",
        "kafka: 0 events again from number 8, at the next 'vidface serve'",
    ]
    assert "events that are older than outbox.max_age_h (2) are not sent again" in outcome.err


def test_replay_while_it_is_in_use_is_refused(run: RunCommand, data_dir: Path) -> None:
    with Outbox.open(data_dir / "outbox.db", ["jsonl", "kafka"], KEEP):
        outcome = run("outbox", "replay", "--from", "1", "--data-dir", data_dir, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "outbox_locked"
    assert "stop it, or use another data folder" in outcome.err


@pytest.mark.parametrize("start", ["yesterday", "2026-01-31T12:00:00", "-1"])
def test_a_start_that_is_none(run: RunCommand, data_dir: Path, start: str) -> None:
    outcome = run("outbox", "replay", f"--from={start}", "--data-dir", data_dir)
    assert outcome.status == 2
    assert "expected an event's number, or a time with its zone" in outcome.err


@pytest.mark.parametrize("command", [["status"], ["export", "x.jsonl"], ["replay", "--from", "1"]])
def test_looking_makes_no_outbox(
    run: RunCommand, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("outbox", *command, "--data-dir", tmp_path / "new", "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "outbox_error"
    assert "there is no outbox" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_bench_checks_what_it_measures(run: RunCommand, tmp_path: Path) -> None:
    outcome = run("outbox", "bench", "--events", "1000", "--rate", "5000", "--dir", tmp_path, "--json")
    figures = outcome.json
    assert (figures["backlog"], figures["durability"]) == (1000, "process")
    assert figures["alone"]["count"] == 1000
    assert figures["alone"]["p50_us"] <= figures["alone"]["p99_us"] <= figures["alone"]["max_us"]
    assert list(tmp_path.iterdir()) == []


def test_bench_for_people(run: RunCommand, tmp_path: Path) -> None:
    arguments = ("--events", "1000", "--rate", "5000", "--durability", "power", "--dir", tmp_path)
    outcome = run("outbox", "bench", *arguments)
    assert "nothing else" in outcome.out
    assert "durability power" in outcome.out


def test_what_was_dropped_is_a_line_for_people() -> None:
    assert describe(dropped().to_event()).endswith("vidface:outbox  outbox.dropped  512 events for kafka")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("max_mb: 0", "a number from 1 to 1e+06", id="no room"),
        pytest.param("when_full: wait", "one of stop, drop_oldest", id="policy"),
        pytest.param("durability: disk", "one of process, power", id="durability"),
        pytest.param("max_age_h: 1, keep_h: 2", "must be at most max_age_h, which is 1", id="kept-for-longer"),
    ],
)
def test_a_configuration_that_cannot_be(run: RunCommand, write_config: WriteConfig, text: str, message: str) -> None:
    path = write_config(f"cameras: [{{id: a, source: a.mp4}}]\noutbox: {{{text}}}")
    outcome = run("config", "check", path)
    assert outcome.status == 2
    assert message in outcome.err
