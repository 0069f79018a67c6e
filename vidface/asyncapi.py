"""The AsyncAPI 3 document of the events (https://www.asyncapi.com/docs/reference/specification/v3.0.0).

``python -m vidface.asyncapi configs/schemas`` writes ``asyncapi.yaml`` beside the JSON Schemas that it refers to; a
test checks that it is current. What the types of event are comes from `pipeline.events.payload`, what they are called
from the schemas, the headers from `pipeline.events.event`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.events.event import CONTENT_TYPE, HEADERS, SPEC_VERSION
from pipeline.events.payload import EVENT_TYPES

FILE: Final = "asyncapi.yaml"
SCHEMA_VERSION: Final = "1"

# The schemas say nothing that draft 7 lacks, and that is the draft which every tool for AsyncAPI 3 reads.
_SCHEMA_FORMAT: Final = "application/schema+json;version=draft-07"
_CHANNEL: Final = "events"
_HEADING: Final = "# Made by `python -m vidface.asyncapi configs/schemas`; a change made here is lost.\n"


def asyncapi_document(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document.

    Args:
        schemas: The JSON Schema of each type of event.
    """
    messages = {event_type: _message(event_type, schemas[event_type]) for event_type in EVENT_TYPES}
    names = [{"$ref": f"#/channels/{_CHANNEL}/messages/{event_type}"} for event_type in EVENT_TYPES]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "vidface events",
            "version": SCHEMA_VERSION,
            "description": "Recognised people and the states of cameras: CloudEvents 1.0 in Kafka's binary mode. "
            "Delivery is at least once, and a camera's events keep their order: (ce_source, ce_id) is the key to drop "
            "repeats by. Later versions may add fields: pass over what you do not know.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            _CHANNEL: {
                "address": None,
                "title": "The topic of events",
                "description": "Its name is the operator's choice: `topic` of the Kafka sink.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "publish": {
                "action": "send",
                "summary": "vidface serve publishes what happens at the cameras.",
                "channel": {"$ref": f"#/channels/{_CHANNEL}"},
                "messages": names,
            }
        },
        "components": {"messages": messages},
    }


def _message(event_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    headers = {f"ce_{name}": {"type": "string"} for name in HEADERS}
    fixed = {"specversion": SPEC_VERSION, "type": event_type, "dataschema": schema["$id"]}
    for name, value in fixed.items():
        headers[f"ce_{name}"]["const"] = value
    return {
        "name": event_type,
        "title": schema["title"],
        "summary": schema["description"],
        "contentType": CONTENT_TYPE,
        "headers": {"type": "object", "required": [*headers], "properties": headers},
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$ref": f"./{event_type}.schema.json#/properties/data"},
        },
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The camera's id."},
                "bindingVersion": "0.5.0",
            }
        },
    }


def read_schemas(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The JSON Schema of each type of event, from its file in a folder."""
    paths = {event_type: folder / f"{event_type}.schema.json" for event_type in EVENT_TYPES}
    return {event_type: json.loads(path.read_text(encoding="utf-8")) for event_type, path in paths.items()}


def as_yaml(document: Mapping[str, Any]) -> str:
    """The document as it stands in its file."""
    return _HEADING + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def main(arguments: list[str]) -> int:
    """Write the document into a folder of schemas; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m vidface.asyncapi FOLDER\n")
        return 2
    folder = Path(arguments[0])
    (folder / FILE).write_text(as_yaml(asyncapi_document(read_schemas(folder))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
