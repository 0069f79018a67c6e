"""Throughput on recorded footage, beside the floors that it can't go under, all measured in one run.

- *decode only*: the same clips through the same sources, every frame let go at once.
- *detect only*: decoding, scaling and detection, without tracking, recognition and events.
- *everything*: the service itself, as `vidface serve` runs it.

Before any figure is believed, the outputs are checked: the events of the measured run must be those of the clip served
alone, apart from ids and times.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.analysis import DetectedFrame
from pipeline.detection import Detection
from pipeline.events.event import Event
from pipeline.events.fake import MemorySink
from pipeline.intake import Intake
from pipeline.metrics import FrameCounts, StageTime, StageTimes
from pipeline.runtime import Camera
from streams.errors import Closed
from vidface.assemble import Models, change_options, max_batch, open_models, runtime_camera
from vidface.config.model import Config
from vidface.errors import BadInput, VidfaceError
from vidface.service import Service
from weights.progress import Progress

PX_TOLERANCE = 2.0
"""Boxes of two runs may differ by so much: batches of other sizes are computed by other kernels."""

SCORE_TOLERANCE = 0.02
"""Similarities likewise."""


class OutputsDiffer(VidfaceError, RuntimeError):
    """The measured run said something else than the same clip served alone: its figures mean nothing."""

    code = "outputs_differ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One measured run.

    Attributes:
        frames: Frames decoded.
        detected: Frames in which faces were looked for.
        faces: Faces found.
        wall_s: From the first thread's start to the last one's end.
        cpu_s: Processor time of the whole process in that span.
    """

    frames: int
    detected: int
    faces: int
    wall_s: float
    cpu_s: float

    @property
    def fps(self) -> float:
        """Decoded frames a second."""
        return self.frames / self.wall_s if self.wall_s > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """All that one bench measures.

    Attributes:
        decode: The decode-only floor.
        detect: The detect-only floor.
        everything: The service.
        events: Events it published.
        stages: Time by stage of the service.
        peak_rss_bytes: The process's largest resident memory so far.
    """

    decode: Throughput
    detect: Throughput
    everything: Throughput
    events: int
    stages: Mapping[str, StageTime]
    peak_rss_bytes: int


def measure(
    config: Config,
    reference: Config,
    *,
    progress: Progress | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
) -> BenchResult:
    """Measure a configuration of recordings.

    Args:
        config: What to measure: cameras ``clip-1`` ... with recordings.
        reference: The same, with each distinct recording once: what the events are checked against.
        progress: Told about weights that are pulled.
        on_step: Told what is measured next.

    Raises:
        OutputsDiffer: The run's events are not the reference's.
        BadInput: A clip has no frame.
        SourceError: A clip can't be opened.
    """
    on_step("compiling models")
    models = open_models(
        config.detector, config.embedder, config.engine, max_batch=max_batch(config), progress=progress
    )
    on_step("checking outputs")
    expected = _serve(reference, models)
    on_step("decode only")
    decode = measure_decode(config)
    on_step("detect only")
    detect = measure_detect(config, models)
    on_step("everything")
    measured = _serve(config, models)
    check_outputs(expected.events, measured.events, _twins(config, reference))
    return BenchResult(
        decode=decode,
        detect=detect,
        everything=measured.throughput,
        events=len(measured.events),
        stages=measured.stages,
        peak_rss_bytes=peak_rss_bytes(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    throughput: Throughput
    events: list[Event]
    stages: Mapping[str, StageTime]


def _serve(config: Config, models: Models) -> _Served:
    sink = MemorySink(name="bench")
    faces = 0

    def count(analysed: Any) -> None:
        nonlocal faces
        faces += len(analysed.faces)

    watch = _Watch()
    with Service(config, models=models, observer=count, extra_sinks=[sink]) as service:
        service.wait()
    wall_s, cpu_s = watch.read()
    for error in service.failed_cameras.values():
        raise error
    return _Served(
        throughput=_throughput(service.counts, wall_s, cpu_s, faces=faces),
        events=sink.events,
        stages=service.times.snapshot(),
    )


def measure_decode(config: Config) -> Throughput:
    """Decode every frame of every camera and let it go: the floor under everything."""
    counts = FrameCounts()
    cameras = _cameras(config)
    watch = _Watch()
    _run_sources(
        [
            camera.new_source(lambda frame: counts.count(frame.meta.camera, "decoded"), lambda _state: None)
            for camera in cameras
        ]
    )
    wall_s, cpu_s = watch.read()
    return _throughput(counts, wall_s, cpu_s, faces=0)


def measure_detect(config: Config, models: Models) -> Throughput:
    """Decode, schedule, scale and detect: the floor under recognition."""
    counts, times, faces = FrameCounts(), StageTimes(), 0
    cameras = _cameras(config)
    intake = Intake([camera.share for camera in cameras], counts, max_batch=max_batch(config))
    watch = _Watch()

    def run_sources() -> None:
        def run(camera: Camera) -> None:
            try:
                camera.new_source(intake.put_frame, lambda _state: None).run()
            finally:
                intake.camera_done(camera.share.camera)

        _join([threading.Thread(target=run, args=(camera,), name=f"bench {camera.share.camera}") for camera in cameras])

    feeder = threading.Thread(target=run_sources, name="bench sources")
    feeder.start()
    detection = Detection(
        models.detector, times, min_face_px=config.detector.min_face_px, changes=change_options(config.detector)
    )
    under_way: deque[Callable[[], list[DetectedFrame]]] = deque()
    try:
        while True:
            if len(under_way) == models.detector.parallel:
                faces += sum(len(detected.faces) for detected in under_way.popleft()())
            work = intake.take()
            for frame in work.frames:
                counts.count(frame.meta.camera, "detected")
            under_way.append(detection.begin(work.frames))
    except Closed:
        while under_way:
            faces += sum(len(detected.faces) for detected in under_way.popleft()())
    finally:
        intake.close()
        feeder.join()
    wall_s, cpu_s = watch.read()
    return _throughput(counts, wall_s, cpu_s, faces=faces)


def _cameras(config: Config) -> list[Camera]:
    return [runtime_camera(camera, None, lambda _camera: 1) for camera in config.cameras]


def _run_sources(sources: Sequence[Any]) -> None:
    _join([threading.Thread(target=source.run, name="bench source") for source in sources])


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class _Watch:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s


def _throughput(counts: FrameCounts, wall_s: float, cpu_s: float, *, faces: int) -> Throughput:
    frames, detected = (
        sum(outcomes.get(outcome, 0) for outcomes in counts.snapshot().values()) for outcome in ("decoded", "detected")
    )
    if not frames:
        raise BadInput("the clips have no frame that could be decoded")
    return Throughput(
        frames=frames,
        detected=detected,
        faces=faces,
        wall_s=wall_s,
        cpu_s=cpu_s,
    )


def peak_rss_bytes() -> int:
    """The process's largest resident memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _twins(config: Config, reference: Config) -> dict[str, str]:
    """For each measured camera the reference camera with the same recording."""
    by_source = {Path(camera.source): camera.id for camera in reference.cameras}
    return {camera.id: by_source[Path(camera.source)] for camera in config.cameras}


def check_outputs(expected: Sequence[Event], measured: Sequence[Event], twins: Mapping[str, str]) -> None:
    """Check that each measured camera published what its reference did: the same sightings, answers and boxes.

    Args:
        expected: The reference run's events.
        measured: The measured run's events.
        twins: Reference camera by measured camera.

    Raises:
        OutputsDiffer: It names the first event that differs.
    """
    for camera, reference in twins.items():
        wanted = [event for event in expected if event.camera == reference]
        given = [event for event in measured if event.camera == camera]
        if len(wanted) != len(given):
            raise OutputsDiffer(f"{camera}: {len(given)} events were published where serve publishes {len(wanted)}")
        for want, got in zip(wanted, given, strict=True):
            difference = _difference(want, got)
            if difference:
                raise OutputsDiffer(f"{camera}: event {got.id} differs from serve's {want.id}: {difference}")


def _difference(want: Event, got: Event) -> str | None:
    if want.type != got.type:
        return f"{got.type} instead of {want.type}"
    a: Mapping[str, Any] = want.data
    b: Mapping[str, Any] = got.data
    if "track" not in a:
        return None if a["state"] == b["state"] else f"state {b['state']} instead of {a['state']}"
    for field in ("track", "sequence", "answer"):
        if a[field] != b[field]:
            return f"{field} {b[field]} instead of {a[field]}"
    if a["frame"] != b["frame"]:
        return f"frame {b['frame']['index']} instead of {a['frame']['index']}"
    if max(abs(p - q) for p, q in zip(a["box"], b["box"], strict=True)) > PX_TOLERANCE:
        return f"box {b['box']} instead of {a['box']}"
    mine, theirs = a["identity"], b["identity"]
    if (mine is None) != (theirs is None):
        return f"identity {theirs} instead of {mine}"
    if mine and (mine["name"] != theirs["name"] or abs(mine["score"] - theirs["score"]) > SCORE_TOLERANCE):
        return f"identity {theirs['name']} {theirs['score']} instead of {mine['name']} {mine['score']}"
    return None
