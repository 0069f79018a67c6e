from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.payload import Answer, SightingPayload, SightingStage
from pipeline.events.read import payload_of
from tests.pipeline.events.examples import camera_state, dropped, sighting


def transported(event: Event) -> Event:
    """As a consumer gets it."""
    return Event.from_json(event.to_json())


@pytest.mark.parametrize("stage", list(SightingStage))
@pytest.mark.parametrize("live", [True, False])
def test_a_sighting_comes_back_and_is_written_the_same(stage: SightingStage, live: bool) -> None:
    event = transported(sighting(stage, live=live).to_event(site="berlin"))
    read = payload_of(event)
    assert isinstance(read, SightingPayload)
    assert (read.stage, read.live, read.sighting) == (stage, live, "lobby/2/7")
    assert read.to_event(site="berlin").to_json() == event.to_json()


@pytest.mark.parametrize(
    "changes",
    [{"answer": Answer.STRANGER, "identity": None}, {"answer": Answer.UNDECIDED, "identity": None, "runner_up": None}],
)
def test_other_answers_come_back(changes: dict[str, Any]) -> None:
    event = transported(sighting(**changes).to_event())
    read = payload_of(event)
    assert read is not None
    assert read.to_event().to_json() == event.to_json()


@pytest.mark.parametrize("changes", [{}, {"previous_state": None, "state": "connecting", "epoch": 0}])
def test_a_cameras_state_comes_back(changes: dict[str, Any]) -> None:
    payload = camera_state(5, **changes)
    assert payload_of(transported(payload.to_event())) == payload


def test_what_was_dropped_comes_back() -> None:
    assert payload_of(transported(dropped().to_event(site="berlin"))) == dropped()


def test_what_is_new_is_passed_over() -> None:
    event = sighting().to_event()
    newer = replace(event, data={**event.data, "liveness": {"score": 0.9}})
    assert payload_of(newer) == payload_of(event)
    assert payload_of(replace(event, type="vidface.visitor.counted")) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": "maybe"}, "maybe"),
        ({"answer": "stranger"}, "identity"),
        ({"identity": None}, "identity"),
        ({"identity": "Alice"}, "identity is 'Alice'"),
        ({"epoch": "2"}, "epoch is '2'"),
        ({"epoch": True}, "epoch is True"),
        ({"quality": None}, "quality is None"),
        ({"captured_at": "yesterday"}, "yesterday"),
        ({"box": [1, 2, 3]}, "unpack"),
        ({"box": "1234"}, "box is '1234'"),
        ({"landmarks": [[1, 2]] * 4}, "unpack"),
        ({"frame": {"index": 1}}, "lacks 'pts_s'"),
        ({"models": None}, "models is None"),
        ({"quality": float("nan")}, "quality is nan, not a finite number"),
        ({"box": [1, 2, 3, float("inf")]}, "box is inf"),
        ({"landmarks": [[1, float("nan")]] * 5}, "landmarks is nan"),
    ],
)
def test_what_is_malformed_is_told(changes: dict[str, Any], said: str) -> None:
    event = sighting().to_event()
    with pytest.raises(EventMalformed, match=said) as caught:
        payload_of(replace(event, data={**event.data, **changes}))
    assert event.id in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"id": "lobby/2/7/4"}, "make it 'lobby/2/7/3'", id="another-id"),
        pytest.param({"source": "/vidface/cameras/gate"}, "its source is", id="another-source"),
        pytest.param({"camera": "gate", "subject": "gate"}, "of the camera 'lobby'", id="another-camera"),
    ],
)
def test_a_key_that_does_not_follow_from_the_data_is_refused(changes: dict[str, Any], said: str) -> None:
    """Else one event could be told twice, under two ids, to who drops repeats."""
    with pytest.raises(EventMalformed, match=said):
        payload_of(replace(sighting().to_event(), **changes))


@pytest.mark.parametrize("field", sorted(set(sighting().to_event().data) - {"sighting"}))
def test_each_field_is_needed(field: str) -> None:
    event = sighting().to_event()
    with pytest.raises(EventMalformed, match=field):
        payload_of(replace(event, data={name: value for name, value in event.data.items() if name != field}))
