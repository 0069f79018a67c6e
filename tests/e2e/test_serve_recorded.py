"""`vidface serve` on recordings: to the end, again, ended by signals, killed, and two at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.events.event import Event
from tests.e2e.installation import Done, Installation
from tests.e2e.lobby import Lobby, cut
from tests.e2e.story import (
    ENDED,
    STATE,
    assert_sound,
    data,
    epochs,
    named,
    names,
    of_camera,
    open_sightings,
    runs,
    sightings,
    state_names,
    states,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoRuns:
    first: Done
    second: Done
    first_events: list[Event]
    all_events: list[Event]


@pytest.fixture(scope="module")
def two_runs(
    install: Callable[[Path], Installation], lobby: Lobby, tmp_path_factory: pytest.TempPathFactory
) -> TwoRuns:
    """The lobby served twice by the smallest of configurations; the second time every fifth frame."""
    installation = install(tmp_path_factory.mktemp("twice"))
    installation.events_path = installation.data_dir / "events.jsonl"
    line = f"{{id: lobby, source: {lobby.clip}%s}}"
    installation.config.write_text(f"data_dir: ./state\ncameras:\n  - {line % ''}\n")
    first = installation.run("serve", "--config", installation.config, "--json")
    first_events = installation.events()
    installation.config.write_text(f"data_dir: ./state\ncameras:\n  - {line % ', detect_every: 5'}\n")
    second = installation.run("serve", "--config", installation.config)
    return TwoRuns(first=first, second=second, first_events=first_events, all_events=installation.events())


def test_the_smallest_configuration_names_the_enrolled_and_nobody_else(two_runs: TwoRuns, lobby: Lobby) -> None:
    assert two_runs.first.status == 0, two_runs.first.err
    events = two_runs.first_events
    assert_sound(events)
    assert names(events) == lobby.enrolled
    assert set(named(events)) == lobby.enrolled
    assert state_names(events, "lobby") == ["connecting", "live", "ended"]
    assert [data(event)["cause"] for event in states(events, "lobby")] == ["starting", "opened", "eof"]
    assert {data(event)["age_ms"] for event in events if event.type != STATE} == {None}
    assert {event.source for event in events} == {"/vidface/cameras/lobby"}


def test_sightings_lie_where_the_people_are(two_runs: TwoRuns, lobby: Lobby) -> None:
    for event in two_runs.first_events:
        payload = data(event)
        if event.type == STATE or not payload["identity"]:
            continue
        assert (payload["frame"]["width"], payload["frame"]["height"]) == (1920, 1080)
        frame = payload["frame"]["index"]
        # The truth ends where the face is no longer whole in the picture; the detector may see half of it.
        assert any(
            lobby.is_at(payload["identity"]["name"], near, payload["box"]) for near in range(frame - 12, frame + 13)
        ), f"{event.id} is not on {payload['identity']['name']}"


def test_the_summary_for_programs(two_runs: TwoRuns) -> None:
    summary = two_runs.first.json
    assert summary["cameras"]["lobby"] == {
        "frames": {"decoded": 750, "detected": 750},
        "cause": "eof",
        "failed": None,
    }
    assert summary["sinks"]["jsonl"] == {
        "delivered": len(two_runs.first_events),
        "pending": 0,
        "refused": 0,
        "last_error": None,
    }


def test_the_summary_for_people(two_runs: TwoRuns) -> None:
    count = len(two_runs.all_events) - len(two_runs.first_events)
    assert "lobby: frames 750 decoded" in two_runs.second.out
    assert f"jsonl: {count} events delivered" in two_runs.second.out
    assert "kept" not in two_runs.second.out
    assert "stop with Ctrl-C" in two_runs.second.err


def test_a_second_run_raises_the_epoch_and_repeats_no_id(two_runs: TwoRuns) -> None:
    assert two_runs.second.status == 0, two_runs.second.err
    events = two_runs.all_events
    assert events[: len(two_runs.first_events)] == two_runs.first_events
    first, second = runs(events, "lobby")
    assert first == two_runs.first_events
    assert_sound(second)
    assert (epochs(first), epochs(second)) == ({1}, {2})
    assert len({(event.source, event.id) for event in events}) == len(events)
    assert names(second) == names(first)


@pytest.mark.parametrize(
    ("number", "pace"),
    [(signal.SIGTERM, "real_time: true"), (signal.SIGINT, "real_time: true"), (signal.SIGTERM, "detect_every: 1")],
    ids=["SIGTERM", "SIGINT", "SIGTERM-while-decoding-waits"],
)
def test_a_signal_ends_it_in_order(installed: Installation, lobby: Lobby, number: signal.Signals, pace: str) -> None:
    installed.configure(f"id: lobby, source: {lobby.clip}, {pace}")
    with installed.serve("--json") as serving:
        serving.until(lambda events: open_sightings(events) or None)
        done = serving.stop(number)
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)
    (ended,) = [event for event in events if event.type == STATE and data(event)["state"] == "ended"]
    assert data(ended)["cause"] == "stopped"
    assert any(event.type == ENDED for event in events)
    assert done.json["sinks"]["jsonl"]["delivered"] == len(events)
    assert done.json["sinks"]["jsonl"]["pending"] == 0
    assert installed.outbox_rows() == 0
    frames = done.json["cameras"]["lobby"]["frames"]
    assert frames.pop("decoded") == sum(frames.values()), "every decoded frame is accounted for"


def test_what_was_emitted_survives_a_kill(installed: Installation, lobby: Lobby, tmp_path: Path) -> None:
    clip, _ = cut(lobby.clip, tmp_path / "part.mp4", to_s=7.0)
    installed.configure(f"id: lobby, source: {clip}, real_time: true")
    with installed.serve() as serving:
        serving.until(lambda events: open_sightings(events) or None)
        done = serving.stop(signal.SIGKILL)
    assert done.status == -signal.SIGKILL
    before = installed.events()
    installed.configure(f"id: lobby, source: {clip}, detect_every: 3")
    done = installed.run("serve", "--config", installed.config)
    assert done.status == 0, done.err
    events = installed.events()
    assert events[: len(before)] == before
    assert installed.outbox_rows() == 0
    # Delivery is at least once: what comes again is the same event.
    unique = {(event.source, event.id): event for event in events}
    assert all(unique[event.source, event.id] == event for event in events)
    killed, again = runs(unique.values(), "lobby")
    assert_sound(killed, closed=False)
    assert_sound(again)
    assert (epochs(killed), epochs(again)) == ({1}, {2})
    assert sightings(again)


def test_two_recordings_at_once_tell_the_same(installed: Installation, lobby: Lobby, tmp_path: Path) -> None:
    clip, _ = cut(lobby.clip, tmp_path / "part.mp4", from_s=19.7)
    installed.configure(*(f"id: {camera}, source: {clip}, detect_every: 2" for camera in ("east", "west")))
    done = installed.run("serve", "--config", installed.config, "--json")
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)
    east, west = of_camera(events, "east"), of_camera(events, "west")
    assert names(east) == names(west) == {"Kate_Winslet", "Jason_Kidd", "Kim_Jong-Il"}

    def told(camera: list[Event]) -> list[tuple[object, ...]]:
        return [
            (event.type, event.id.partition("/")[2], data(event)["answer"], data(event)["identity"])
            for event in camera
            if event.type != STATE
        ]

    assert [line[:3] for line in told(east)] == [line[:3] for line in told(west)]
    assert {event.source for event in east}.isdisjoint(event.source for event in west)
