"""The check that bench makes before it believes itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.events.event import Event
from pipeline.events.payload import Answer, SightingStage
from tests.pipeline.events.examples import camera_state, sighting
from vidface.evaluation.outputs import OutputsDiffer, check_outputs


def story(camera: str) -> list[Event]:
    """A short run's events."""
    stages = (SightingStage.STARTED, SightingStage.IDENTIFIED, SightingStage.ENDED)
    told = [sighting(stage, camera=camera, sequence=number).to_event() for number, stage in enumerate(stages, start=1)]
    return [camera_state(1, camera).to_event(), *told]


def changed(event: Event, **fields: Any) -> Event:
    return replace(event, data={**event.data, **fields})


def moved(event: Event, by_px: float) -> Event:
    box: Any = event.data["box"]
    return changed(event, box=[box[0] + by_px, *box[1:]])


def scored(event: Event, by: float) -> Event:
    identity: Any = event.data["identity"]
    return changed(event, identity={**identity, "score": identity["score"] + by})


def test_outputs_that_agree_pass() -> None:
    measured = story("clip-1") + story("clip-2")
    measured[2] = scored(moved(measured[2], 0.5), 0.005)  # as other kernels compute it
    check_outputs(story("clip-1"), measured, {"clip-1": "clip-1", "clip-2": "clip-1"})


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        pytest.param(lambda e: e[:-1], "3 events were published where serve publishes 4", id="one-less"),
        pytest.param(lambda e: [*e, e[-1]], "5 events were published where serve publishes 4", id="one-more"),
        pytest.param(lambda e: [e[0], e[2], e[1], e[3]], "instead of", id="swapped"),
        pytest.param(lambda e: [changed(e[0], state="lost"), *e[1:]], "state lost instead of live", id="state"),
        pytest.param(lambda e: [e[0], changed(e[1], track=8), *e[2:]], "track 8 instead of 7", id="track"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], answer=Answer.STRANGER.value, identity=None), e[3]],
            "answer stranger instead of person",
            id="answer",
        ),
        pytest.param(lambda e: [*e[:2], changed(e[2], identity=None), e[3]], "identity None", id="no-identity"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], identity={"id": "p", "name": "Bob", "score": 0.7, "margin": 0.1}), e[3]],
            "identity Bob",
            id="another-name",
        ),
        pytest.param(lambda e: [*e[:2], scored(e[2], 0.1), e[3]], "instead of Alice", id="score"),
        pytest.param(lambda e: [*e[:2], moved(e[2], 9.0), e[3]], "box ", id="box"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], frame={"index": 1, "pts_s": 0.04, "width": 1920, "height": 1080}), e[3]],
            "frame 1 instead of 812",
            id="frame",
        ),
    ],
)
def test_outputs_that_differ_are_not_believed(tamper: Callable[[list[Event]], list[Event]], says: str) -> None:
    with pytest.raises(OutputsDiffer, match="clip-1: ") as refused:
        check_outputs(story("clip-1"), tamper(story("clip-1")), {"clip-1": "clip-1"})
    assert says in str(refused.value)
