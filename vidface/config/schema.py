"""The configuration's JSON Schema: for editors, and for saying which values a field takes.

One description serves both, so an error can never name other legal values than the schema does.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from vidface.config.doors import DEFAULT_ACCESS_DIR, DoorsConfig
from vidface.config.model import Config
from vidface.config.section import NAME_PATTERN

SCHEMA_ID = "urn:vidface:schema:cameras:1"
DOORS_SCHEMA_ID = "urn:vidface:schema:doors:1"

Schema = Mapping[str, Any]

_PATTERNS = {
    NAME_PATTERN: "1 to 64 of the characters A-Z a-z 0-9 . _ -",
    r"^[A-Za-z0-9._-]{1,249}$": "1 to 249 of the characters A-Z a-z 0-9 . _ -",
}
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of fields",
}


@cache
def config_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file, before `${NAME}` is filled in where texts are legal."""
    schema = Config.model_json_schema(mode="validation")
    schema["properties"]["data_dir"]["default"] = "./state"  # not the absolute path that it comes to here
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "vidface cameras.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
    }


@cache
def doors_schema() -> dict[str, Any]:
    """The same of a file of doors, for ``vidface access``."""
    schema = DoorsConfig.model_json_schema(mode="validation")
    schema["properties"]["data_dir"]["default"] = DEFAULT_ACCESS_DIR
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": DOORS_SCHEMA_ID,
        "title": "vidface doors.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_at(path: tuple[str | int, ...], data: Any, root: Schema | None = None) -> Schema | None:
    """The part of the schema that describes one value.

    Args:
        path: Where the value stands.
        data: The whole file's data, which tells the type of each sink.
        root: The whole file's schema; `config_schema` unless given.

    Returns:
        None where the schema knows no such field.
    """
    root = config_schema() if root is None else root
    schema = root
    for step in path:
        schema = _resolved(schema, data, root)
        child = _member(schema, step) if isinstance(step, str) else _item(schema, step)
        if child is None:
            return None
        schema = child
        data = _inside(data, step)
    return _resolved(schema, data, root)


def legal_values(schema: Schema) -> str:
    """What a value may be, in words: ``one of tcp, udp``, ``a number over 0, at most 300``."""
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if "pattern" in schema:
        return _PATTERNS.get(schema["pattern"], f"text that matches {schema['pattern']}")
    if "discriminator" in schema:
        return f"a mapping with type: {' or '.join(schema['discriminator']['mapping'])}"
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])}, each {legal_values(schema['prefixItems'][0])}"
    words = _TYPES.get(schema.get("type", ""), "another value")
    if schema.get("type") == "array" and schema.get("minItems"):
        return f"{words} of at least {schema['minItems']}"
    return ", ".join([words + _least(schema), *_rest(schema)])


def _least(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']:g} to {schema['maximum']:g}"
    if "exclusiveMinimum" in schema:
        return f" over {schema['exclusiveMinimum']:g}"
    if schema.get("type") == "string" and schema.get("minLength"):
        return " that is not empty"
    return f" of at least {schema['minimum']:g}" if "minimum" in schema else ""


def _rest(schema: Schema) -> list[str]:
    words = []
    if "exclusiveMaximum" in schema:
        words.append(f"under {schema['exclusiveMaximum']:g}")
    if "maximum" in schema and "minimum" not in schema:
        words.append(f"at most {schema['maximum']:g}")
    if "multipleOf" in schema:
        words.append(f"a multiple of {schema['multipleOf']:g}")
    return words


def _resolved(schema: Schema, data: Any, root: Schema) -> Schema:
    """Follow references, leave ``null`` alternatives out, and choose a sink's type by the data."""
    while True:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
        elif "discriminator" in schema:
            chosen = data.get("type") if isinstance(data, dict) else None
            reference = schema["discriminator"]["mapping"].get(chosen) if isinstance(chosen, str) else None
            if reference is None:
                return schema
            schema = {"$ref": reference}
        elif "anyOf" in schema:
            schema = next(choice for choice in schema["anyOf"] if choice.get("type") != "null")
        else:
            return schema


def _member(schema: Schema, name: str) -> Schema | None:
    """A mapping's field, or any of its values where the file chooses the names."""
    named: Schema | None = schema.get("properties", {}).get(name)
    if named is not None:
        return named
    others = schema.get("additionalProperties")  # False in a section
    free = [*schema.get("patternProperties", {}).values(), *([others] if isinstance(others, dict) else [])]
    return free[0] if free else None


def _item(schema: Schema, position: int) -> Schema | None:
    items: list[Schema] = schema.get("prefixItems", [])
    return items[position] if position < len(items) else schema.get("items")


def _inside(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (KeyError, IndexError, TypeError):
        return None
