"""What events tell, and the rules that hold for every stream of them, whatever was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from pipeline.events.event import Event, unix_ns

STATE: Final = "vidface.camera.state"
STARTED: Final = "vidface.sighting.started"
IDENTIFIED: Final = "vidface.sighting.identified"
REVISED: Final = "vidface.sighting.revised"
ENDED: Final = "vidface.sighting.ended"

FOLLOWS: Final = {
    None: {STARTED},
    STARTED: {IDENTIFIED, ENDED},
    IDENTIFIED: {REVISED, ENDED},
    REVISED: {REVISED, ENDED},
    ENDED: set(),
}
"""What may come next in a sighting."""

STATE_FOLLOWS: Final = {
    None: {"connecting", "ended"},
    "connecting": {"live", "lost", "ended"},
    "live": {"lost", "ended"},
    "lost": {"connecting", "ended"},
    "ended": set(),
}


def data(event: Event) -> Any:
    """The payload, free to look into."""
    return event.data


def of_camera(events: Iterable[Event], camera: str) -> list[Event]:
    return [event for event in events if event.camera == camera]


def states(events: Iterable[Event], camera: str) -> list[Event]:
    """Without those that tell of the machine: how busy it is depends on what else runs."""
    return [
        event
        for event in of_camera(events, camera)
        if event.type == STATE and data(event)["cause"] not in {"overloaded", "recovered"}
    ]


def state_names(events: Iterable[Event], camera: str) -> list[str]:
    return [data(event)["state"] for event in states(events, camera)]


def sightings(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each sighting, in their order."""
    told: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.type != STATE:
            told[data(event)["sighting"]].append(event)
    return dict(told)


def names(events: Iterable[Event]) -> set[str]:
    """Everyone who was ever named."""
    identities = [data(event).get("identity") for event in events]
    return {identity["name"] for identity in identities if identity}


def named(events: Iterable[Event]) -> dict[str, list[str]]:
    """The sightings that ended with each name."""
    found: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if event.type == ENDED and data(event)["identity"]:
            found[data(event)["identity"]["name"]].append(data(event)["sighting"])
    return dict(found)


def open_sightings(events: Iterable[Event]) -> dict[str, Event]:
    """The latest event of each sighting that has not ended."""
    return {key: told[-1] for key, told in sightings(events).items() if told[-1].type != ENDED}


def runs(events: Iterable[Event], camera: str) -> list[list[Event]]:
    """A camera's events by the program's run; each begins with the first attempt to connect."""
    parts: list[list[Event]] = []
    for event in of_camera(events, camera):
        if event.type == STATE and data(event)["cause"] == "starting":
            parts.append([])
        parts[-1].append(event)
    return parts


def epochs(events: Iterable[Event]) -> set[int]:
    """The connections that delivered pictures. What comes before the first of a run has the epoch 0."""
    return {data(event)["epoch"] for event in events} - {0}


def assert_sound(events: Sequence[Event], *, closed: bool = True) -> None:
    """Check what holds for all events of one run of the program, whatever was seen.

    Args:
        events: All of them, in the order of the file.
        closed: Whether everything has ended in order, so that nothing may be left open.
    """
    keys = [(event.source, event.id) for event in events]
    assert len(set(keys)) == len(keys), "(source, id) is not unique"
    for key, told in sightings(events).items():
        _assert_sighting_sound(key, told, closed=closed)
    for camera in {event.camera for event in events}:
        _assert_camera_sound(of_camera(events, camera), closed=closed)


def _assert_sighting_sound(key: str, told: Sequence[Event], *, closed: bool) -> None:
    last = None
    for number, event in enumerate(told, start=1):
        assert data(event)["sequence"] == number, f"{key}: gap before {event.id}"
        assert event.id == f"{key}/{number}"
        assert event.type in FOLLOWS[last], f"{key}: {event.type} after {last}"
        last = event.type
    assert last == ENDED or not closed, f"{key} never ended"


def _assert_camera_sound(told: Sequence[Event], *, closed: bool) -> None:
    state: str | None = None
    epoch = 0
    tracks: dict[int, int] = defaultdict(int)
    counted: dict[int, int] = defaultdict(int)
    unended: set[str] = set()
    for event in told:
        payload = data(event)
        assert payload["epoch"] >= epoch, f"{event.id}: the epoch went back"
        epoch = payload["epoch"]
        if event.type == STATE:
            if payload["cause"] in {"overloaded", "recovered"}:
                assert payload["state"] == state == "live", f"{event.id}: {payload['cause']} while {state}"
                continue
            assert payload["state"] in STATE_FOLLOWS[state], f"{event.id}: {payload['state']} after {state}"
            state = payload["state"]
            if state in ("lost", "ended"):
                assert not unended, f"{event.id}: {state} while {unended} are open"
            continue
        counted[epoch] += 1
        assert payload["camera_sequence"] == counted[epoch], f"{event.id}: a gap in the camera's events"
        assert state == "live", f"{event.id}: a sighting while the camera is {state}"
        if event.type == STARTED:
            tracks[epoch] += 1
            assert payload["track"] == tracks[epoch], f"{event.id}: tracks are counted from 1"
            unended.add(payload["sighting"])
        if event.type == ENDED:
            unended.remove(payload["sighting"])
        assert payload["first_seen_at"] <= payload["last_seen_at"]
    decided = [data(event).get("decided_at") or data(event)["at"] for event in told if event.type != STATE]
    assert all(unix_ns(a) <= unix_ns(b) for a, b in pairwise(decided)), "decisions out of order"
    assert state == "ended" or not closed, f"the camera is {state} at the end"
