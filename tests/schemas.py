"""The JSON Schemas of the events, as the judge of every event that a test meets.

The schemas let consumers meet fields that are newer than they are. What we write ourselves must be in them, so here
they are tightened: a field that no schema names is a fault.
"""

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from pipeline.events.event import Event

SCHEMAS = Path(__file__).parents[1] / "configs" / "schemas"


@functools.cache
def validator(event_type: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{event_type}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(tightened(schema))


def tightened(schema: Any) -> Any:
    """A schema that refuses fields which it does not name."""
    if isinstance(schema, list):
        return [tightened(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {name: tightened(value) for name, value in schema.items()}
    if "required" in tight and "properties" in tight:  # not the conditions, which name a field or two
        tight["additionalProperties"] = False
    return tight


def assert_valid(event: Event) -> None:
    """Fail unless the event, as it is written, obeys the schema of its type."""
    assert_valid_document(json.loads(event.to_json()))


def assert_valid_document(document: dict[str, Any]) -> None:
    """Fail unless a CloudEvent in its JSON format obeys the schema of its type."""
    faults = [f"{fault.json_path}: {fault.message}" for fault in validator(document["type"]).iter_errors(document)]
    assert not faults, f"{document['id']} breaks {document['type']}: {faults}"
