"""The pipeline's models on single photos: for enrolment, for `vidface detect` and for evaluation.

The same canvas, alignment and embedder as on video, so that a photo's template and a track's can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.align import align_faces, inside_fractions, stack_aligned
from pipeline.errors import PhotoRefused
from pipeline.faces import F32, Faces, U8Image
from pipeline.mobilefacenet import Embedder
from pipeline.quality import full_quality, geometric_quality, geometry, sharpness
from pipeline.retinaface import Detector
from streams.picture import ArrayPicture

PHOTO_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""File names that are taken for photos in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DescribedFaces:
    """Faces of one photo with what recognition needs of them; every column in the faces' row order.

    Attributes:
        faces: N faces in photo pixels.
        templates: ``(N, D)`` float32 unit rows.
        qualities: ``(N,)`` float32 in 0..1.
        sharpness: ``(N,)`` float32, see `quality.sharpness`.
        yaw_deg: ``(N,)`` float32.
        photo_size_wh: The photo's width and height in pixels.
    """

    faces: Faces
    templates: F32
    qualities: F32
    sharpness: F32
    yaw_deg: F32
    photo_size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolRule:
    """What a photo must be like to stand for a person.

    Attributes:
        min_face_px: Least shorter side of the face's box.
        min_sharpness: Least Laplacian variance of the aligned face.
        min_quality: Least quality.
        max_yaw_deg: Largest turn to either side.
        dominance: The most prominent of several faces must be so many times as prominent as the next, see
            `prominence`, and also larger than each other one.
    """

    min_face_px: float = 60.0
    min_sharpness: float = 12.0
    min_quality: float = 0.3
    max_yaw_deg: float = 35.0
    dominance: float = 2.0


WHOLE_FACE = 0.9
"""The part of the aligned face that must lie inside a photo: photos of half a face have three quarters and less."""

LARGER = 1.4
"""Whom a photo is of is not only nearer to its middle but also larger: in a row of equals nobody dominates."""


def box_areas(faces: Faces) -> F32:
    """``(N,)`` float32: each box's area in square pixels."""
    sides = faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def prominence(faces: Faces, size_wh: tuple[int, int]) -> F32:
    """``(N,)`` float32: each face's area, lessened with its distance from the photo's middle; 0 in a corner."""
    middle = np.array(size_wh, np.float32) / 2
    away = np.linalg.norm((faces.boxes_xyxy[:, :2] + faces.boxes_xyxy[:, 2:]) / 2 - middle, axis=1)
    return np.asarray(box_areas(faces) * np.clip(1 - away / np.linalg.norm(middle), 0, 1), np.float32)


class PhotoReader:
    """Finds and describes the faces of photos. One thread uses it."""

    def __init__(self, detector: Detector, embedder: Embedder) -> None:
        self._detector = detector
        self._embedder = embedder

    @property
    def description(self) -> str:
        """The models and the engines that run them."""
        return ", ".join(f"{model.name} on {model.description}" for model in (self._detector, self._embedder))

    def detect(self, photos: Sequence[U8Image]) -> list[Faces]:
        """The faces of each ``(H, W, 3)`` BGR photo, in its own pixels, as one batch."""
        if not photos:
            return []
        canvas = self._detector.canvas
        sizes = [(photo.shape[1], photo.shape[0]) for photo in photos]
        scaled = [
            ArrayPicture(photo).scaled_bgr(canvas.scaled_size_wh(size))
            for photo, size in zip(photos, sizes, strict=True)
        ]
        found = self._detector.detect(canvas.letterbox(scaled, self._detector.fill_bgr))
        return [canvas.to_picture(faces, size) for faces, size in zip(found, sizes, strict=True)]

    def describe(self, photos: Sequence[U8Image], faces: Sequence[Faces]) -> list[DescribedFaces]:
        """Align and embed the faces that `detect` found, or some of them; all photos' faces as one batch."""
        parts = [
            align_faces(ArrayPicture(photo), found.landmarks_xy) for photo, found in zip(photos, faces, strict=True)
        ]
        aligned = stack_aligned(parts)
        templates, sharp = self._embedder.embed(aligned), sharpness(aligned)
        described, start = [], 0
        for photo, found in zip(photos, faces, strict=True):
            rows = slice(start, start + len(found))
            start += len(found)
            size = (photo.shape[1], photo.shape[0])
            geometric = geometric_quality(found, size)
            described.append(
                DescribedFaces(
                    faces=found,
                    templates=templates[rows],
                    qualities=full_quality(geometric, sharp[rows]),
                    sharpness=sharp[rows],
                    yaw_deg=geometry(found).yaw_deg,
                    photo_size_wh=size,
                )
            )
        return described

    def read(self, photo: U8Image) -> DescribedFaces:
        """Detect and describe the faces of one photo."""
        return self.describe([photo], self.detect([photo]))[0]


def load_photo(path: Path) -> U8Image:
    """Read and decode a photo file; see `photo_bytes` and `decode_photo`."""
    return decode_photo(path, photo_bytes(path))


def photo_bytes(path: Path) -> bytes:
    """A photo file's bytes.

    Raises:
        PhotoRefused: With the code ``unreadable``, when it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoRefused("unreadable", str(path), f"it can't be read ({error.strerror or error})") from error


def decode_photo(path: Path, content: bytes) -> U8Image:
    """Decode a photo, turned upright as its EXIF data says.

    Args:
        path: Its name, for messages.
        content: Its bytes.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        PhotoRefused: With the code ``unreadable``, when it is no picture, or is damaged.
    """
    data = np.frombuffer(content, np.uint8)
    try:
        photo = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # more pixels than OpenCV's own limit
        raise PhotoRefused("unreadable", str(path), f"it can't be decoded ({error.err or error})") from error
    if photo is None:
        raise PhotoRefused("unreadable", str(path), "it is not a picture, or is damaged; give a JPEG, PNG or WebP file")
    return np.asarray(photo, np.uint8)


def choose_face(name: str, described: DescribedFaces, rule: EnrolRule) -> int:
    """The row of the one face that a photo can be enrolled by.

    Args:
        name: The photo's name, for the message.
        described: Its faces.
        rule: What is asked of it.

    Raises:
        PhotoRefused: With the code ``no_face``, ``several_faces``, ``too_small``, ``turned_away``, ``blurred``,
            ``cut_off`` or ``poor_quality``, and a reason that gives the number that was measured.
    """
    faces = described.faces
    if not len(faces):
        raise PhotoRefused("no_face", name, "no face was found; use a photo that shows the face from the front")
    prominent, areas = prominence(faces, described.photo_size_wh), box_areas(faces)
    row = int(np.argmax(prominent))
    others = np.arange(len(faces)) != row
    if np.any(prominent[others] * rule.dominance > prominent[row]) or np.any(areas[others] * LARGER > areas[row]):
        raise PhotoRefused(
            "several_faces", name, f"{len(faces)} faces were found and none clearly dominates; crop it to one person"
        )
    size, yaw = float(faces.sizes_px[row]), float(described.yaw_deg[row])
    sharp, quality = float(described.sharpness[row]), float(described.qualities[row])
    if size < rule.min_face_px:
        raise PhotoRefused(
            "too_small",
            name,
            f"the face is {size:.0f} pixels wide; at least {rule.min_face_px:.0f} are needed: give a larger photo",
        )
    if abs(yaw) > rule.max_yaw_deg:
        raise PhotoRefused(
            "turned_away",
            name,
            f"the face is turned {abs(yaw):.1f} degrees to the side; at most {rule.max_yaw_deg:.0f} will do: "
            "give a photo from the front",
        )
    if sharp < rule.min_sharpness:
        raise PhotoRefused(
            "blurred",
            name,
            f"the face is too blurred (sharpness {sharp:.0f}; at least {rule.min_sharpness:.0f}): give a sharper photo",
        )
    inside = float(inside_fractions(faces.landmarks_xy[row : row + 1], described.photo_size_wh)[0])
    if inside < WHOLE_FACE:
        raise PhotoRefused(
            "cut_off", name, f"only {inside:.0%} of the face is in the photo; use one that shows the whole face"
        )
    if quality < rule.min_quality:
        raise PhotoRefused(
            "poor_quality",
            name,
            f"the face's quality is {quality:.2f}; at least {rule.min_quality:.2f} is needed: "
            "give a larger and sharper photo from the front",
        )
    return row
