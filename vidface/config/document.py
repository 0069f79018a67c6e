"""A YAML file with the place of each value.

PyYAML's loader forgets where a value stood and lets a later key silently win over an earlier one. So this composes
the nodes, which keep their marks, and builds plain data from them: each value by its path has a place, duplicate keys
are errors, and each text is offered to `resolve` on the way (for `${NAME}`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vidface.errors import ConfigError, Problem

FieldPath = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

MAX_VALUES = 100_000
"""More values than any fleet of cameras needs: a file that unfolds to more by its aliases is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A value's first character in the file, from 1, and its text as written (None for lists and mappings)."""

    line: int
    column: int
    written: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file says, and where.

    Attributes:
        data: Plain dicts, lists and scalars.
        places: Of each value by its path; the path ``()`` is the file's beginning.
        problems: What could not be read; `data` lacks those values.
    """

    data: dict[str, Any]
    places: dict[FieldPath, Place]
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: FieldPath) -> Place:
        """The value's place, or that of what it would stand in."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def dotted(path: FieldPath) -> str:
    """``cameras[1].source``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path, resolve: Callable[[str], str]) -> Document:
    """Read a YAML file whose top is a mapping.

    Args:
        path: The file.
        resolve: Called with each text; a ValueError it raises becomes a problem at that place.

    Raises:
        ConfigError: The file cannot be read, is no UTF-8, is no YAML, or holds something else than a mapping.
    """
    text = _read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(path, [_yaml_problem(error)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        message = f"a character that YAML does not allow: {error.reason}"
        raise ConfigError(path, [Problem(message=message, line=line, column=column)]) from error
    except RecursionError as error:
        raise ConfigError(path, [Problem(message="nested too deeply to be a configuration")]) from error
    if root is None:
        raise ConfigError(path, [Problem(message="the file is empty; the least it needs is a list of cameras")])
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        message = f"the file must be a mapping of fields such as 'cameras:', but it is {kind}"
        raise ConfigError(path, [_at(root, message)])
    builder = _Builder(resolve)
    try:
        data = builder.build(root, ())
    except _TooMuch as error:
        raise ConfigError(path, [Problem(message=str(error))]) from error
    return Document(data=data, places=builder.places, problems=builder.problems)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        message = "there is no such file; give the path of a configuration file"
        raise ConfigError(path, [Problem(message=message)]) from error
    except IsADirectoryError as error:
        raise ConfigError(path, [Problem(message="this is a folder; name a file in it")]) from error
    except OSError as error:
        raise ConfigError(path, [Problem(message=f"the file cannot be read: {error.strerror}")]) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        message = f"the file is not UTF-8 text (byte 0x{raw[error.start]:02x}); save it as UTF-8"
        raise ConfigError(path, [Problem(message=message, line=line, column=column)]) from error


def _yaml_problem(error: yaml.MarkedYAMLError) -> Problem:
    """The parser's words without its excerpt of the file, which may hold a password."""
    mark = error.problem_mark or error.context_mark
    words = ", ".join(part for part in (error.context, error.problem) if part)
    hint = "; indent with spaces, not tabs" if "'\\t'" in words else ""
    return Problem(
        message=f"not valid YAML: {words}{hint}",
        line=None if mark is None else mark.line + 1,
        column=None if mark is None else mark.column + 1,
    )


def _at(node: yaml.Node, message: str, path: FieldPath = ()) -> Problem:
    mark = node.start_mark
    return Problem(message=message, field=dotted(path), line=mark.line + 1, column=mark.column + 1)


class _TooMuch(ValueError):
    """Aliases that unfold without end, or nearly so."""


class _Builder:
    """Plain data from nodes; one use."""

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._resolve = resolve
        self._constructor = yaml.SafeLoader("")
        self._open: list[yaml.Node] = []
        self._seen: set[int] = set()
        self.places: dict[FieldPath, Place] = {}
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, path: FieldPath) -> Any:
        if any(node is other for other in self._open) or len(self.places) >= MAX_VALUES:
            raise _TooMuch("the file's aliases (&name, *name) unfold without end")
        written = node.value if isinstance(node, yaml.ScalarNode) else None
        mark = node.start_mark
        self.places[path] = Place(line=mark.line + 1, column=mark.column + 1, written=written)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*path, number)) for number, child in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        self._refuse_duplicates(node, path)
        try:
            self._constructor.flatten_mapping(node)  # `<<: *defaults`; a mapping's own keys come last and win
        except yaml.MarkedYAMLError as error:
            self.problems.append(_at(node, f"not valid YAML: {error.problem}", path))
            return {}
        nodes: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                nodes[key.value] = value
            else:
                self.problems.append(_at(key, "a field's name must be a plain word", path))
        return {name: self.build(value, (*path, name)) for name, value in nodes.items()}

    def _refuse_duplicates(self, node: yaml.MappingNode, path: FieldPath) -> None:
        if id(node) in self._seen:
            return  # an alias: its merged keys now stand beside its own, and what is wrong with it has been said
        self._seen.add(id(node))
        first: dict[str, int] = {}
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in first:
                message = f"given twice, first on line {first[key.value]}; keep one"
                self.problems.append(_at(key, message, (*path, key.value)))
            first.setdefault(key.value, key.start_mark.line + 1)

    def _scalar(self, node: yaml.Node, path: FieldPath) -> Any:
        try:
            value = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            words = (
                error.problem
                if isinstance(error, yaml.MarkedYAMLError)
                else "it looks like a date or number but is none"
            )
            self.problems.append(_at(node, f"cannot be read: {words}", path))
            return None
        if not isinstance(value, str):
            return value
        try:
            return self._resolve(value)
        except ValueError as error:
            self.problems.append(_at(node, str(error), path))
            return None
