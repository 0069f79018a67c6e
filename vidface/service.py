"""The service: a configuration's cameras running, from pictures to acknowledged events. What `vidface serve` runs.

Everything is opened before the first frame is read, so that what can't work says so at once: weights, engines, the
gallery, the outbox, the sinks' files. The outbox is closed last, after every thread has ended.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from index.gallery import Gallery
from pipeline.analysis import AnalysedFrame
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_writer import OutboxWriter, StoredDelivery
from pipeline.events.publisher import Publisher, SinkStatistics
from pipeline.events.sink import Sink
from pipeline.metrics import Ages, EventCounts, FrameCounts, StageTimes
from pipeline.runtime import Runtime
from streams.errors import SourceError
from streams.spec import Kind
from streams.state import CameraState
from vidface.assemble import (
    Models,
    change_options,
    max_batch,
    new_analysis,
    new_sink,
    open_models,
    runtime_camera,
    source_spec,
)
from vidface.config.model import SOURCE_FIELDS, Config
from vidface.config.secrets import mask_text
from vidface.errors import BadInput
from vidface.place import GALLERY_FILE, OUTBOX_FILE
from vidface.status import CameraStatus, Phase, ServiceStatus
from vidface.version import installed_version
from weights.progress import Progress


class Service:
    """Runs a configuration; a context manager.

    Args:
        config: What to run.
        models: The compiled models, where the caller has them already.
        observer: Told of each analysed frame, in the analysis thread; for drawing and scoring.
        extra_sinks: Sinks beside the configured ones.
        on_state: Told of each camera's change of state, in the camera's thread; must not block.
        progress: Told about weights that are pulled.
        drain_timeout_s: How long sinks may take at the end to deliver what is left.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models | None = None,
        observer: Callable[[AnalysedFrame], None] | None = None,
        extra_sinks: Sequence[Sink] = (),
        on_state: Callable[[CameraState], None] | None = None,
        progress: Progress | None = None,
        drain_timeout_s: float = 10.0,
    ) -> None:
        self._config = config
        self._models = models
        self._observer = observer
        self._extra_sinks = tuple(extra_sinks)
        self._on_state = on_state
        self._progress = progress
        self._drain_timeout_s = drain_timeout_s
        self._stack = ExitStack()
        self._runtime: Runtime
        self._publisher: Publisher
        # Seen by threads that ask for the status: set last, when both of the above run.
        self._running: Runtime | None = None
        self._made_ns = time.monotonic_ns()
        self.counts = FrameCounts()
        self.events = EventCounts()
        self.times = StageTimes()
        self.ages = Ages()

    def __enter__(self) -> Self:
        config = self._config
        require_recordings(config)
        with ExitStack() as stack:
            models = self._models or open_models(
                config.detector,
                config.embedder,
                config.engine,
                max_batch=max_batch(config),
                progress=self._progress,
            )
            gallery_path = config.data_dir / GALLERY_FILE
            make_folder(config.data_dir)
            # Opened and closed once here: what is wrong with it should be said before cameras are connected.
            Gallery.open(gallery_path, model=models.templates, dim=models.embedder.dim).close()
            # The outbox first: that another process serves this folder should be said before it shows in a sink's file.
            names = [sink.name for sink in (*config.sinks, *self._extra_sinks)]
            outbox = stack.enter_context(
                Outbox.open(config.data_dir / OUTBOX_FILE, names, config.outbox.options(config.site))
            )
            sinks = [*(new_sink(sink) for sink in config.sinks), *self._extra_sinks]
            self._publisher = Publisher(
                outbox,
                sinks,
                backoffs={sink.name: sink.retry.backoff() for sink in config.sinks},
                on_failure=lambda failure: self._runtime.fail("publisher", failure),
            )

            writer = OutboxWriter(
                outbox,
                on_stored=lambda events: self.events.count(event.type for event in events),
                on_failure=lambda failure: self._runtime.fail("outbox", failure),
            )

            def emit(events: Sequence[Event]) -> None:
                with self.times.measure("outbox", len(events)):
                    writer.put(events)

            self._runtime = Runtime(
                cameras=[
                    runtime_camera(camera, config.scheduler.deadline_ms, outbox.next_epoch) for camera in config.cameras
                ],
                detector=models.detector,
                new_analysis=lambda: new_analysis(
                    config,
                    models,
                    gallery_path=gallery_path,
                    emit=emit,
                    next_state_number=outbox.next_state_number,
                    times=self.times,
                    observer=self._observer,
                    ages=self.ages,
                ),
                publisher=StoredDelivery(writer, self._publisher),
                on_state=self._on_state,
                counts=self.counts,
                times=self.times,
                max_batch=max_batch(config),
                max_wait_ns=round(config.scheduler.max_wait_ms * 1e6),
                min_face_px=config.detector.min_face_px,
                changes=change_options(config.detector),
                drain_timeout_s=self._drain_timeout_s,
            )
            stack.enter_context(rare_collections())
            stack.enter_context(self._runtime)
            self._running = self._runtime
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until every recording has ended, or the service was stopped; see `Runtime.wait`."""
        return self._runtime.wait(timeout_s)

    @property
    def drain_timeout_s(self) -> float:
        """How long sinks may take at the end to deliver what is left."""
        return self._drain_timeout_s

    def stop(self) -> None:
        """Ask everything to end in order. Returns at once; `wait` and leaving the context do the rest."""
        self._runtime.stop()

    @property
    def failed_cameras(self) -> Mapping[str, SourceError]:
        """Recordings that could not be opened, by camera."""
        return self._runtime.failed_cameras

    @property
    def last_states(self) -> Mapping[str, CameraState]:
        """Each camera's latest state, of those that have begun; after the end it says why it ended."""
        return self._runtime.last_states

    def sinks(self) -> tuple[SinkStatistics, ...]:
        """What each sink has delivered, and what it has not; also after the end."""
        return self._publisher.statistics()

    def status(self) -> ServiceStatus:
        """How it is now. Any thread, at any time: also before it is entered and after it was left."""
        runtime = self._running
        failure = runtime.failure if runtime else None
        if failure is not None:
            phase = Phase.FAILED
        elif runtime is None:
            phase = Phase.STARTING
        else:
            phase = Phase.ENDING if runtime.ending else Phase.RUNNING
        now_ns = time.monotonic_ns()
        return ServiceStatus(
            version=installed_version(),
            phase=phase,
            failure=mask_text(str(failure)) if failure else None,
            taken_ns=now_ns,
            uptime_s=(now_ns - self._made_ns) / 1e9,
            cameras=self._camera_statuses(runtime) if runtime else (),
            stages=self.times.snapshot(),
            sinks=self._publisher.statistics() if runtime else (),
            events=self.events.snapshot(),
        )

    def _camera_statuses(self, runtime: Runtime) -> tuple[CameraStatus, ...]:
        frames, ages = self.counts.snapshot(), self.ages.snapshot()
        states, sources, loads = runtime.last_states, runtime.source_statistics(), runtime.loads
        statuses = []
        for camera in self._config.cameras:
            state = states.get(camera.id)
            statuses.append(
                CameraStatus(
                    camera=camera.id,
                    state=state.name if state else None,
                    cause=state.cause if state else None,
                    since_unix_ns=state.at_ns if state else None,
                    live=source_spec(camera).pace is Kind.LIVE,
                    wanted_fps=camera.detect_fps,
                    frames=frames.get(camera.id, {}),
                    source=sources[camera.id],
                    ages=ages.get(camera.id),
                    load=loads.get(camera.id),
                )
            )
        return tuple(statuses)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles of garbage less often while this lasts, and never again among what is there already.

    Frames and faces are freed without it; without this a recording ran at about 119 frames a second, with it at 124.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def require_recordings(config: Config) -> None:
    """Say at once which recorded files are not there, rather than when their turn comes.

    Raises:
        BadInput: A camera's source or detect_source is a path that does not exist.
    """
    for camera in config.cameras:
        for field in SOURCE_FIELDS:
            source = getattr(camera, field)
            if source is None:
                continue
            path = Path(source)
            if path.is_absolute() and not source.startswith("/dev/") and not path.exists():
                raise BadInput(
                    f"camera {camera.id!r}: there is no file or folder {path}; correct {field!r} in the configuration"
                )


def make_folder(folder: Path) -> None:
    """Make a data folder, readable by its owner alone: it will hold biometric data.

    Raises:
        BadInput: It can't be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"the data folder {folder} can't be made: {error.strerror or error}; "
            "name a folder that can, by data_dir in the configuration or by --data-dir"
        ) from error
