"""`vidface serve` on two live cameras, one of which goes away and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.events.event import Event, unix_ns
from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby
from tests.e2e.story import (
    ENDED,
    STARTED,
    assert_sound,
    data,
    epochs,
    names,
    of_camera,
    open_sightings,
    sightings,
    state_names,
    states,
)
from tests.services.rtsp import RtspServer

ServerFactory = Callable[[Mapping[str, Path | None]], RtspServer]

AWAY_S = 10.0
BACK_WITHIN_S = 5.0  # what is promised, counted from the server's return
NS_PER_S = 1_000_000_000


def the_state(events: list[Event], camera: str, state: str, epoch: int) -> Event | None:
    found = (
        event for event in states(events, camera) if (data(event)["state"], data(event)["epoch"]) == (state, epoch)
    )
    return next(found, None)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_camera_that_was_away_comes_back_and_the_other_never_notices(
    installed: Installation, lobby: Lobby, rtsp_server: ServerFactory
) -> None:
    door_server, yard_server = rtsp_server({"/cam": lobby.clip}), rtsp_server({"/cam": lobby.clip})
    installed.configure(
        f"id: door, source: '{door_server.url('/cam')}', detect_fps: 6",
        f"id: yard, source: '{yard_server.url('/cam')}', detect_fps: 6",
    )

    def both_watch(events: list[Event]) -> Event | None:
        """Both cameras have seen somebody, and the yard has just begun to."""
        fresh = [event for event in open_sightings(of_camera(events, "yard")).values() if event.type == STARTED]
        return fresh[-1] if fresh and sightings(of_camera(events, "door")) else None

    with installed.serve("--json") as serving:
        in_view = data(serving.until(both_watch))["sighting"]
        gone_ns = time.time_ns()
        door_server.stop()
        serving.until(lambda events: the_state(events, "door", "lost", 1))
        time.sleep(AWAY_S)  # the outage itself
        door_server.start()
        back_ns = time.time_ns()
        live = serving.until(lambda events: the_state(events, "door", "live", 2))
        serving.until(lambda events: sightings(e for e in of_camera(events, "door") if data(e)["epoch"] == 2) or None)
        done = serving.stop()

    assert done.status == 0, done.err
    assert "warning: camera 'door' is lost (" in done.err
    assert done.err.count("camera 'door' is live") == 2
    events = installed.events()
    assert_sound(events)
    assert names(events) <= lobby.enrolled

    assert unix_ns(data(live)["at"]) - back_ns <= BACK_WITHIN_S * NS_PER_S
    told = state_names(events, "door")
    assert told[:4] == ["connecting", "live", "lost", "connecting"]
    assert told[-3:] == ["connecting", "live", "ended"]
    assert epochs(of_camera(events, "door")) == {1, 2}
    lost = the_state(events, "door", "lost", 1)
    assert lost is not None
    assert data(lost)["cause"] in {"read_failed", "eof", "stalled"}

    yard = of_camera(events, "yard")
    assert state_names(yard, "yard") == ["connecting", "live", "ended"]
    assert epochs(yard) == {1}
    assert names(yard)
    # Who was in view when the other camera went is still the same sighting well after that ...
    end = sightings(yard)[in_view][-1]
    assert end.type == ENDED
    assert unix_ns(data(end)["last_seen_at"]) > gone_ns + NS_PER_S
    # ... and people go on to come: the scene is never without a newcomer for longer than six seconds.
    begun = [unix_ns(data(event)["first_seen_at"]) for event in yard if event.type == STARTED]
    assert any(gone_ns + NS_PER_S < at < back_ns for at in begun)
    ages = [data(event)["age_ms"] for event in events if event.type not in {ENDED, "vidface.camera.state"}]
    assert all(age is not None and age >= 0 for age in ages)
