from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from pipeline.events.event import Event
from pipeline.events.payload import EVENT_TYPES, SightingStage
from tests.pipeline.events.examples import camera_state, sighting
from tests.schemas import SCHEMAS, assert_valid
from vidface.asyncapi import FILE, as_yaml, asyncapi_document, main, read_schemas

DOCUMENT: Any = yaml.safe_load((SCHEMAS / FILE).read_text(encoding="utf-8"))
EVENTS = (*(sighting(stage).to_event() for stage in SightingStage), camera_state().to_event())


def test_the_file_is_current() -> None:
    """If not: python -m vidface.asyncapi configs/schemas."""
    assert (SCHEMAS / FILE).read_text(encoding="utf-8") == as_yaml(asyncapi_document(read_schemas(SCHEMAS)))
    assert asyncapi_document(read_schemas(SCHEMAS)) == DOCUMENT


def test_it_is_written_where_the_schemas_are(tmp_path: Path) -> None:
    for event_type in EVENT_TYPES:
        name = f"{event_type}.schema.json"
        (tmp_path / name).write_bytes((SCHEMAS / name).read_bytes())
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / FILE).read_bytes() == (SCHEMAS / FILE).read_bytes()
    assert main([]) == 2


def test_it_obeys_asyncapis_own_schema(asyncapi_schema: Any) -> None:
    faults = [f"{each.json_path}: {each.message}" for each in Draft7Validator(asyncapi_schema).iter_errors(DOCUMENT)]
    assert not faults, faults


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(lambda d: d.pop("info"), id="no-info"),
        pytest.param(lambda d: d["operations"]["publish"].update(action="shout"), id="no-action-of-theirs"),
        pytest.param(lambda d: d["channels"]["events"].update(extra=1), id="unknown-field"),
    ],
)
def test_asyncapis_own_schema_notices(asyncapi_schema: Any, break_it: Any) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    break_it(document)
    assert not Draft7Validator(asyncapi_schema).is_valid(document)


def resolved(reference: str) -> Any:
    """What a reference of the document leads to; of another file, with that file's own definitions."""
    file, _, pointer = reference.partition("#")
    root = json.loads((SCHEMAS / file).read_text(encoding="utf-8")) if file else DOCUMENT
    found = root
    for name in pointer.strip("/").split("/"):
        found = found[name]
    return {**found, "$defs": root["$defs"]} if file else found


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for each in node for found in references(each)]
        if not isinstance(node, dict):
            return []
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in references(value)]

    found = references(DOCUMENT)
    assert len(found) >= 3 * len(EVENT_TYPES)
    assert all(resolved(reference) for reference in found)


@pytest.mark.parametrize("event", EVENTS, ids=[event.type for event in EVENTS])
def test_the_records_that_we_write_are_its_messages(event: Event) -> None:
    assert_valid(event)
    message = DOCUMENT["components"]["messages"][event.type]
    key, value, headers = event.to_kafka()
    texts = {name: text.decode() for name, text in headers}
    assert texts.pop("content-type") == message["contentType"]
    assert texts.keys() == message["headers"]["properties"].keys()
    Draft7Validator(message["headers"]).validate(texts)
    Draft7Validator(message["bindings"]["kafka"]["key"]).validate(key.decode())
    payload = message["payload"]
    schema = resolved(payload["schema"]["$ref"])
    assert payload["schemaFormat"].endswith("draft-07")
    for judge in (Draft7Validator, Draft202012Validator):  # the schemas say the same in both drafts
        judge.check_schema(schema)
        judge(schema).validate(json.loads(value))
        assert not judge(schema).is_valid({**json.loads(value), "camera": 7})
