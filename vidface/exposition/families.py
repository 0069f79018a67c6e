"""A service's snapshot as Prometheus' metrics: each function tells one family, and `FAMILIES` says which are told.

Names follow https://prometheus.io/docs/practices/naming/: the prefix, base units, and ``_total`` on what only grows.
Labels are bounded: cameras' ids, sinks' names, stages and types of events, which the configuration or the code names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.events.payload import EVENT_TYPES
from pipeline.metrics import AGE_BOUNDS_S, AgeHistogram
from pipeline.overload import SKIPPED
from streams.state import CameraStateName
from vidface.status import Phase, ServiceStatus

OUTCOMES = ("detected", "not_due", "superseded", "expired", "undelivered")
"""Told from the start, so that a rate sees the first of them; see `pipeline.metrics.FrameCounts`."""

DECODED = "decoded"
"""All frames. A metric of its own: as an outcome among the others it would count each frame twice in a sum."""


def build_info(status: ServiceStatus) -> Iterator[Metric]:
    """Which vidface this is."""
    family = GaugeMetricFamily("vidface_build_info", "Which vidface this is; always 1.", labels=["version"])
    family.add_metric([status.version], 1)
    yield family


def phases(status: ServiceStatus) -> Iterator[Metric]:
    """How far the service has come."""
    family = GaugeMetricFamily("vidface_phase", "Whether the service is in this phase, 0 or 1.", labels=["phase"])
    for phase in Phase:
        family.add_metric([phase.value], float(status.phase is phase))
    yield family


def frames(status: ServiceStatus) -> Iterator[Metric]:
    """What became of frames."""
    decoded = CounterMetricFamily("vidface_frames_decoded_total", "Frames that a camera delivered.", labels=["camera"])
    family = CounterMetricFamily(
        "vidface_frames_total",
        "Frames by what became of them; those skipped_* were never decoded.",
        labels=["camera", "outcome"],
    )
    for camera in status.cameras:
        decoded.add_metric([camera.camera], camera.frames.get(DECODED, 0))
        told = (*OUTCOMES, *SKIPPED) if camera.live else OUTCOMES
        counts = {**dict.fromkeys(told, 0), **camera.frames}
        for outcome, count in counts.items():
            if outcome != DECODED:
                family.add_metric([camera.camera, outcome], count)
    yield decoded
    yield family


def ages(status: ServiceStatus) -> Iterator[Metric]:
    """How old live frames were when they were decided about."""
    family = HistogramMetricFamily(
        "vidface_decision_age_seconds",
        "Age of a live camera's frames, from their reception to the end of their analysis.",
        labels=["camera"],
    )
    for camera in status.cameras:
        if camera.live:
            held = camera.ages or AgeHistogram(counts=(0,) * (len(AGE_BOUNDS_S) + 1), sum_s=0.0)
            below = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip([*map(str, AGE_BOUNDS_S), "+Inf"], held.counts, strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric([camera.camera], buckets=buckets, sum_value=held.sum_s)
    yield family


def cameras(status: ServiceStatus) -> Iterator[Metric]:
    """States and connections."""
    states = GaugeMetricFamily(
        "vidface_camera_state", "Whether the camera is in this state, 0 or 1.", labels=["camera", "state"]
    )
    epochs = GaugeMetricFamily(
        "vidface_camera_epoch", "Number of the present or last connection, over all runs.", labels=["camera"]
    )
    counters = {
        name: CounterMetricFamily(f"vidface_camera_{name}_total", words, labels=["camera"])
        for name, words in (
            ("connections", "Connections that delivered a picture."),
            ("reconnects", "Connections after the first."),
            ("failed_attempts", "Attempts to connect that delivered no picture."),
            ("bad_frames", "Damaged pictures, skipped."),
            ("repaired_times", "Frames whose timestamp was missing or did not grow."),
        )
    }
    for camera in status.cameras:
        for state in CameraStateName:
            states.add_metric([camera.camera, state.value], float(camera.state is state))
        epochs.add_metric([camera.camera], camera.source.epoch)
        for name, counter in counters.items():
            counter.add_metric([camera.camera], getattr(camera.source, name))
    yield states
    yield epochs
    yield from counters.values()


def loads(status: ServiceStatus) -> Iterator[Metric]:
    """Whether the machine keeps up. What a camera gets is the rate of its detected frames."""
    wanted = GaugeMetricFamily(
        "vidface_camera_wanted_fps", "Detections a second that the configuration asks for.", labels=["camera"]
    )
    overloaded = GaugeMetricFamily(
        "vidface_camera_overloaded",
        "Whether the machine can't look at a live camera as often as wanted, 0 or 1.",
        labels=["camera"],
    )
    for camera in status.cameras:
        if camera.wanted_fps is not None:
            wanted.add_metric([camera.camera], camera.wanted_fps)
        if camera.load is not None:
            overloaded.add_metric([camera.camera], float(camera.load.overloaded))
    yield from (wanted, overloaded)


def stages(status: ServiceStatus) -> Iterator[Metric]:
    """Where time goes."""
    seconds = CounterMetricFamily("vidface_stage_seconds_total", "Wall time spent in a stage.", labels=["stage"])
    items = CounterMetricFamily(
        "vidface_stage_items_total", "Frames, faces or events that went through a stage.", labels=["stage"]
    )
    calls = CounterMetricFamily("vidface_stage_calls_total", "How often a stage ran.", labels=["stage"])
    for stage, time in status.stages.items():
        seconds.add_metric([stage], time.wall_s)
        items.add_metric([stage], time.items)
        calls.add_metric([stage], time.calls)
    yield from (seconds, items, calls)


def sinks(status: ServiceStatus) -> Iterator[Metric]:
    """What was delivered, and what waits in the outbox."""
    delivered = CounterMetricFamily("vidface_sink_delivered_total", "Events that the sink took.", labels=["sink"])
    retries = CounterMetricFamily("vidface_sink_retries_total", "Deliveries that failed.", labels=["sink"])
    refused = CounterMetricFamily(
        "vidface_sink_refused_total", "Events that the sink will never take; in the dead letters.", labels=["sink"]
    )
    dropped = CounterMetricFamily(
        "vidface_sink_dropped_total",
        "Events that the outbox dropped at its bounds, since it was made, and the sink will never get.",
        labels=["sink"],
    )
    pending = GaugeMetricFamily(
        "vidface_sink_pending", "Events in the outbox that the sink has not taken.", labels=["sink"]
    )
    failing = GaugeMetricFamily("vidface_sink_failing", "Whether the latest delivery failed, 0 or 1.", labels=["sink"])
    for sink in status.sinks:
        delivered.add_metric([sink.name], sink.delivered)
        retries.add_metric([sink.name], sink.retries)
        refused.add_metric([sink.name], sink.refused)
        dropped.add_metric([sink.name], sink.dropped)
        pending.add_metric([sink.name], sink.pending)
        failing.add_metric([sink.name], float(sink.failing))
    yield from (delivered, retries, refused, dropped, pending, failing)


def events(status: ServiceStatus) -> Iterator[Metric]:
    """What was emitted."""
    family = CounterMetricFamily("vidface_events_total", "Events put into the outbox.", labels=["type"])
    for kind, count in {**dict.fromkeys(EVENT_TYPES, 0), **status.events}.items():
        family.add_metric([kind], count)
    yield family


Family = Callable[[ServiceStatus], Iterator[Metric]]

FAMILIES: tuple[Family, ...] = (build_info, phases, frames, ages, cameras, loads, stages, sinks, events)
"""All that is told, in this order."""


class StatusCollector(Collector):
    """Tells `FAMILIES` of a snapshot that is taken when Prometheus asks, so that they agree with each other."""

    def __init__(self, status: Callable[[], ServiceStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Take a snapshot and tell it. Any thread."""
        status = self._status()
        for family in FAMILIES:
            yield from family(status)

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would take a snapshot while the service is only being made."""
        return []


def new_registry(status: Callable[[], ServiceStatus]) -> CollectorRegistry:
    """A registry of one service and of the process it runs in; not the library's global one, which outlives both."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
