"""vidface: cameras in, recognised people out as events.

The application on top of the packages that do the work:

    streams    pixels in        sources, decoding, reconnecting
    pipeline   pixels to facts  scheduling, detection, tracking, recognition, events
    index      who is known     the gallery and its search
    weights    model files      manifest, pulling, verifying, converting

Here: `config` (what a configuration file may say), `cli` (the commands), `errors`. Nothing imports this package.

For programs that act on events, ``from vidface import EventConsumer`` and the names beside it: they are loaded when
they are asked for, and need none of what video needs (``pip install vidface[consumer]``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.events.consumer import EventConsumer, Retry, stopped_by
    from pipeline.events.event import Event
    from pipeline.events.freshness import Freshness
    from pipeline.events.kafka_security import KafkaSecurity
    from pipeline.events.payload import Answer, CameraStatePayload, SightingPayload, SightingStage
    from pipeline.events.received import ConsumerStatistics, Gap, Malformed, Received, Refused

__all__ = [
    "Answer",
    "CameraStatePayload",
    "ConsumerStatistics",
    "Event",
    "EventConsumer",
    "Freshness",
    "Gap",
    "KafkaSecurity",
    "Malformed",
    "Received",
    "Refused",
    "Retry",
    "SightingPayload",
    "SightingStage",
    "stopped_by",
]

_HOMES = {
    **dict.fromkeys(("EventConsumer", "Retry", "stopped_by"), "pipeline.events.consumer"),
    "Event": "pipeline.events.event",
    "Freshness": "pipeline.events.freshness",
    "KafkaSecurity": "pipeline.events.kafka_security",
    **dict.fromkeys(("Answer", "CameraStatePayload", "SightingPayload", "SightingStage"), "pipeline.events.payload"),
    **dict.fromkeys(("ConsumerStatistics", "Gap", "Malformed", "Received", "Refused"), "pipeline.events.received"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that importing this package stays light."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names too, loaded or not."""
    return sorted({*globals(), *__all__})
