"""What the demo says of its own result: it must notice a wrong name and a missed person."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.events.event import JSON, Event
from pipeline.track import UNCONFIRMED
from vidface.demo.check import Followed, clock, problems, sightings

TRUTH: dict[str, Any] = {
    "fps": 25,
    "width": 1920,
    "height": 1080,
    "frames": 250,
    "tracks": [
        {"name": "Ann", "enrolled": True, "frames": {str(i): [100 + i, 100, 200 + i, 220] for i in range(10, 110)}},
        {"name": "Guest 1", "enrolled": False, "frames": {str(i): [900, 500, 1000, 620] for i in range(100, 200)}},
    ],
}


def event(track: int, kind: str, index: int, box: list[JSON], name: str | None = None, **more: JSON) -> Event:
    identity: JSON = {"id": name, "name": name, "score": 0.8, "margin": 0.5} if name else None
    data: dict[str, JSON] = {
        "sighting": f"hall/1/{track}",
        "track": track,
        "frame": {"index": index, "pts_s": index / 25, "width": 1920, "height": 1080},
        "box": box,
        "answer": "person" if name else "stranger" if kind != "started" else "undecided",
        "identity": identity,
        "runner_up": {"id": "b", "name": "Bob", "score": 0.2},
        "shots": 5,
        **more,
    }
    return Event(
        type=f"vidface.sighting.{kind}",
        source="s",
        id=f"{track}/{kind}",
        subject="hall",
        time_ns=0,
        data=data,
        camera="hall",
    )


def followed(offset: int = 0) -> Followed:
    """Where Ann (1) and the guest (2) are found: first and last beyond what the truth has boxes for."""
    return {
        1: {i: np.array([102 + i + offset, 98, 202 + i + offset, 215], np.float32) for i in range(5, 115)},
        2: {i: np.array([905, 505, 1000, 620], np.float32) for i in range(95, 205)},
        UNCONFIRMED: {i: np.array([902, 500, 1000, 620], np.float32) for i in range(100)},
    }


def ann(name: str | None, *, revised_from: str | None = None) -> list[Event]:
    def box(index: int) -> list[JSON]:
        return [100 + index, 100, 200 + index, 220]

    story = [event(1, "started", 12, box(12)), event(1, "identified", 17, box(17), revised_from or name)]
    if revised_from:
        story.append(event(1, "revised", 30, box(30), name))
    return [*story, event(1, "ended", 105, box(105), name, duration_s=3.72)]


def guest(name: str | None = None) -> list[Event]:
    box: list[JSON] = [905, 505, 1000, 620]
    return [
        event(2, "started", 101, box),
        event(2, "identified", 112, box, name),
        event(2, "ended", 199, box, name, duration_s=3.92),
    ]


def state() -> Event:
    return Event(type="vidface.camera.state", source="s", id="x", subject="hall", time_ns=0, data={}, camera="hall")


CASES = [
    pytest.param([*ann("Ann"), *guest()], [], id="all is well"),
    pytest.param([*guest()], ["Ann was not recognised (00:00 to 00:04)"], id="known person not seen"),
    pytest.param([*ann(None), *guest()], ["Ann was not recognised (00:00 to 00:04)"], id="taken for a stranger"),
    pytest.param(
        [*ann("Bob"), *guest()],
        ["Ann was named Bob (00:00 to 00:04, sighting hall/1/1)"],
        id="taken for somebody else",
    ),
    pytest.param(
        [*ann("Ann"), *guest("Ann")],
        ["Guest 1 was named Ann (00:04 to 00:07, sighting hall/1/2)"],
        id="stranger named",
    ),
    pytest.param(
        [*ann("Ann", revised_from="Bob")],
        ["Ann was named Bob (00:00 to 00:04, sighting hall/1/1)"],
        id="a wrong name that was taken back",
    ),
    pytest.param(
        [*ann("Ann"), *guest()][:2],
        [],
        id="not ended yet",
    ),
]


@pytest.mark.parametrize(("events", "expected"), CASES)
def test_problems(events: list[Event], expected: list[str]) -> None:
    assert list(problems(sightings([state(), *events], TRUTH, followed()), TRUTH)) == expected


def test_a_name_where_nobody_is() -> None:
    assert problems(sightings(ann("Ann"), TRUTH, followed(offset=600)), TRUTH) == (
        "nobody who is known to be there was named Ann (00:00 to 00:04, sighting hall/1/1)",
        "Ann was not recognised (00:00 to 00:04)",
    )


def test_sightings() -> None:
    first, second = sightings([state(), *guest(), *ann("Ann")], TRUTH, followed())
    assert (first.sighting, first.track, first.name, first.answer) == ("hall/1/1", 0, "Ann", "person")
    assert (first.from_s, first.to_s, first.decided_after_s) == (0.48, 4.2, 0.2)
    assert (first.score, first.margin, first.shots, first.names_given) == (0.8, 0.5, 5, ("Ann",))
    assert (second.track, second.name, second.answer, second.names_given) == (1, None, "stranger", ())
    assert (second.score, second.margin) == (0.2, None)


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (59.99, "00:59"), (61, "01:01"), (3601, "60:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
