"""What models are compared on: the same pictures and faces for all of them.

Pictures are scaled to the detector's canvas once, and faces are found and aligned once, by the default detector in
float32; so no model is helped or hurt by another's work, and neither is in the time of any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from pipeline.align import align_faces, stack_aligned
from pipeline.canvas import Canvas
from pipeline.engine import Device, EngineOptions, Precision
from pipeline.errors import PhotoRefused
from pipeline.faces import Faces, U8Image
from pipeline.photo import PHOTO_SUFFIXES, load_photo
from pipeline.retinaface import DetectorOptions, RetinaFace
from streams.picture import ArrayPicture
from vidface.errors import BadInput
from vidface.evaluation.face_labels import LabelledPicture, read_labels
from vidface.evaluation.lfw import Pair, central_face, read_pairs
from weights import store
from weights.manifest import DEFAULT_DETECTOR, load_manifest

FEWEST_FACES: Final = 4
"""Templates of fewer faces than this say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """What detectors see, and what is known of it.

    Attributes:
        batch: ``(N, height, width, 3)`` uint8 BGR canvases.
        sizes_wh: Each picture's own width and height in pixels.
        labels: The true faces of each in its own pixels; None where nobody knows.
        source: Where the pictures are from, for people.
    """

    batch: U8Image
    sizes_wh: tuple[tuple[int, int], ...]
    labels: tuple[LabelledPicture, ...] | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedFaces:
    """What embedders see, and what is known of it.

    Attributes:
        aligned_bgr: ``(N, 112, 112, 3)`` uint8 BGR.
        paths: Of each, the photo of LFW that it is the face of; empty where there are no pairs.
        folds: LFW's pairs; empty likewise.
        photos: How many photos the pairs are of.
    """

    aligned_bgr: U8Image
    paths: tuple[Path, ...] = ()
    folds: tuple[tuple[Pair, ...], ...] = ()
    photos: int = 0


def default_pictures() -> list[Path]:
    """The photo sets that are in the cache.

    Raises:
        BadInput: None is.
    """
    ready = [line.name for line in store.status() if line.kind == "photos" and line.state is store.State.READY]
    paths = [path for name in ready for path in store.ensure_artifact(name).values()]
    if not paths:
        raise BadInput("no pictures to compare on: give --data FOLDER or --data CLIP")
    return sorted(paths)


def read_pictures(
    data: Path | None, labels: Path | None, canvas: Canvas, fill_bgr: tuple[int, int, int], limit: int
) -> tuple[Pictures, list[U8Image]]:
    """The pictures as canvases, and as they are.

    Args:
        data: A folder of pictures, or a clip; None for the photo sets of the cache.
        labels: Of a folder, see `read_labels`; of a clip, ground truth as for `scene.read_truth`.
        canvas: The detectors' canvas.
        fill_bgr: The colour beside the pictures.
        limit: At most so many pictures, spread over all.

    Raises:
        BadInput: There are none, or the labels are not theirs.
    """
    if data is not None and data.is_file():
        photos, known = _frames(data, labels, limit)
    else:
        photos, known = _photos(data, labels, limit)
    sizes = tuple((photo.shape[1], photo.shape[0]) for photo in photos)
    scaled = [
        ArrayPicture(photo).scaled_bgr(canvas.scaled_size_wh(size)) for photo, size in zip(photos, sizes, strict=True)
    ]
    source = "the photo sets in the cache" if data is None else str(data)
    pictures = Pictures(batch=canvas.letterbox(scaled, fill_bgr), sizes_wh=sizes, labels=known, source=source)
    return pictures, photos


def spread(count: int, wanted: int) -> list[int]:
    """So many of ``range(count)`` at even distances; all where there are no more."""
    return [int(place * count / wanted) for place in range(wanted)] if wanted < count else list(range(count))


def _photos(
    data: Path | None, labels: Path | None, limit: int
) -> tuple[list[U8Image], tuple[LabelledPicture, ...] | None]:
    if labels is not None:
        if data is None:
            raise BadInput("--labels needs the pictures that they are of: give --data FOLDER")
        known = read_labels(labels, data)
        known = tuple(known[row] for row in spread(len(known), limit))
        return [_loaded(picture.path) for picture in known], known
    if data is None:
        paths = default_pictures()
    elif data.is_dir():
        paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    else:
        raise BadInput(f"{data}: there is no such folder or clip")
    if not paths:
        raise BadInput(f"{data}: there are no pictures in this folder")
    return [_loaded(paths[row]) for row in spread(len(paths), limit)], None


def _loaded(path: Path) -> U8Image:
    try:
        return load_photo(path)
    except PhotoRefused as error:
        raise BadInput(f"{path}: {error.reason}") from error


def _frames(clip: Path, labels: Path | None, limit: int) -> tuple[list[U8Image], tuple[LabelledPicture, ...] | None]:
    """Frames of a clip, where there are labels those that have some."""
    capture = cv2.VideoCapture(str(clip))
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        boxes = _clip_boxes(labels) if labels is not None else None
        rows = sorted(boxes) if boxes is not None else list(range(count))
        wanted = {rows[row] for row in spread(len(rows), limit)}
        photos, chosen = [], []
        for index in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                break
            if index in wanted:
                _, bgr = capture.retrieve()
                photos.append(np.asarray(bgr, np.uint8))
                chosen.append(index)
    finally:
        capture.release()
    if not photos:
        raise BadInput(f"{clip}: no frame of this can be read; give a folder of pictures or a video")
    if boxes is None:
        return photos, None
    return photos, tuple(_frame_labels(clip, index, boxes[index]) for index in chosen)


def _clip_boxes(labels: Path) -> Mapping[int, list[tuple[float, float, float, float]]]:
    from vidface.evaluation.scene import read_truth

    boxes: dict[int, list[tuple[float, float, float, float]]] = {}
    for person in read_truth(labels).people:
        for index, box in person.boxes.items():
            boxes.setdefault(index, []).append(box)
    if not boxes:
        raise BadInput(f"{labels}: no box in it")
    return boxes


def _frame_labels(clip: Path, index: int, boxes: Sequence[tuple[float, float, float, float]]) -> LabelledPicture:
    return LabelledPicture(
        name=f"{clip.name}#{index}",
        path=clip,
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        ignored=np.zeros(len(boxes), bool),
        landmarks_xy=np.full((len(boxes), 5, 2), np.nan, np.float32),
    )


def find_pairs(data: Path | None) -> tuple[Path, Path] | None:
    """LFW's pairs file and its folder of photos, where the data is that or has it in it."""
    if data is None or not data.is_dir():
        return None
    for folder, images in (
        (data, data),
        (data, data / "images"),
        (data / "lfw", data / "lfw" / "images"),
        (data.parent, data),
    ):
        pairs = folder / "pairs.txt"
        if pairs.is_file() and images.is_dir() and any(images.glob("*/*_0001.jpg")):
            return pairs, images
    return None


def aligner(canvas: Canvas, threads: int) -> RetinaFace:
    """The detector that finds and aligns the faces for every embedder."""
    return RetinaFace.open(
        store.ensure(DEFAULT_DETECTOR),
        load_manifest().model(DEFAULT_DETECTOR),
        DetectorOptions(canvas=canvas),
        EngineOptions(device=Device.CPU, precision=Precision.F32, threads=threads),
    )


def faces_of(photos: Sequence[U8Image], detector: RetinaFace) -> AlignedFaces:
    """Every face of the photos.

    Raises:
        BadInput: There are hardly any.
    """
    found = [_detected(photo, detector) for photo in photos]
    parts = [align_faces(ArrayPicture(photo), faces.landmarks_xy) for photo, faces in zip(photos, found, strict=True)]
    aligned = stack_aligned(parts)
    if len(aligned) < FEWEST_FACES:
        raise BadInput(f"{len(aligned)} faces in {len(photos)} pictures are too few to compare embedders on")
    return AlignedFaces(aligned_bgr=aligned)


def faces_of_pairs(
    pairs: Path, images: Path, detector: RetinaFace, on_photo: Callable[[int, int], None]
) -> AlignedFaces:
    """The faces of LFW's subjects, for its verification protocol; `on_photo` is told (done, of how many)."""
    folds = read_pairs(pairs, images)
    paths = sorted({path for fold in folds for pair in fold for path in (pair.first, pair.second)})
    parts, kept = [], []
    for place, path in enumerate(paths):
        subject = aligned_subject(_loaded(path), detector)
        if len(subject):
            parts.append(subject)
            kept.append(path)
        on_photo(place + 1, len(paths))
    if len(kept) < FEWEST_FACES:
        raise BadInput(f"{pairs}: {len(kept)} of its photos show a face, which is too few to compare embedders on")
    return AlignedFaces(
        aligned_bgr=stack_aligned(parts),
        paths=tuple(kept),
        folds=tuple(map(tuple, folds)),
        photos=len(paths),
    )


def aligned_subject(photo: U8Image, detector: RetinaFace) -> U8Image:
    """The face nearest to a photo's middle, aligned: ``(1, 112, 112, 3)`` uint8 BGR, or ``(0, ...)`` without a face."""
    faces = _detected(photo, detector)
    rows = [central_face(faces, (photo.shape[1], photo.shape[0]))] if len(faces) else []
    return align_faces(ArrayPicture(photo), faces.landmarks_xy[rows])


def _detected(photo: U8Image, detector: RetinaFace) -> Faces:
    canvas, size = detector.canvas, (photo.shape[1], photo.shape[0])
    scaled = ArrayPicture(photo).scaled_bgr(canvas.scaled_size_wh(size))
    (faces,) = detector.detect(canvas.letterbox([scaled], detector.fill_bgr))
    return canvas.to_picture(faces, size)


def described(data: Pictures | None, faces: AlignedFaces | None) -> dict[str, Any]:
    """What the models were compared on, for the document."""
    value: dict[str, Any] = {}
    if data is not None:
        value |= {"source": data.source, "pictures": len(data.batch), "labelled": data.labels is not None}
        if data.labels is not None:
            value["labelled_faces"] = sum(picture.counted for picture in data.labels)
    if faces is not None:
        value |= {"faces": len(faces.aligned_bgr), "lfw_pairs": sum(map(len, faces.folds))}
    return value
