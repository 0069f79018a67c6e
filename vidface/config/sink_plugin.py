"""Sinks of others: a distribution's entry point is a ``type``, and its parameters are the section's fields.

How such a sink is written and announced is in `pipeline.events.sink`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, create_model

from pipeline.events.sink import ENTRY_POINTS, Sink
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit
from vidface.config.sink_parts import NAME_HELP, Retry, RetryConfig

_PATHS: dict[Any, Any] = {Path: FilePath, Path | None: FilePath | None}
"""Paths count from the configuration file's folder, also those of others."""


class PluginSinkConfig(Section):
    """What the sections of all such sinks have; `section_of` adds a type's own fields."""

    type: str
    name: str
    retry: Retry = RetryConfig()

    factory: ClassVar[Callable[..., Sink]]

    def new(self) -> Sink:
        """Make the sink."""
        own = type(self).model_fields.keys() - PluginSinkConfig.model_fields.keys()
        return type(self).factory(name=self.name, **{field: getattr(self, field) for field in own})

    def where(self) -> str:
        """Where events go, for people: only the sink itself knows."""
        return ""


def plugin_types() -> list[str]:
    """The types that installed distributions offer."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINTS)})


def section_of(kind: str) -> type[PluginSinkConfig] | None:
    """The section of a type that a distribution offers, None if none does. Imports the distribution's module.

    Raises:
        PydanticCustomError: It is offered twice, cannot be imported, or is no factory of sinks.
    """
    # Loaded anew only where the entry points changed; a module is imported once all the same.
    points = tuple(entry_points(group=ENTRY_POINTS, name=kind))
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        offers = ", ".join(sorted(point.value for point in points))
        raise misfit(("type",), f"{kind!r} is offered more than once ({offers}); uninstall all but one")
    return _section(points[0])


@cache
def _section(point: EntryPoint) -> type[PluginSinkConfig]:
    try:
        factory: Callable[..., Sink] = point.load()
        parameters = inspect.signature(factory, eval_str=True).parameters
    except Exception as error:  # whatever others' code does
        why = f"{type(error).__name__}: {error}"
        raise misfit(("type",), f"the sink {point.name!r} ({point.value}) cannot be loaded: {why}") from error
    reason = _unfit(parameters)
    if reason is not None:
        raise misfit(("type",), f"the sink {point.name!r} ({point.value}) cannot be configured: {reason}")
    fields: dict[str, Any] = {
        "type": (Literal[point.name], ...),
        "name": (str, Field(default=point.name, pattern=NAME_PATTERN, description=NAME_HELP)),
    }
    for name, parameter in parameters.items():
        if name != "name":
            fields[name] = (_annotation(parameter), ... if parameter.default is parameter.empty else parameter.default)
    section: type[PluginSinkConfig] = create_model("PluginSink", __base__=PluginSinkConfig, **fields)
    section.factory = staticmethod(factory)
    return section


def _unfit(parameters: Any) -> str | None:
    if "name" not in parameters:
        return "it takes no 'name'"
    for name, parameter in parameters.items():
        if parameter.kind not in {parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            return f"its parameter {name!r} cannot be given by name"
        if name in {"type", "retry"} or name.startswith("_"):
            return f"its parameter {name!r} has a name that is taken"
    return None


def _annotation(parameter: inspect.Parameter) -> Any:
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    return _PATHS.get(annotation, annotation)
