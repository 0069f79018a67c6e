"""A clip through the service, in a data folder of its own: what is measured is what `vidface serve` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.analysis import AnalysedFrame
from pipeline.errors import PhotoRefused
from pipeline.events.sink import Sink
from streams.state import CameraState, CameraStateName
from vidface.assemble import enrol_rule, photo_reader
from vidface.config.load import load_config
from vidface.config.model import CameraConfig, Config
from vidface.enrolment import Enroller, people_in
from vidface.errors import BadInput
from vidface.evaluation.live import as_cameras
from vidface.evaluation.scene import SceneScore, Truth
from vidface.place import Place
from vidface.service import Service, make_folder
from weights.progress import Progress


def clip_config(
    clips: Sequence[Path],
    data_dir: Path,
    *,
    base: Path | None = None,
    detect_every: int | None = None,
    detect_fps: float | None = None,
) -> Config:
    """A configuration that plays clips as recordings, each a camera ``clip-1``, ``clip-2``, ...

    Args:
        clips: The clips; one may stand there several times.
        data_dir: Where gallery and outbox are kept.
        base: A configuration file whose options are taken; its cameras and sinks are not.
        detect_every: Detect each so-manieth frame.
        detect_fps: Detect so many times a second.

    Raises:
        BadInput: A clip is not there.
        ConfigError: `base` can't be used.
    """
    for clip in clips:
        if not clip.exists():
            raise BadInput(f"{clip}: there is no such clip")
    cameras = tuple(
        CameraConfig(id=f"clip-{number}", source=str(clip), detect_every=detect_every, detect_fps=detect_fps)
        for number, clip in enumerate(clips, start=1)
    )
    if base is None:
        return Config.model_validate({"data_dir": data_dir, "cameras": cameras})
    loaded = load_config(base, unopened=("cameras", "sinks"))
    fresh = Config.model_validate({"data_dir": data_dir, "cameras": cameras})
    return loaded.model_copy(update={"data_dir": fresh.data_dir, "cameras": cameras, "sinks": fresh.sinks})


class SceneRun:
    """One clip, enrolled and played. Used by one thread.

    Args:
        clip: The clip.
        folder: An empty folder for the gallery, the outbox and the events.
        config: See `clip_config`.
        detect_every: See `clip_config`.
        detect_fps: See `clip_config`.
        live_cameras: Play it at its own pace as a live camera, beside others that make up this number: they show the
            same clip from other places on, over and over. None to play it alone, as a recording.
    """

    def __init__(
        self,
        clip: Path,
        folder: Path,
        *,
        config: Path | None = None,
        detect_every: int | None = None,
        detect_fps: float | None = None,
        live_cameras: int | None = None,
    ) -> None:
        self.config = clip_config([clip], folder, base=config, detect_every=detect_every, detect_fps=detect_fps)
        if live_cameras is not None:
            first, *others = as_cameras(self.config, live_cameras).cameras
            cameras = (first.model_copy(update={"loop": False}), *others)
            self.config = self.config.model_copy(update={"cameras": cameras})

    def enrol(self, photos: Path, progress: Progress | None = None) -> list[PhotoRefused]:
        """Enrol everyone in a folder of photos; what was refused."""
        return enrol_folder(self.config, photos, progress)

    def play(
        self, observer: Callable[[AnalysedFrame], None] | None = None, extra_sinks: Sequence[Sink] = ()
    ) -> Service:
        """Play the clip to its end; the service, for its counts and times.

        Raises:
            SourceError: The clip can't be opened.
        """

        def end_with_the_first(state: CameraState) -> None:
            if state.camera == self.config.cameras[0].id and state.name is CameraStateName.ENDED:
                service.stop()

        service = Service(self.config, observer=observer, extra_sinks=extra_sinks, on_state=end_with_the_first)
        with service:
            service.wait()
        for error in service.failed_cameras.values():
            raise error
        return service

    def score(self, truth: Truth) -> dict[str, Any]:
        """Play the clip and score it; of several cameras the first, which shows the clip from its beginning."""
        score = SceneScore(truth)
        scored = self.config.cameras[0].id

        def observe(analysed: AnalysedFrame) -> None:
            if analysed.frame.meta.camera == scored:
                score.observe(analysed)

        self.play(observe)
        return score.result()


def enrol_folder(config: Config, photos: Path, progress: Progress | None = None) -> list[PhotoRefused]:
    """Enrol everyone in a folder of photos into a configuration's gallery; what was refused."""
    make_folder(config.data_dir)
    reader = photo_reader(config, progress)
    refused: list[PhotoRefused] = []
    with Place(data_dir=config.data_dir, config=config).open_gallery() as gallery:
        enroller = Enroller(
            gallery, reader, enrol_rule(config.enrol), duplicate_threshold=config.enrol.duplicate_threshold
        )
        for name, paths in people_in(photos).items():
            refused += enroller.enroll(name, paths).refused
    return refused
