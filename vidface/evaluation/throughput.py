"""Throughput on recorded footage, beside the floors that it can't go under, all measured in one run.

- *decode only*: the same clips through the same sources, every frame let go at once. Each stream is decoded by one
  thread, so one stream alone leaves the other processors idle.
- *decode on the whole machine*: likewise, with at least as many copies side by side as there are processors.
- *detect only*: decoding, scaling and detection, without tracking, recognition and events.
- *everything*: the service itself, as `vidface serve` runs it.

Before any figure is believed, the outputs are checked: the events of the measured run must be those of the clip served
alone, apart from ids and times.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.analysis import AnalysedFrame, DetectedFrame
from pipeline.detection import Detection
from pipeline.engine import usable_cpus
from pipeline.events.event import Event
from pipeline.events.fake import MemorySink
from pipeline.faces import Faces
from pipeline.intake import Intake, Taken
from pipeline.metrics import FrameCounts, StageTime, StageTimes
from pipeline.opencv import one_opencv_thread
from pipeline.runtime import Camera
from streams.errors import Closed
from streams.frame import Frame
from streams.state import CameraState, CameraStateName
from vidface.assemble import Models, change_options, max_batch, runtime_camera
from vidface.config.model import Config
from vidface.errors import BadInput
from vidface.evaluation.outputs import check_outputs
from vidface.evaluation.system import CpuAccount, peak_rss_bytes
from vidface.service import Service

SAMPLE_S = 0.1
"""How often the threads' processor time is looked at."""


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
class Served:
    """One run of the service.

    Attributes:
        throughput: Frames and times.
        events: What it published.
        stages: Time by stage.
        cpu_s: Seconds of processor time by kind of thread, and `total`; see `system.CpuAccount`.
        faces_by_frame: The faces of the first camera's frames, by index, in full-frame pixels.
    """

    throughput: Throughput
    events: list[Event]
    stages: Mapping[str, StageTime]
    cpu_s: Mapping[str, float]
    faces_by_frame: Mapping[int, Faces]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """All that one bench of recordings measures.

    Attributes:
        decode: The decode-only floor of these streams.
        machine_decode: The decode-only floor of the whole machine.
        detect: The detect-only floor.
        everything: The service.
        peak_rss_bytes: The process's largest resident memory so far.
    """

    decode: Throughput
    machine_decode: Throughput
    detect: Throughput
    everything: Served
    peak_rss_bytes: int


def measure(
    config: Config, reference: Config, models: Models, *, on_step: Callable[[str], None] = lambda _step: None
) -> BenchResult:
    """Measure a configuration of recordings.

    Args:
        config: What to measure: cameras ``clip-1`` ... with recordings.
        reference: The same, with each distinct recording once: what the events are checked against.
        models: The compiled models.
        on_step: Told what is measured next.

    Raises:
        OutputsDiffer: The run's events are not the reference's.
        BadInput: A clip has no frame.
        SourceError: A clip can't be opened.
    """
    on_step("checking outputs")
    expected = serve_once(reference, models)
    on_step("decode only")
    decode = measure_decode(config)
    machine_decode = decode
    if len(config.cameras) < usable_cpus():
        on_step("decode only, on all processors")
        machine_decode = measure_decode(copies(config, usable_cpus()))
    on_step("detect only")
    detect = measure_detect(config, models)
    on_step("everything")
    measured = serve_once(config, models)
    check_outputs(expected.events, measured.events, _twins(config, reference))
    return BenchResult(
        decode=decode,
        machine_decode=machine_decode,
        detect=detect,
        everything=measured,
        peak_rss_bytes=peak_rss_bytes(),
    )


def copies(config: Config, count: int) -> Config:
    """The same recordings, played by so many cameras in turn; as many as there are if that is more."""
    cameras = config.cameras
    return config.model_copy(
        update={
            "cameras": tuple(
                cameras[place % len(cameras)].model_copy(update={"id": f"clip-{place + 1}"})
                for place in range(max(count, len(cameras)))
            )
        }
    )


def serve_once(config: Config, models: Models) -> Served:
    """Serve a configuration of recordings to their end.

    Raises:
        BadInput: There was no frame.
        SourceError: A clip can't be opened.
    """
    sink = MemorySink(name="bench")
    first = config.cameras[0].id
    faces = 0
    by_frame: dict[int, Faces] = {}
    cpu = CpuAccount()

    def observe(analysed: AnalysedFrame) -> None:
        nonlocal faces
        faces += len(analysed.faces)
        if analysed.frame.meta.camera == first:
            by_frame[analysed.frame.meta.index] = analysed.faces

    def on_state(state: CameraState) -> None:
        if state.name is CameraStateName.ENDED:
            cpu.note_here()  # the camera's own thread, just before its end

    watch = _Watch()
    with Service(config, models=models, observer=observe, on_state=on_state, extra_sinks=[sink]) as service:
        while not service.wait(SAMPLE_S):
            cpu.sample()
        cpu.sample()
    wall_s, cpu_s = watch.read()
    cpu.sample()
    for error in service.failed_cameras.values():
        raise error
    stages = service.times.snapshot()
    return Served(
        throughput=_throughput(service.counts, wall_s, cpu_s, faces=faces),
        events=sink.events,
        stages=stages,
        cpu_s=cpu.seconds(),
        faces_by_frame=by_frame,
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


@one_opencv_thread()
def measure_detect(config: Config, models: Models) -> Throughput:
    """Decode, schedule, scale and detect: the floor under recognition."""
    counts, times, faces = FrameCounts(), StageTimes(), 0
    cameras = _cameras(config)
    intake = Intake([camera.share for camera in cameras], counts, max_batch=max_batch(config))
    detection = Detection(
        models.detector, times, min_face_px=config.detector.min_face_px, changes=change_options(config.detector)
    )
    watch = _Watch()

    def put_frame(frame: Frame) -> None:
        if intake.put_frame(frame) is Taken.WAITS:
            detection.prepare(frame)

    def run_sources() -> None:
        def run(camera: Camera) -> None:
            try:
                camera.new_source(put_frame, lambda _state: None).run()
            finally:
                intake.camera_done(camera.share.camera)

        _join([threading.Thread(target=run, args=(camera,), name=f"bench {camera.share.camera}") for camera in cameras])

    feeder = threading.Thread(target=run_sources, name="bench sources")
    feeder.start()
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


def _twins(config: Config, reference: Config) -> dict[str, str]:
    """For each measured camera the reference camera with the same recording."""
    by_source = {Path(camera.source): camera.id for camera in reference.cameras}
    return {camera.id: by_source[Path(camera.source)] for camera in config.cameras}
