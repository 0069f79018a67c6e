"""How a running service is: one snapshot, from which metrics, health and `vidface top` are all drawn.

It holds figures and camera ids, never a source's address: it may be read by whoever reaches the metrics port. As JSON
it is what ``/status`` answers; unknown fields are passed over when it is read, so that a `top` may be older than what
it watches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from pipeline.events.publisher import SinkStatistics
from pipeline.metrics import AgeHistogram, StageTime
from pipeline.overload import CameraLoad
from streams.source import SourceStatistics
from streams.state import CameraStateName


class Phase(StrEnum):
    """How far a service has come."""

    STARTING = "starting"
    """Models are compiled, the gallery and the sinks opened; no camera runs yet."""
    RUNNING = "running"
    """Cameras run."""
    ENDING = "ending"
    """It was asked to stop, or every recording is over; what is left is delivered."""
    FAILED = "failed"
    """A stage raised; the process is about to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """One camera.

    Attributes:
        camera: Its id.
        state: None before its thread began.
        cause: Why it is in this state, one of `streams.state.Cause`; None before its thread began.
        since_unix_ns: When it came into this state.
        live: Whether the newest frame counts; else every one.
        wanted_fps: Configured detections a second; None where every frame, or each n-th, is wanted.
        frames: What became of its frames, by outcome; ``decoded`` is all of them, the others are parts of it.
        source: What its source counted.
        ages: Of its decisions, where it is live and there were any.
        load: Whether the machine keeps up with it; None where it is not live or has just connected.
    """

    camera: str
    state: CameraStateName | None
    cause: str | None
    since_unix_ns: int | None
    live: bool
    wanted_fps: float | None
    frames: Mapping[str, int]
    source: SourceStatistics
    ages: AgeHistogram | None
    load: CameraLoad | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """A service at one moment.

    Attributes:
        version: Of vidface.
        phase: How far it has come.
        failure: Which stage failed and why, without credentials; None while all work.
        taken_ns: When this was taken, on the service's monotonic clock; rates are differences over this.
        uptime_s: Since the service was entered.
        cameras: In the order of the configuration; none while starting.
        stages: Time spent, by stage.
        sinks: What each has taken and has not; none while starting.
        events: Emitted, by type.
    """

    version: str
    phase: Phase
    failure: str | None
    taken_ns: int
    uptime_s: float
    cameras: tuple[CameraStatus, ...]
    stages: Mapping[str, StageTime]
    sinks: tuple[SinkStatistics, ...]
    events: Mapping[str, int]

    def to_json(self) -> bytes:
        """As ``/status`` answers it."""
        return _ADAPTER.dump_json(self)

    @staticmethod
    def from_json(document: bytes) -> ServiceStatus:
        """The reverse of `to_json`.

        Raises:
            ValueError: It is something else.
        """
        return _ADAPTER.validate_json(document)


_ADAPTER = TypeAdapter(ServiceStatus)
