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
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.scheduler import NOMINAL_FPS
from vidface.config.document import Document, FieldPath, dotted, read_document
from vidface.config.environment import resolve, uses_environment
from vidface.config.model import SOURCE_FIELDS, CameraConfig, Config
from vidface.config.schema import Schema, config_schema, legal_values, schema_at
from vidface.config.secrets import MASK, NOT_USED, mask_url
from vidface.config.section import Section
from vidface.config.sink_mqtt import MqttSinkConfig
from vidface.config.sink_plugin import PluginSinkConfig, section_of
from vidface.config.sink_webhook import WebhookSinkConfig
from vidface.config.sinks import BUILT_IN, KafkaSinkConfig, SinkConfig, sink_types
from vidface.errors import ConfigError, Problem

_S = TypeVar("_S", bound=Section)

_SHOWN_CHARACTERS = 80
_TRUTHS = {"true", "false", "yes", "no", "on", "off"}  # YAML 1.1
_USERINFO = re.compile(r"^.*@")
_OWN_WORDS = {"model", "path", "secret", "server", "source", "time", "url", "zone"}
"""Errors whose message the model words itself: what was expected."""


_UNSET = re.compile(r"the environment variable (\w+) is (?:not set|empty)")


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
    return load_section(path, Config, config_schema(), environ, unopened=unopened)[0]


def load_section(
    path: Path,
    section: type[_S],
    schema: Schema,
    environ: Mapping[str, str] | None = None,
    *,
    unopened: tuple[str, ...] = (),
    stand_in: str = NOT_USED,
) -> tuple[_S, Document]:
    """Read a configuration file of any kind.

    Args:
        path: The YAML file; relative paths in it count from its folder.
        section: What it says.
        schema: The JSON Schema of that.
        environ: The variables for `${NAME}`; the process's own unless given.
        unopened: As of `load_config`.
        stand_in: What such variables are taken to hold.

    Returns:
        What it says, and the place of each value.

    Raises:
        ConfigError: It cannot be used; the error lists every problem.
    """
    variables = os.environ if environ is None else environ
    try:
        return _loaded(path, section, schema, variables)
    except ConfigError as error:
        lacking = [(found[1], problem) for problem in error.problems if (found := _UNSET.match(problem.message))]
        places = tuple(f"{name}[" for name in unopened)
        if not lacking or any(not problem.field.startswith(places) for _, problem in lacking):
            raise
        names = dict.fromkeys((name for name, _ in lacking), stand_in)
        return _loaded(path, section, schema, {**variables, **names})


def _loaded(path: Path, section: type[_S], schema: Schema, variables: Mapping[str, str]) -> tuple[_S, Document]:
    document = read_document(path, lambda text: resolve(text, variables))
    problems = [*document.problems, *_misplaced_truths(document, schema)]
    config = None
    try:
        config = section.model_validate(document.data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        known = {problem.field for problem in problems}
        # A list none of whose items is valid counts as too short as well.
        details_of = (d for d in error.errors(include_url=False) if d["type"] != "too_short" or not d["input"])
        found = (_problem(details, document, schema) for details in details_of)
        problems += [problem for problem in found if problem.field not in known]
    if problems or config is None:
        raise ConfigError(path, sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return config, document


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
    if isinstance(sink, MqttSinkConfig) and not sink.tls and not _LOOPBACK.match(sink.server):
        yield f"sinks[{position}].tls: false sends names unencrypted to {sink.server}; use tls: true"
    if isinstance(sink, WebhookSinkConfig):
        host = urlsplit(sink.url).hostname or ""
        if sink.url.startswith("http:") and not _LOOPBACK_HOST.fullmatch(host):
            yield f"sinks[{position}].url: http sends names unencrypted to {host}; use https"
        if sink.secret is None:
            yield f"sinks[{position}].secret: without it the receiver cannot tell our requests from anybody's"
    for field in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ca_file", "cert_file", "key_file"):
        file = getattr(sink, field, None)
        if isinstance(file, Path) and not file.exists():
            yield f"sinks[{position}].{field}: {file} does not exist here"


def _misplaced_truths(document: Document, root: Schema) -> list[Problem]:
    """``threads: yes`` and its like, which pydantic would read as 1."""
    problems = []
    for path, place in document.places.items():
        if place.written is None or place.written.lower() not in _TRUTHS:
            continue
        schema = schema_at(path, document.data, root)
        if schema is not None and schema.get("type") in {"integer", "number"}:
            message = f"expected {legal_values(schema)}; given {place.written}"
            problems.append(Problem(message=message, field=dotted(path), line=place.line, column=place.column))
    return problems


def _problem(details: ErrorDetails, document: Document, root: Schema) -> Problem:
    path = _field_path(details, root)
    is_missing = details["type"] in {"missing", "union_tag_not_found"}
    place = document.place(path[:-1] if details["type"] == "missing" else path)
    return Problem(
        message=_message(details, path, document, root, is_missing=is_missing),
        field=dotted(path),
        line=place.line,
        column=place.column,
    )


def _field_path(details: ErrorDetails, root: Schema) -> FieldPath:
    """Where the error belongs in the file; pydantic's own path also names the chosen type of a sink or an action."""
    location: FieldPath = ()
    chosen_at: FieldPath | None = None
    for step in details["loc"]:
        # A sink of others is validated by its own section, so its type is no step of the path.
        is_field = location[:1] == ("sinks",) and step not in BUILT_IN
        if chosen_at != location and not is_field and "discriminator" in (schema_at(location, None, root) or {}):
            chosen_at = location
        else:
            location = (*location, step)
    if details["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        location = (*location, "type")
    return (*location, *details.get("ctx", {}).get("at", ()))


def _message(details: ErrorDetails, path: FieldPath, document: Document, root: Schema, *, is_missing: bool) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_field(path, document, root)
    if details["type"] == "misfit":
        return details["msg"]
    schema = schema_at(path, document.data, root)
    if schema is None and _plugin_section(path, document) is not None:
        return "is missing" if is_missing else details["msg"]  # whose messages quote no value, which may be a secret
    if details["type"].startswith("union_tag"):
        choice = schema_at(path[:-1], document.data, root) or {}
        expected = "one of " + ", ".join(sink_types() if path[0] == "sinks" else choice["discriminator"]["mapping"])
    elif details["type"] in _OWN_WORDS:
        expected = details["msg"].removeprefix("expected ")
    else:
        expected = legal_values(schema) if schema else "another value"
    if is_missing:
        return f"is missing; expected {expected}"
    return f"expected {expected}; given {_given(details, path, document, root)}"


def _given(details: ErrorDetails, path: FieldPath, document: Document, root: Schema) -> str:
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
    schema = schema_at(path, document.data, root) or {}
    if (path and "password" in str(path[-1])) or _holds_secrets(schema):
        return MASK if isinstance(value, str) else f"{MASK}; write it in quotes"
    text = mask_url(str(value if written is None else written))
    if details["type"] == "server":  # no URL, but somebody may have thought of one
        text = _USERINFO.sub(f"{MASK}@", text)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "..."
    if isinstance(value, str):
        return repr(text)
    return f'{text}; for a text write "{text}" in quotes' if schema.get("type") == "string" else text


def _holds_secrets(schema: Schema) -> bool:
    """Whether the schema calls the value, or what is in it, a secret."""
    inner = schema.get("additionalProperties")
    return any(
        isinstance(each, dict) and (each.get("writeOnly") or each.get("format") == "password")
        for each in (schema, inner)
    )


def _plugin_section(path: FieldPath, document: Document) -> type[PluginSinkConfig] | None:
    """The section of the sink that the path leads into, if it is one of others."""
    if len(path) < 3 or path[0] != "sinks":
        return None
    try:
        kind = document.data["sinks"][path[1]]["type"]
    except (KeyError, IndexError, TypeError):
        return None
    return section_of(kind) if isinstance(kind, str) and kind not in BUILT_IN else None


def _unknown_field(path: FieldPath, document: Document, root: Schema) -> str:
    schema = schema_at(path[:-1], document.data, root) or {}
    section = _plugin_section(path, document)
    names = sorted(schema.get("properties", {}) if section is None else section.model_fields)
    near = difflib.get_close_matches(str(path[-1]), names, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the fields here are {', '.join(names)}"
    return f"there is no such field; {hint}"
