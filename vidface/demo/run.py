"""The demo from end to end, in a folder of its own: pull, render, enrol, serve, draw, check.

Nothing here is made for the demo where the product has it: the weights come through the store, people are enrolled
as `vidface enroll` does it, and the clip is served as `vidface serve` does it, from the configuration in the folder.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.analysis import AnalysedFrame
from pipeline.events.tail import tail
from pipeline.faces import F32
from pipeline.photo import PhotoReader
from vidface.assemble import enrol_rule, photo_reader
from vidface.config.load import load_config
from vidface.config.model import Config
from vidface.demo.cast import ENROLLED, PHOTO_SETS, portraits
from vidface.demo.check import Followed, Seen, problems, sightings
from vidface.demo.scene import FPS, SIZE_WH, Scene
from vidface.draw import decision_mark, draw_faces
from vidface.enrolment import Enroller
from vidface.errors import BadInput
from vidface.place import Place
from vidface.service import Service
from vidface.video import VideoWriter
from weights import store
from weights.progress import Progress

SEED: Final = 7
DEFAULT_SECONDS: Final = 14.0

_MARKER: Final = ".vidface-demo"
"""Its presence says that what is in the folder under our names was made by a demo, and may be replaced by one."""

_STATE: Final = "state"
_CONFIG: Final = "cameras.yaml"
_CLIP, _TRUTH, _EVENTS, _ANNOTATED = "scene.mp4", "scene.json", "events.jsonl", "annotated.mp4"

_CONFIG_TEXT: Final = f"""\
# Made by 'vidface demo'. The same once more by hand: vidface serve --config {_CONFIG}
data_dir: ./{_STATE}
cameras:
  - {{id: hall, source: {_CLIP}}}
sinks:
  - {{type: jsonl, path: {_EVENTS}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What came of it.

    Attributes:
        folder: Everything below is in it.
        config: The configuration that was served.
        clip: The rendered video.
        truth_path: Its ground truth.
        events: The published events, one a line.
        annotated: The video with boxes and names.
        enrolled: Who is in the gallery.
        seen: The sightings, by the time they began.
        problems: What is wrong with them, in words; empty if all is well.
        frames: Of the clip.
        served_s: How long serving took.
    """

    folder: Path
    config: Path
    clip: Path
    truth_path: Path
    events: Path
    annotated: Path
    enrolled: tuple[str, ...]
    seen: tuple[Seen, ...]
    problems: tuple[str, ...]
    frames: int
    served_s: float


def run_demo(
    folder: Path,
    *,
    seconds: float = DEFAULT_SECONDS,
    seed: int = SEED,
    progress: Progress,
    tell: Callable[[str], None],
) -> DemoResult:
    """Run the demo. Blocks for about twice the clip's length.

    Args:
        folder: Made if need be; what an earlier demo left in it is replaced.
        seconds: The clip's length.
        seed: Of the clip.
        progress: Told about transfers, and about frames as they are rendered and served.
        tell: Told what begins, one line each.

    Raises:
        BadInput: The folder holds files of these names that no demo made, or can't be made.
        WeightsError: Models or photos can't be had.
        PhotoRefused: A photo could not be used.
        SourceError: The clip could not be played.
    """
    claim(folder)
    config_path = folder / _CONFIG
    config_path.write_text(_CONFIG_TEXT, encoding="utf-8")
    config = load_config(config_path)

    tell("fetching models and photos, unless they are here already")
    photos = _photos(progress)
    reader = photo_reader(config, progress)

    tell(f"rendering {seconds:.0f} s of people crossing a hall")
    scene = Scene(portraits(reader, photos), seconds=seconds, seed=seed)
    truth = scene.truth()
    (folder / _TRUTH).write_text(json.dumps(truth), encoding="utf-8")
    progress.start("rendering", scene.frame_count)
    scene.render(folder / _CLIP, on_frame=lambda: progress.advance(1))
    progress.finish()

    tell(f"enrolling {' and '.join(ENROLLED)}, each from one photo that is not in the clip")
    _enrol(config, reader, photos)

    tell("serving the clip")
    started = time.monotonic()
    followed = _serve(config, folder / _ANNOTATED, scene.frame_count, progress)
    served_s = time.monotonic() - started

    seen = sightings(list(tail(folder / _EVENTS)), truth, followed)
    return DemoResult(
        folder=folder,
        config=config_path,
        clip=folder / _CLIP,
        truth_path=folder / _TRUTH,
        events=folder / _EVENTS,
        annotated=folder / _ANNOTATED,
        enrolled=tuple(ENROLLED),
        seen=seen,
        problems=problems(seen, truth),
        frames=scene.frame_count,
        served_s=served_s,
    )


def claim(folder: Path) -> None:
    """Make the demo's folder, or clear what an earlier demo left in it.

    Raises:
        BadInput: It holds something under our names that is not ours, such as somebody's gallery; or it can't be made.
    """
    ours = [folder / name for name in (_STATE, _CONFIG, _CLIP, _TRUTH, _EVENTS, _ANNOTATED)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / _MARKER
        if not marker.exists():
            taken = [path.name for path in ours if path.exists() or path.is_symlink()]
            if taken:
                raise BadInput(
                    f"{folder} holds {', '.join(taken)}, which no demo made; name another folder by --output-dir"
                )
            marker.touch()
        for path in ours:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"the folder {folder} can't be used: {error.strerror or error}") from error


def _photos(progress: Progress) -> Mapping[str, Path]:
    return {
        name: path
        for photo_set in PHOTO_SETS
        for name, path in store.ensure_artifact(photo_set, progress=progress).items()
    }


def _enrol(config: Config, reader: PhotoReader, photos: Mapping[str, Path]) -> None:
    with Place(data_dir=config.data_dir, config=config).open_gallery() as gallery:
        enroller = Enroller(
            gallery, reader, enrol_rule(config.enrol), duplicate_threshold=config.enrol.duplicate_threshold
        )
        for name, files in ENROLLED.items():
            outcome = enroller.enroll(name, [photos[file] for file in files])
            if outcome.refused:
                raise outcome.refused[0]


def _serve(config: Config, annotated: Path, frames: int, progress: Progress) -> Followed:
    """Serve the clip, and draw what was decided while it goes by; where each face was."""
    followed: dict[int, dict[int, F32]] = {}
    with VideoWriter(annotated, size_wh=SIZE_WH, fps=FPS) as writer:

        def draw(analysed: AnalysedFrame) -> None:
            marks = [decision_mark(decision) for decision in analysed.decisions]
            writer.write(draw_faces(analysed.frame.picture.bgr(), analysed.faces, marks))
            for number, box in zip(analysed.numbers, analysed.faces.boxes_xyxy, strict=True):
                followed.setdefault(int(number), {})[analysed.frame.meta.index] = box
            progress.advance(1)

        with Service(config, observer=draw, progress=progress) as service:
            progress.start("serving", frames)
            try:
                service.wait()
            finally:
                progress.finish()
        for error in service.failed_cameras.values():
            raise error
    return followed
