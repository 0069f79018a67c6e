"""A running `vidface serve` follows what a second process does to the gallery, for a face that is in view."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.events.event import Event, unix_ns
from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby, cut
from tests.e2e.story import ENDED, assert_sound, data, names, of_camera, open_sightings, sightings

WITHIN_NS = 1_000_000_000  # what is promised
SOMEBODY = "Kate_Winslet"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_enrolling_and_removing_change_the_answer_within_a_second(
    installed: Installation, lobby: Lobby, tmp_path: Path
) -> None:
    # A slow walk: the other process takes its time to start, and the face has to be in view all the while.
    clip, first_frame = cut(lobby.clip, tmp_path / "slow.mp4", from_s=19.7, to_s=28.0, slower=6)
    installed.configure(f"id: lobby, source: {clip}, real_time: true")
    assert installed.run("gallery", "remove", SOMEBODY, "--yes", "--config", installed.config).status == 0

    def open_sighting(events: list[Event], *, answer: str) -> Event | None:
        """Somebody's sighting, once it has this answer."""
        for event in open_sightings(events).values():
            payload = data(event)
            if payload["answer"] == answer and lobby.is_at(
                SOMEBODY, first_frame + payload["frame"]["index"], payload["box"]
            ):
                return event
        return None

    with installed.serve() as serving:
        unknown = serving.until(lambda events: open_sighting(events, answer="stranger"))
        key = data(unknown)["sighting"]
        enrolled = installed.run("enroll", SOMEBODY, lobby.photo(SOMEBODY), "--config", installed.config, "--json")
        enrolled_ns = time.time_ns()
        assert enrolled.status == 0, enrolled.err
        known = serving.until(lambda events: open_sighting(events, answer="person"))
        shown = installed.run("gallery", "show", SOMEBODY, "--config", installed.config, "--json").json

        removed = installed.run("gallery", "remove", SOMEBODY, "--yes", "--config", installed.config, "--json")
        removed_ns = time.time_ns()
        assert removed.status == 0, removed.err
        unknown_again = serving.until(lambda events: open_sighting(events, answer="stranger"))
        done = serving.stop()
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)

    assert data(known)["sighting"] == data(unknown_again)["sighting"] == key, "the face left before all was done"
    assert data(known)["identity"]["name"] == SOMEBODY
    assert data(known)["identity"]["id"] == enrolled.json["people"][0]["id"]
    assert data(known)["gallery_version"] == enrolled.json["people"][0]["gallery_version"]
    decided_ns = unix_ns(data(known)["decided_at"])
    assert 0 <= decided_ns - unix_ns(shown["created_at"]) <= WITHIN_NS
    assert decided_ns <= enrolled_ns + WITHIN_NS

    assert data(unknown_again)["identity"] is None
    assert data(unknown_again)["previous"]["identity"]["name"] == SOMEBODY
    assert data(unknown_again)["gallery_version"] == removed.json["gallery_version"]
    assert unix_ns(data(unknown_again)["decided_at"]) <= removed_ns + WITHIN_NS
    told = sightings(events)[key]
    assert [data(event)["answer"] for event in told] == ["undecided", "stranger", "person", "stranger", "stranger"]
    assert told[-1].type == ENDED
    # Nobody else's answer was touched.
    assert {data(e)["sighting"] for e in of_camera(events, "lobby") if names([e]) == {SOMEBODY}} == {key}
