"""The plain loop that a person would write, to hold the service against: one thread, every frame, every face.

OpenCV reads the clip and scales each picture to the detector's canvas, ONNX Runtime finds the faces with its defaults,
the anchors, the suppression and the alignment are ours, OpenVINO describes every face of every frame with its defaults
(ONNX Runtime where it is not installed), and FAISS matches each against the same gallery. Nothing is tracked, chosen,
fused, decided or published. Where the service runs a quantised model, the loop runs the one that it was made from.

Its outputs are checked against the service's, so that both can be said to do the same job.
"""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from index.gallery import Gallery
from pipeline.align import align_faces
from pipeline.canvas import Canvas
from pipeline.engine import Backend, EngineOptions
from pipeline.events.event import Event
from pipeline.faces import Faces, U8Image
from pipeline.mobilefacenet import MobileFaceNet
from pipeline.nms import iou_matrix
from pipeline.retinaface import DetectorOptions, RetinaFace
from streams.picture import ArrayPicture
from vidface.assemble import identify_options
from vidface.config.model import Config
from vidface.errors import BadInput
from vidface.evaluation.candidates import is_quantised
from vidface.evaluation.outputs import OutputsDiffer
from vidface.place import GALLERY_FILE
from weights import store
from weights.manifest import Manifest, ModelSpec, Task, load_manifest

SAME_IOU = 0.5
"""A face of one run is the other's if their boxes overlap by this."""

MIN_AGREEMENT = 0.95
"""So many of either run's faces must be the other's. They scale pictures differently and compute in other precisions,
so faces near the threshold differ."""

SAMPLE_EVERY = 5
"""Faces are compared in each so-manieth frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRun:
    """One run of the loop.

    Attributes:
        frames: Frames read, and looked at.
        wall_s: Seconds.
        cpu_s: Seconds of processor time of the whole process.
        faces_by_frame: The faces of each frame, by index, in full-frame pixels.
        frames_of: In how many frames each person was matched over the threshold.
    """

    frames: int
    wall_s: float
    cpu_s: float
    faces_by_frame: Mapping[int, Faces]
    frames_of: Mapping[str, int]

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the loop and the service say the same.

    Attributes:
        frames: Frames in which faces were compared.
        loop_found: Part of the service's faces that the loop found too.
        service_found: Part of the loop's faces that the service found too.
        people: Who both found.
        loop_only: Who only the loop found. It takes frames one by one, so a stranger may be among them.
        service_only: Who only the service found.
    """

    frames: int
    loop_found: float
    service_found: float
    people: tuple[str, ...]
    loop_only: tuple[str, ...]
    service_only: tuple[str, ...]


class PlainLoop:
    """See the module's text. One thread uses it.

    Args:
        config: Its first camera's clip, its models and its gallery are used.

    Raises:
        EngineError: An engine is not installed, or can't run a model.
    """

    def __init__(self, config: Config) -> None:
        manifest = load_manifest()
        section = config.detector
        width, height = section.canvas
        backend = Backend.OPENVINO if importlib.util.find_spec("openvino") else Backend.ONNXRUNTIME
        detector = plain_model(section.model, manifest, _is_int8)
        embedder = plain_model(config.embedder.model, manifest, _is_int8)
        self._models = {"detector": detector.name, "embedder": embedder.name}
        self._clip = Path(config.cameras[0].source)
        self._min_face_px = section.min_face_px
        self._detector = RetinaFace.open(
            store.ensure(detector.name),
            detector,
            DetectorOptions(
                canvas=Canvas(width=width, height=height), score_threshold=section.threshold, nms_iou=section.nms_iou
            ),
            EngineOptions(backend=Backend.ONNXRUNTIME, device=config.engine.device),
            max_batch=1,
        )
        self._embedder = MobileFaceNet.open(store.ensure(embedder.name), embedder, EngineOptions(backend=backend))
        self._gallery_path = config.data_dir / GALLERY_FILE
        self._model = embedder.templates
        self._options_for = identify_options(config)

    @property
    def models(self) -> Mapping[str, str]:
        """The models that it runs, by what they do."""
        return self._models

    @property
    def engines(self) -> Mapping[str, str]:
        """What runs the models."""
        return {"detector": self._detector.description, "embedder": self._embedder.description}

    def run(self, max_frames: int | None = None) -> LoopRun:
        """Read the clip once.

        Args:
            max_frames: Stop after so many frames; None for all.

        Raises:
            BadInput: OpenCV reads no frame of it.
        """
        faces_by_frame: dict[int, Faces] = {}
        frames_of: Counter[str] = Counter()
        capture = cv2.VideoCapture(str(self._clip))
        try:
            with Gallery.open(self._gallery_path, model=self._model, dim=self._embedder.dim) as gallery:
                threshold = self._options_for(gallery.identity_count).threshold
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                while max_frames is None or len(faces_by_frame) < max_frames:
                    read, bgr = capture.read()
                    if not read:
                        break
                    picture = np.asarray(bgr, np.uint8)
                    faces = self._detected(picture)
                    faces_by_frame[len(faces_by_frame)] = faces
                    frames_of.update(self._matched(picture, faces, gallery, threshold))
                wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        finally:
            capture.release()
        if not faces_by_frame:
            raise BadInput(f"{self._clip}: OpenCV can't read it, so the plain loop can't be measured")
        return LoopRun(
            frames=len(faces_by_frame), wall_s=wall_s, cpu_s=cpu_s, faces_by_frame=faces_by_frame, frames_of=frames_of
        )

    def _detected(self, bgr: U8Image) -> Faces:
        detector = self._detector
        size_wh = (bgr.shape[1], bgr.shape[0])
        width, height = detector.canvas.scaled_size_wh(size_wh)
        batch = detector.canvas.blank_batch(1, detector.fill_bgr)
        batch[0, :height, :width] = cv2.resize(bgr, (width, height))
        faces = detector.canvas.to_picture(detector.detect(batch)[0], size_wh)
        return faces[faces.sizes_px >= self._min_face_px]

    def _matched(self, bgr: U8Image, faces: Faces, gallery: Gallery, threshold: float) -> set[str]:
        """Names of one frame's faces that are over the threshold."""
        if not len(faces):
            return set()
        templates = self._embedder.embed(align_faces(ArrayPicture(bgr), faces.landmarks_xy))
        matches = gallery.search(templates, 1)
        people = (matches.identity(int(row)) for row in np.flatnonzero(matches.scores[:, 0] >= threshold))
        return {person.name for person in people if person is not None}


def plain_model(name: str, manifest: Manifest, is_int8: Callable[[str], bool]) -> ModelSpec:
    """The model that a person would have run: of a quantised one its source, unless templates can't be compared then.

    Args:
        name: The service's model.
        manifest: Of all models.
        is_int8: Whether a model of a name is quantised.
    """
    spec = manifest.model(name)
    seen = {spec.name}
    while is_int8(spec.name) and (parent := manifest.models.get(spec.based_on)) is not None:
        if parent.name in seen or (spec.task is Task.EMBED and parent.templates != spec.templates):
            break
        spec = parent
        seen.add(spec.name)
    return spec


def _is_int8(name: str) -> bool:
    return is_quantised(store.ensure(name))


def agreement(loop: LoopRun, faces_by_frame: Mapping[int, Faces], events: Iterable[Event], min_shots: int) -> Agreement:
    """Compare a run of the loop with the service's on the same clip.

    Args:
        loop: The loop's run.
        faces_by_frame: The service's faces of the frames that it looked at.
        events: The service's events of that clip.
        min_shots: The loop has found whoever it matched in so many frames, or in one if the service named them.
    """
    frames = sorted(loop.faces_by_frame.keys() & faces_by_frame.keys())[::SAMPLE_EVERY]
    mine = theirs = my_found = their_found = 0
    for frame in frames:
        a, b = loop.faces_by_frame[frame], faces_by_frame[frame]
        same = iou_matrix(a.boxes_xyxy, b.boxes_xyxy) >= SAME_IOU
        mine, theirs = mine + len(a), theirs + len(b)
        my_found, their_found = my_found + int(same.any(axis=1).sum()), their_found + int(same.any(axis=0).sum())
    told = list(events)
    by_loop = {name for name, count in loop.frames_of.items() if count >= min_shots}
    by_loop |= loop.frames_of.keys() & (by_service := _identified(told, max(loop.faces_by_frame)))
    by_service |= by_loop & _identified(told, None)  # named when the loop had ended, but seen before
    return Agreement(
        frames=len(frames),
        loop_found=their_found / theirs if theirs else 1.0,
        service_found=my_found / mine if mine else 1.0,
        people=tuple(sorted(by_loop & by_service)),
        loop_only=tuple(sorted(by_loop - by_service)),
        service_only=tuple(sorted(by_service - by_loop)),
    )


def _identified(events: Iterable[Event], last_frame: int | None) -> set[str]:
    """Who was named up to a frame, or at all."""
    people = set()
    for event in events:
        data: Mapping[str, Any] = event.data
        if data.get("identity") and (last_frame is None or data["frame"]["index"] <= last_frame):
            people.add(data["identity"]["name"])
    return people


def check_agreement(found: Agreement) -> None:
    """Refuse to compare speeds of two that don't say the same.

    Raises:
        OutputsDiffer: Too few faces are both's, or the loop found nothing of somebody whom the service named.
    """
    for part, who, whose in (
        (found.loop_found, "the plain loop", "the service"),
        (found.service_found, "the service", "the plain loop"),
    ):
        if part < MIN_AGREEMENT:
            raise OutputsDiffer(
                f"{who} found {100 * part:.1f} % of the faces of {whose}, in {found.frames} frames; "
                f"below {100 * MIN_AGREEMENT:g} % their speeds are not comparable"
            )
    if found.service_only:
        raise OutputsDiffer(f"the plain loop did not find {', '.join(found.service_only)}, whom the service named")
