import json
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from pipeline.events.payload import EVENT_TYPES, Answer, PreviousAnswer, SightingStage
from tests.pipeline.events.examples import ALICE, NOON_NS, camera_state, dropped, sighting
from tests.schemas import SCHEMAS, assert_valid, assert_valid_document, validator


@pytest.mark.parametrize("stage", list(SightingStage))
@pytest.mark.parametrize("site", [None, "berlin"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "recorded"])
def test_each_sighting_event_obeys_its_schema(stage: SightingStage, site: str | None, live: bool) -> None:
    event = sighting(stage, live=live).to_event(site=site)
    assert_valid(event)
    assert event.type == f"vidface.sighting.{stage.value}"
    assert event.id == "lobby/2/7/3"
    assert event.time_ns == NOON_NS + 84_000_000
    assert event.data["sighting"] == "lobby/2/7"
    assert event.data["age_ms"] == (84.0 if live else None)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"answer": Answer.STRANGER, "identity": None}, id="stranger"),
        pytest.param({"answer": Answer.STRANGER, "identity": None, "runner_up": None}, id="empty-gallery"),
        pytest.param({"box_xyxy": (-3.0, -1.5, 4.0, 9.0)}, id="box-over-the-edge"),
    ],
)
def test_other_answers_obey_the_schema(changes: dict[str, Any]) -> None:
    assert_valid(sighting(**changes).to_event())


def test_the_undecided_start_and_end() -> None:
    nobody = {"answer": Answer.UNDECIDED, "identity": None, "runner_up": None}
    assert_valid(sighting(SightingStage.STARTED, **nobody).to_event())
    assert_valid(sighting(SightingStage.ENDED, **nobody).to_event())


def test_a_revision_says_what_it_takes_back() -> None:
    before = PreviousAnswer(answer=Answer.PERSON, identity=ALICE)
    event = sighting(SightingStage.REVISED, previous=before, answer=Answer.STRANGER, identity=None).to_event()
    assert_valid(event)
    assert event.data["previous"] == {
        "answer": "person",
        "identity": {"id": "p-alice", "name": "Alice Ångström", "score": 0.7124, "margin": 0.3055},
    }


def test_numbers_of_numpy_are_written_as_plain_ones() -> None:
    box = tuple(np.asarray([1.5, 2.25, 30.125, 40.0], np.float32))
    event = sighting(box_xyxy=box, quality=np.float32(0.5), shots=np.int64(3)).to_event()
    assert_valid(event)
    assert json.loads(event.to_json())["data"]["box"] == [1.5, 2.25, 30.12, 40.0]


def test_camera_states_obey_the_schema() -> None:
    assert_valid(camera_state(previous_state=None, state="connecting", epoch=0).to_event())
    event = camera_state(state="lost", previous_state="live", cause="stalled").to_event(site="berlin")
    assert_valid(event)
    assert (event.id, event.source) == ("lobby/1/state/1", "/vidface/berlin/cameras/lobby")


def test_what_was_dropped_obeys_the_schema() -> None:
    event = dropped().to_event(site="berlin")
    assert_valid(event)
    assert event.source == "/vidface/berlin/outboxes/3f9a0c12b4d5"
    assert (event.id, event.subject, event.camera) == ("dropped/4/2", "vidface:outbox", "vidface:outbox")
    assert dropped().to_event().source == "/vidface/outboxes/3f9a0c12b4d5"


def test_a_camera_state_may_be_an_enum() -> None:
    class Name(StrEnum):
        LIVE = "live"

    event = camera_state(state=Name.LIVE).to_event()
    assert_valid(event)
    assert type(event.data["state"]) is str


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        pytest.param(SightingStage.IDENTIFIED, {"identity": None}, "identity belongs", id="person-without-identity"),
        pytest.param(SightingStage.IDENTIFIED, {"answer": Answer.STRANGER}, "identity belongs", id="stranger-with-one"),
        pytest.param(SightingStage.REVISED, {"previous": None}, "previous belongs", id="revised-from-nothing"),
        pytest.param(SightingStage.ENDED, {"ending": None}, "ending belongs", id="ended-without-ending"),
    ],
)
def test_contradictions_are_refused(stage: SightingStage, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sighting(stage, **changes)


def test_there_is_a_schema_for_each_type_and_no_other() -> None:
    names = {path.name for path in SCHEMAS.glob("vidface.*")}
    assert names == {f"{event_type}.schema.json" for event_type in EVENT_TYPES}
    for event_type in EVENT_TYPES:
        schema = validator(event_type).schema
        assert isinstance(schema, dict)
        assert schema["$id"] == f"urn:vidface:schema:{event_type}:1"


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda d: d["data"].update(extra=1), id="unknown-field"),
        pytest.param(lambda d: d.update(extra=1), id="unknown-attribute"),
        pytest.param(lambda d: d["data"].pop("reason"), id="missing-field"),
        pytest.param(lambda d: d["data"].update(identity=None), id="person-without-identity"),
        pytest.param(lambda d: d["data"].update(quality=1.5), id="quality-out-of-range"),
        pytest.param(lambda d: d["data"].update(answer="undecided", identity=None), id="identified-as-undecided"),
        pytest.param(lambda d: d["data"]["frame"].update(pts=1), id="unknown-field-inside"),
        pytest.param(lambda d: d.update(time="2026-01-31 12:00"), id="time-of-another-form"),
    ],
)
def test_the_schema_notices(break_it: Any) -> None:
    document = sighting().to_event().to_cloudevent()
    break_it(document)
    with pytest.raises(AssertionError, match="breaks vidface"):
        assert_valid_document(document)
