"""Which changes of a published JSON Schema break somebody.

Events outlive versions, in topics and files, and consumers are older or newer than producers. So a published schema may
gain fields that nobody must write, and new words for people; nothing else. A change to what exists breaks one side:
what is narrower refuses events that were written, what is wider lets events through that no consumer was made for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

WORDS: Final = {"title", "description", "$comment", "examples", "$defs", "$schema"}
"""Keywords that judge nothing by themselves; definitions are looked at where they are referred to."""

LOOKED_INTO: Final = {"properties", "required", "items", "type", "enum"}
"""Keywords that have rules of their own; all others must stay as they are."""


CONDITIONS: Final = {"if", "then", "else", "not"}
"""Keywords whose schemas are no description of a value: what they name more judges more."""


def breaking_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a new schema breaks of an old one: where, and what; empty for nothing."""
    return list(_compare(_written_out(old, old), _written_out(new, new), "$"))


def _compare(old: Any, new: Any, where: str) -> Iterator[str]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield f"{where}: {old!r} became {new!r}"
        return
    yield from _types(old, new, where)
    yield from _enums(old, new, where)
    yield from _fields(old, new, where)
    if ("items" in old) != ("items" in new):
        yield f"{where}: items were {'dropped' if 'items' in old else 'added'}"
    elif "items" in old:
        yield from _compare(old["items"], new["items"], f"{where}[]")
    for keyword in sorted((old.keys() | new.keys()) - WORDS - LOOKED_INTO):
        yield from _keyword(keyword, old, new, where)


def _types(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    before, after = _set_of(old.get("type")), _set_of(new.get("type"))
    if before == after:
        return
    if before is None or (after is not None and after < before):
        yield f"{where}: the type was narrowed"
    elif after is None or before < after:
        yield f"{where}: the type was widened"
    else:
        yield f"{where}: the type was changed"


def _enums(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    before, after = old.get("enum"), new.get("enum")
    if (before is None) != (after is None):
        yield f"{where}: the enum was {'added' if before is None else 'dropped'}"
    elif before is not None and after is not None:
        yield from (f"{where}: the value {value!r} was removed" for value in before if value not in after)
        yield from (f"{where}: the value {value!r} was added" for value in after if value not in before)


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed, needed_now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(before.keys() - after.keys()):
        yield f"{where}.{name}: the field was removed"
    for name in sorted((needed - needed_now) & after.keys()):
        yield f"{where}.{name}: the field is no longer required"
    for name in sorted(needed_now - needed):
        yield f"{where}.{name}: the field is required now, and events that were written lack it"
    for name in sorted(before.keys() & after.keys()):
        yield from _compare(before[name], after[name], f"{where}.{name}")


def _keyword(keyword: str, old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    if keyword not in old or keyword not in new:
        yield f"{where}: {keyword} was {'dropped' if keyword in old else 'added'}"
    elif keyword in CONDITIONS:
        if _without_words(old[keyword]) != _without_words(new[keyword]):
            yield f"{where}: {keyword} was changed"
    elif isinstance(old[keyword], list) and isinstance(new[keyword], list):
        if len(old[keyword]) != len(new[keyword]):
            yield f"{where}: {keyword} has {len(new[keyword])} parts instead of {len(old[keyword])}"
        else:
            for place, (one, other) in enumerate(zip(old[keyword], new[keyword], strict=True)):
                yield from _compare(one, other, f"{where}.{keyword}[{place}]")
    else:
        yield from _compare(old[keyword], new[keyword], f"{where}.{keyword}")


def _written_out(schema: Any, root: Any) -> Any:
    """The schema with every reference replaced by what it leads to. Ours never lead in circles."""
    if isinstance(schema, list):
        return [_written_out(each, root) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" not in schema:
        return {name: value if name == "$defs" else _written_out(value, root) for name, value in schema.items()}
    target = root
    for name in schema["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return _written_out({**target, **{name: value for name, value in schema.items() if name != "$ref"}}, root)


def _without_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_words(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {name: _without_words(value) for name, value in schema.items() if name not in WORDS}


def _set_of(kind: Any) -> frozenset[str] | None:
    """The types as a set; an integer is a number."""
    if kind is None:
        return None
    kinds = {kind} if isinstance(kind, str) else set(kind)
    return frozenset(kinds | ({"integer"} if "number" in kinds else set()))
