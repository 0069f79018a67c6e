"""A whole pipeline over scripted cameras, with fake models and a real gallery; and the scenes that it watches."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index.fake import NumpyIndex
from index.gallery import Gallery
from index.search import IndexFactory
from pipeline.analysis import AnalysedFrame, Analysis
from pipeline.canvas import Canvas
from pipeline.change import ChangeOptions
from pipeline.events.event import Event
from pipeline.faces import U8Image
from pipeline.fake import FakeDetector, FakeEmbedder, draw_fake_face
from pipeline.identify import IdentifyOptions
from pipeline.metrics import FrameCounts, StageTimes
from pipeline.report import Provenance, Reporter
from pipeline.runtime import Camera, EventPublisher, Runtime
from pipeline.scheduler import Policy, Share
from pipeline.sighting import SightingOptions
from pipeline.track import ByteTracker, TrackOptions
from streams.clock import SYSTEM_CLOCK, Clock
from streams.fake import FakeClock, FakeSource, Play, Step
from streams.frame import Frame
from streams.spec import Kind, SourceSpec
from streams.state import CameraState

PATIENCE_S = 30.0  # far above anything that should happen; only a broken pipeline gets here
SIZE_WH = (640, 360)
CANVAS = Canvas(width=640, height=384)
MODEL = FakeEmbedder.name
IDENTIFY = IdentifyOptions(threshold=0.6, min_shots=2, stranger_shots=3)

OnFrame = Callable[[Frame], None]
OnState = Callable[[CameraState], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Somebody who walks through the picture: a fake face of 100 pixels."""

    person: int
    x: int = 40
    y: int = 100
    speed: int = 8
    enters: int = 0
    leaves: int = 10_000


def scene(frames: int, *walks: Walk) -> list[U8Image]:
    """The pictures of a clip, ``(360, 640, 3)`` uint8 BGR."""
    pictures = []
    for index in range(frames):
        picture = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
        for walk in walks:
            if walk.enters <= index < walk.leaves:
                draw_fake_face(picture, (walk.x + walk.speed * (index - walk.enters), walk.y, 100, 100), walk.person)
        pictures.append(picture)
    return pictures


def enrol(path: Path, people: Mapping[str, int]) -> None:
    """Enrol people by name and number into the gallery of this file; from anywhere, as another process would."""
    embedder = FakeEmbedder()
    with Gallery.open(path, model=MODEL, dim=embedder.dim, index=NumpyIndex) as gallery:
        for name, person in people.items():
            gallery.enroll(
                name,
                embedder.template_of(person),
                qualities=np.ones(1, np.float32),
                sources=[name],
                duplicate_threshold=0.9,
            )


def remove(path: Path, name: str) -> None:
    with Gallery.open(path, model=MODEL, dim=FakeEmbedder.dim, index=NumpyIndex) as gallery:
        gallery.remove(name)


@dataclass
class Stage:
    """What a pipeline is built from; every part can be replaced before it is built.

    `lockstep` makes each source wait until its frame was analysed, so that no live frame is ever superseded.
    """

    folder: Path
    scripts: Mapping[str, Sequence[Step]]
    live: frozenset[str] = frozenset()
    shares: Mapping[str, Share] = field(default_factory=dict)
    detector: FakeDetector = field(default_factory=lambda: FakeDetector(CANVAS))
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    index: IndexFactory = NumpyIndex
    emit: Callable[[Sequence[Event]], object] | None = None
    publisher: EventPublisher | None = None
    next_epoch: Callable[[str], int] | None = None
    next_state_number: Callable[[str], int] | None = None
    observer: Callable[[AnalysedFrame], None] | None = None
    on_frame: Callable[[OnFrame], OnFrame] = lambda deliver: deliver
    lockstep: bool = False
    max_batch: int = 8
    min_face_px: float = 0.0
    changes: ChangeOptions | None = None
    clock: Clock = SYSTEM_CLOCK
    events: list[Event] = field(default_factory=list)
    counts: FrameCounts = field(default_factory=FrameCounts)
    times: StageTimes = field(default_factory=StageTimes)

    def __post_init__(self) -> None:
        self.delivered = {camera: threading.Semaphore(0) for camera in self.scripts}
        self.sources: dict[str, FakeSource] = {}
        self._analysed = {camera: threading.Semaphore(0) for camera in self.scripts}
        self._epochs: dict[str, Iterable[int]] = defaultdict(lambda: itertools.count(1))
        self._numbers: dict[str, Iterable[int]] = defaultdict(lambda: itertools.count(1))

    @property
    def gallery_path(self) -> Path:
        return self.folder / "gallery.db"

    def analysis(self) -> Analysis:
        """As the runtime calls it, in its analysis thread."""
        gallery = Gallery.open(self.gallery_path, model=MODEL, dim=self.embedder.dim, index=self.index)
        return Analysis(
            embedder=self.embedder,
            gallery=gallery,
            reporter=Reporter(
                provenance=Provenance(detector=self.detector.name, embedder=self.embedder.name),
                live_cameras=self.live,
                gallery_version=lambda: gallery.version,
                next_state_number=self.next_state_number or (lambda camera: next(iter(self._numbers[camera]))),
                emit=self.emit or self.events.extend,
                clock=self.clock,
            ),
            new_tracker=lambda: ByteTracker(TrackOptions()),
            sighting_options=SightingOptions(),
            identify_options=lambda _people: IDENTIFY,
            times=self.times,
            observer=self._observe,
            clock=self.clock,
        )

    def runtime(self) -> Runtime:
        return Runtime(
            cameras=[Camera(share=self._share(camera), new_source=self._source_of(camera)) for camera in self.scripts],
            detector=self.detector,
            new_analysis=self.analysis,
            publisher=self.publisher,
            counts=self.counts,
            times=self.times,
            max_batch=self.max_batch,
            max_wait_ns=1_000_000,
            min_face_px=self.min_face_px,
            changes=self.changes,
            drain_timeout_s=PATIENCE_S,
        )

    def play(self) -> list[Event]:
        """Run to the end of every recording."""
        with self.runtime() as runtime:
            assert runtime.wait(PATIENCE_S), "the pipeline did not finish"
        return self.events

    def of(self, camera: str) -> list[Event]:
        return [event for event in self.events if event.camera == camera]

    def wait_delivered(self, camera: str, frames: int) -> None:
        for _ in range(frames):
            assert self.delivered[camera].acquire(timeout=PATIENCE_S), f"{camera} delivered too little"

    def _share(self, camera: str) -> Share:
        policy = Policy.LIVE if camera in self.live else Policy.RECORDED
        return self.shares.get(camera) or Share(camera=camera, policy=policy)

    def _source_of(self, camera: str) -> Callable[[OnFrame, OnState], FakeSource]:
        kind = Kind.LIVE if camera in self.live else Kind.RECORDED

        def new_source(put_frame: OnFrame, on_state: OnState) -> FakeSource:
            deliver = self.on_frame(put_frame)

            def on_frame(frame: Frame) -> None:
                deliver(frame)
                self.delivered[camera].release()
                if self.lockstep:
                    self._analysed[camera].acquire(timeout=PATIENCE_S)

            source = self.sources[camera] = FakeSource(
                SourceSpec(camera=camera, url=f"{camera}.mp4", kind=kind),
                script=self.scripts[camera],
                next_epoch=lambda: self.next_epoch(camera) if self.next_epoch else next(iter(self._epochs[camera])),
                on_frame=on_frame,
                on_state=on_state,
                clock=FakeClock(),
            )
            return source

        return new_source

    def _observe(self, analysed: AnalysedFrame) -> None:
        if self.observer is not None:
            self.observer(analysed)
        self._analysed[analysed.frame.meta.camera].release()


def kinds(events: Iterable[Event]) -> list[str]:
    """The last word of each type, with the state of a camera's."""
    return [
        f"state {event.data['state']}" if event.type.endswith("state") else event.type.rpartition(".")[2]
        for event in events
    ]


def names(events: Iterable[Event]) -> list[str | None]:
    """Who each sighting event says it is; None for no person."""
    found: list[str | None] = []
    for event in events:
        identity = event.data.get("identity")
        found.append(str(identity["name"]) if isinstance(identity, Mapping) else None)
    return found


def clip(frames: int, *walks: Walk) -> list[Step]:
    """A script that plays a scene at 25 frames a second."""
    return [Play(pictures=scene(frames, *walks))]
