"""What is published stays: the event schemas against those that consumers already have."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.events.event import Event
from pipeline.events.payload import (
    EVENT_TYPES,
    Answer,
    CameraStatePayload,
    IdentityRef,
    PreviousAnswer,
    RunnerUp,
    SightingPayload,
    SightingStage,
)
from streams.state import CameraStateName
from tests.compatibility import breaking_changes
from tests.pipeline.events.examples import ALICE, camera_state, sighting
from tests.schemas import SCHEMAS, assert_valid

PUBLISHED = SCHEMAS / "published"
VERSIONS = sorted(path.name for path in PUBLISHED.iterdir())


def schema_of(event_type: str) -> Any:
    return json.loads((SCHEMAS / f"{event_type}.schema.json").read_text(encoding="utf-8"))


OLD = schema_of("vidface.sighting.revised")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_published_is_kept(version: str) -> None:
    """A published copy never changes. A new version of a schema gets a new $id and a folder of its own."""
    for path in sorted((PUBLISHED / version).iterdir()):
        published = json.loads(path.read_text(encoding="utf-8"))
        assert published["$id"].endswith(f":{version}")
        current = SCHEMAS / path.name
        assert current.exists(), f"the type of {path.name} was removed"
        schema = json.loads(current.read_text(encoding="utf-8"))
        if schema["$id"] == published["$id"]:
            changes = breaking_changes(published, schema)
            assert not changes, f"{path.name} breaks version {version}: {changes}"


def test_every_type_is_published() -> None:
    assert VERSIONS
    for event_type in EVENT_TYPES:
        version = schema_of(event_type)["$id"].rpartition(":")[2]
        assert (PUBLISHED / version / f"{event_type}.schema.json").exists()


def at(schema: Any, *path: str | int) -> Any:
    for name in path:
        schema = schema[name]
    return schema


DATA = ("properties", "data")
FIELDS = (*DATA, "properties")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda s: (at(s, *FIELDS).pop("reason"), at(s, *DATA, "required").remove("reason")),
            ["$.data.reason: the field was removed"],
            id="required-field-removed",
        ),
        pytest.param(
            lambda s: at(s, *DATA, "required").remove("reason"),
            ["$.data.reason: the field is no longer required"],
            id="no-longer-required",
        ),
        pytest.param(
            lambda s: (at(s, *FIELDS).update(mood={}), at(s, *DATA, "required").append("mood")),
            ["$.data.mood: the field is required now, and events that were written lack it"],
            id="new-required-field",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "frame", "properties").pop("pts_s"),
            ["$.data.frame.pts_s: the field was removed"],
            id="field-inside-removed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "age_ms").update(type="number"),
            ["$.data.age_ms: the type was narrowed"],
            id="null-no-longer-allowed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "quality").update(type="integer"),
            ["$.data.quality: the type was narrowed"],
            id="number-to-integer",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "shots").update(type="number"),
            ["$.data.shots: the type was widened"],
            id="integer-to-number",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "quality").update(type=["number", "null"]),
            ["$.data.quality: the type was widened"],
            id="null-newly-allowed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "epoch").update(type="string"),
            ["$.data.epoch: the type was changed"],
            id="type-changed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "epoch").pop("type"), ["$.data.epoch: the type was widened"], id="type-dropped"
        ),
        pytest.param(
            lambda s: at(s, "$defs", "answer", "enum").remove("undecided"),
            [f"$.data.{place}answer: the value 'undecided' was removed" for place in ("", "previous.")],
            id="enum-value-removed",
        ),
        pytest.param(
            lambda s: at(s, "$defs", "answer", "enum").append("twin"),
            [f"$.data.{place}answer: the value 'twin' was added" for place in ("", "previous.")],
            id="enum-value-added",
        ),
        pytest.param(
            lambda s: at(s, "$defs", "answer").pop("enum"),
            [f"$.data.{place}answer: the enum was dropped" for place in ("", "previous.")],
            id="enum-dropped",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "reason").update(enum=["agreed"]),
            ["$.data.reason: the enum was added"],
            id="enum-added",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "quality").update(maximum=0.5),
            ["$.data.quality.maximum: 1 became 0.5"],
            id="bound-moved",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "quality").pop("minimum"),
            ["$.data.quality: minimum was dropped"],
            id="bound-dropped",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "reason").update(maxLength=9),
            ["$.data.reason: maxLength was added"],
            id="bound-added",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "box").update(maxItems=5), ["$.data.box.maxItems: 4 became 5"], id="longer-array"
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "box", "items").update(type="string"),
            ["$.data.box[]: the type was changed"],
            id="items-changed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "box").pop("items"), ["$.data.box: items were dropped"], id="items-dropped"
        ),
        pytest.param(
            lambda s: at(s, "properties", "type").update(const="vidface.other"),
            ["$.type.const: 'vidface.sighting.revised' became 'vidface.other'"],
            id="constant-changed",
        ),
        pytest.param(
            lambda s: at(s, "properties", "id").update(pattern="^x"),
            ["$.id.pattern: '^.+/[0-9]+/[0-9]+/[0-9]+$' became '^x'"],
            id="pattern-changed",
        ),
        pytest.param(
            lambda s: at(s, *FIELDS, "runner_up", "anyOf").pop(),
            ["$.data.runner_up: anyOf has 1 parts instead of 2"],
            id="alternative-removed",
        ),
        pytest.param(
            lambda s: at(s, "$defs", "runner_up", "properties").pop("score"),
            ["$.data.runner_up.anyOf[0].score: the field was removed"],
            id="field-of-an-alternative-removed",
        ),
        pytest.param(
            lambda s: at(s, *DATA, "then", "properties").update(reason={"const": "agreed"}),
            ["$.data: then was changed"],
            id="condition-asks-for-more",
        ),
        pytest.param(lambda s: at(s, *DATA).pop("else"), ["$.data: else was dropped"], id="condition-dropped"),
        pytest.param(
            lambda s: at(s, *DATA).update(additionalProperties=False),
            ["$.data: additionalProperties was added"],
            id="closed-to-new-fields",
        ),
        pytest.param(
            lambda s: at(s, "$defs", "time").update(pattern="^now$"),
            [
                f"$.{place}.pattern: {OLD['$defs']['time']['pattern']!r} became '^now$'"
                for place in (
                    *("data.captured_at", "data.decided_at", "data.first_seen_at", "data.last_seen_at"),
                    "time",
                )
            ],
            id="definition-changed",
        ),
    ],
)
def test_what_breaks_is_refused(change: Callable[[Any], object], said: list[str]) -> None:
    new = copy.deepcopy(OLD)
    change(new)
    assert breaking_changes(OLD, new) == said


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s, id="nothing"),
        pytest.param(lambda s: at(s, *FIELDS).update(liveness={"type": "number"}), id="new-optional-field"),
        pytest.param(lambda s: at(s, *FIELDS, "frame", "properties").update(fps={"type": "number"}), id="new-inside"),
        pytest.param(lambda s: at(s, *FIELDS, "reason").update(description="Why."), id="words"),
        pytest.param(lambda s: s.update(title="Another"), id="title"),
        pytest.param(lambda s: at(s, *DATA, "required").reverse(), id="order-of-required"),
        pytest.param(lambda s: at(s, "$defs", "answer", "enum").reverse(), id="order-of-an-enum"),
        pytest.param(lambda s: at(s, *FIELDS).update(answer=at(s, "$defs", "answer")), id="definition-written-out"),
        pytest.param(lambda s: at(s, "$defs").update(unused={"type": "string"}), id="unused-definition"),
    ],
)
def test_what_breaks_nothing_is_allowed(change: Callable[[Any], object]) -> None:
    new = copy.deepcopy(OLD)
    change(new)
    assert breaking_changes(OLD, new) == []


EVENTS = (*(sighting(stage).to_event() for stage in SightingStage), camera_state().to_event())


@pytest.mark.parametrize("event", EVENTS, ids=[event.type for event in EVENTS])
def test_a_schema_names_what_its_type_writes_and_requires_all_of_it(event: Event) -> None:
    assert_valid(event)
    schema: Any = schema_of(event.type)
    data: Any = event.data

    def check(named: Any, written: Any) -> None:
        assert set(named["properties"]) == set(named["required"]) == set(written)

    check(schema, event.to_cloudevent())
    check(schema["properties"]["data"], data)
    if event.type == camera_state().to_event().type:
        assert set(schema["properties"]["data"]["properties"]["state"]["enum"]) == set(CameraStateName)
        return
    fields = schema["properties"]["data"]["properties"]
    for name in ("frame", "models"):
        check(fields[name], data[name])
    check(schema["$defs"]["identity"], ALICE.to_json())
    check(schema["$defs"]["runner_up"], RunnerUp(id="b", name="Bob", score=0.4).to_json())
    assert set(schema["$defs"]["answer"]["enum"]) == set(Answer)


def test_the_payload_types_have_no_field_that_is_not_written() -> None:
    """A field that is added to a type, and forgotten in what is written, would show here."""
    renamed = {
        "captured_ns": "captured_at",
        "decided_ns": "decided_at",
        "first_seen_ns": "first_seen_at",
        "last_seen_ns": "last_seen_at",
        "box_xyxy": "box",
        "landmarks_xy": "landmarks",
        "at_ns": "at",
    }
    elsewhere = {"stage", "live", "detector", "embedder", "ending", "previous"}
    written = set(sighting().to_event().data)
    names = {field.name for field in dataclasses.fields(SightingPayload)} - elsewhere
    assert {renamed.get(name, name) for name in names} | {"sighting", "age_ms", "models"} == written
    names = {field.name for field in dataclasses.fields(CameraStatePayload)} - {"sequence"}
    assert {renamed.get(name, name) for name in names} == set(camera_state().to_event().data)
    assert {field.name for field in dataclasses.fields(IdentityRef)} == set(ALICE.to_json())
    previous: Any = sighting(SightingStage.REVISED).to_event().data["previous"]
    assert {field.name for field in dataclasses.fields(PreviousAnswer)} == set(previous)


def test_the_four_events_of_a_sighting_say_what_they_share_alike() -> None:
    first, *others = (schema_of(stage.event_type) for stage in SightingStage)
    for other in others:
        ours, theirs = first["properties"]["data"]["properties"], other["properties"]["data"]["properties"]
        shared = (ours.keys() & theirs.keys()) - {"answer"}  # each stage allows its own answers
        assert len(shared) > 20
        assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
        definitions = first["$defs"].keys() & other["$defs"].keys()
        assert {name: first["$defs"][name] for name in definitions} == {
            name: other["$defs"][name] for name in definitions
        }
