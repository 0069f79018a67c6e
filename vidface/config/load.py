"""From a file to a `Config`, or to everything that is wrong with it.

Three steps: YAML with places (`document`), `${NAME}` (`environment`), pydantic (`model`). What any of them finds
becomes a `Problem` with file, line, field, what was given and what is legal. A value that comes from the environment
is quoted as written, ``${NAME}``, never by its content, which may be a password.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.scheduler import NOMINAL_FPS
from vidface.config.document import Document, FieldPath, dotted, read_document
from vidface.config.environment import resolve, uses_environment
from vidface.config.model import SOURCE_FIELDS, CameraConfig, Config
from vidface.config.schema import legal_values, schema_at
from vidface.config.secrets import MASK, mask_url
from vidface.config.sinks import KafkaSinkConfig, SinkConfig
from vidface.errors import ConfigError, Problem

_SHOWN_CHARACTERS = 80
_TRUTHS = {"true", "false", "yes", "no", "on", "off"}  # YAML 1.1
_SINK_TYPES = {"jsonl", "kafka"}
_OWN_WORDS = {"model", "path", "server", "source"}
"""Errors whose message the model words itself: what was expected."""


_UNSET = re.compile(r"the environment variable (\w+) is (?:not set|empty)")

NOT_USED = "not-used"
"""Stands for what an environment variable would say of something that is not going to be opened."""


def load_config(
    path: Path, environ: Mapping[str, str] | None = None, *, unopened: tuple[Literal["cameras", "sinks"], ...] = ()
) -> Config:
    """Read a configuration file.

    Args:
        path: The YAML file; relative paths in it count from its folder.
        environ: The variables for `${NAME}`; the process's own unless given.
        unopened: Lists whose items the caller is not going to open: variables that only they name need not be set, so
            that who reads along needs no camera's password.

    Raises:
        ConfigError: It cannot be used; the error lists every problem.
    """
    variables = os.environ if environ is None else environ
    try:
        return _loaded(path, variables)
    except ConfigError as error:
        lacking = [(found[1], problem) for problem in error.problems if (found := _UNSET.match(problem.message))]
        places = tuple(f"{name}[" for name in unopened)
        if not lacking or any(not problem.field.startswith(places) for _, problem in lacking):
            raise
        return _loaded(path, {**variables, **dict.fromkeys((name for name, _ in lacking), NOT_USED)})


def _loaded(path: Path, variables: Mapping[str, str]) -> Config:
    document = read_document(path, lambda text: resolve(text, variables))
    problems = [*document.problems, *_misplaced_truths(document)]
    config = None
    try:
        config = Config.model_validate(document.data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        known = {problem.field for problem in problems}
        # A list none of whose items is valid counts as too short as well.
        details_of = (d for d in error.errors(include_url=False) if d["type"] != "too_short" or not d["input"])
        found = (_problem(details, document) for details in details_of)
        problems += [problem for problem in found if problem.field not in known]
    if problems or config is None:
        raise ConfigError(path, sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return config


LOOKS_TO_FOLLOW = 2
"""Detections within `lost_s` that following a face needs at least: one may miss it."""

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\]):")
_LOOPBACK_HOST = re.compile(r"localhost|127\.[0-9.]+|::1")


def warnings_of(config: Config) -> list[str]:
    """What is legal but will hardly be meant: files that are not there (yet), names sent unencrypted."""
    words = [word for position, camera in enumerate(config.cameras) for word in _of_camera(position, camera, config)]
    words += [word for position, sink in enumerate(config.sinks) for word in _of_sink(position, sink)]
    metrics = config.metrics
    if metrics.port is not None and not _LOOPBACK_HOST.fullmatch(metrics.host):
        words.append(
            f"metrics.host: {metrics.host} shows cameras' names and figures, unencrypted and without a password, to "
            "whoever reaches this machine; 127.0.0.1 keeps them here"
        )
    return words


def _of_camera(position: int, camera: CameraConfig, config: Config) -> Iterator[str]:
    for field in SOURCE_FIELDS:
        source = getattr(camera, field)
        if source is not None and source.startswith("/") and not Path(source).exists():
            yield f"cameras[{position}].{field}: {source} does not exist here"
    rate = camera.detect_fps or NOMINAL_FPS / (camera.detect_every or 1)
    if rate * config.tracking.lost_s < LOOKS_TO_FOLLOW:
        yield (
            f"cameras[{position}]: {rate:g} detections a second are too few to follow a face that counts as gone "
            f"after tracking.lost_s, {config.tracking.lost_s:g} s; raise one of them"
        )


def _of_sink(position: int, sink: SinkConfig) -> Iterator[str]:
    if isinstance(sink, KafkaSinkConfig) and not sink.security_protocol.endswith("SSL"):
        far = [server for server in sink.bootstrap_servers if not _LOOPBACK.match(server)]
        if far:
            yield (
                f"sinks[{position}].security_protocol: {sink.security_protocol} sends names unencrypted "
                f"to {far[0]}; use SSL or SASL_SSL"
            )
    for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        file = getattr(sink, field, None)
        if file is not None and not file.exists():
            yield f"sinks[{position}].{field}: {file} does not exist here"


def _misplaced_truths(document: Document) -> list[Problem]:
    """``threads: yes`` and its like, which pydantic would read as 1."""
    problems = []
    for path, place in document.places.items():
        if place.written is None or place.written.lower() not in _TRUTHS:
            continue
        schema = schema_at(path, document.data)
        if schema is not None and schema.get("type") in {"integer", "number"}:
            message = f"expected {legal_values(schema)}; given {place.written}"
            problems.append(Problem(message=message, field=dotted(path), line=place.line, column=place.column))
    return problems


def _problem(details: ErrorDetails, document: Document) -> Problem:
    path = _field_path(details)
    is_missing = details["type"] in {"missing", "union_tag_not_found"}
    place = document.place(path[:-1] if details["type"] == "missing" else path)
    return Problem(
        message=_message(details, path, document, is_missing=is_missing),
        field=dotted(path),
        line=place.line,
        column=place.column,
    )


def _field_path(details: ErrorDetails) -> FieldPath:
    """Where the error belongs in the file; pydantic's own path also names the chosen type of a sink."""
    location = details["loc"]
    if len(location) > 2 and location[0] == "sinks" and location[2] in _SINK_TYPES:
        location = (*location[:2], *location[3:])
    if details["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        location = (*location, "type")
    return (*location, *details.get("ctx", {}).get("at", ()))


def _message(details: ErrorDetails, path: FieldPath, document: Document, *, is_missing: bool) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_field(path, document)
    if details["type"] == "misfit":
        return details["msg"]
    schema = schema_at(path, document.data)
    if details["type"].startswith("union_tag"):
        expected = "one of jsonl, kafka"
    elif details["type"] in _OWN_WORDS:
        expected = details["msg"].removeprefix("expected ")
    else:
        expected = legal_values(schema) if schema else "another value"
    if is_missing:
        return f"is missing; expected {expected}"
    return f"expected {expected}; given {_given(details, path, document)}"


def _given(details: ErrorDetails, path: FieldPath, document: Document) -> str:
    written = document.place(path).written if path in document.places else None
    value: Any = details["ctx"]["tag"] if details["type"] == "union_tag_invalid" else details["input"]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if written is not None and uses_environment(written):
        return f"{mask_url(written)} (its value is not shown)"
    if path and "password" in str(path[-1]):
        return MASK if isinstance(value, str) else f"{MASK}; write it in quotes"
    text = mask_url(str(value if written is None else written))
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    if isinstance(value, str):
        return repr(text)
    schema = schema_at(path, document.data) or {}
    return f'{text}; for a text write "{text}" in quotes' if schema.get("type") == "string" else text


def _unknown_field(path: FieldPath, document: Document) -> str:
    schema = schema_at(path[:-1], document.data) or {}
    names = sorted(schema.get("properties", {}))
    near = difflib.get_close_matches(str(path[-1]), names, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the fields here are {', '.join(names)}"
    return f"there is no such field; {hint}"
