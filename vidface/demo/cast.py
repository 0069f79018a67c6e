"""Who plays in the demo, and how people are cut out of photos.

The photos are those of the weights manifest: pulled to the user's cache, used in place, never passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipeline.faces import F32, Faces, U8Image
from pipeline.photo import PhotoReader, load_photo
from vidface.errors import BadInput

PHOTO_SETS: Final = ("photos-presidents", "photos-group", "photos-astronaut")
"""Artifacts of the weights manifest."""

ENROLLED: Final[Mapping[str, tuple[str, ...]]] = {"Barack Obama": ("obama.jpg",), "Joe Biden": ("biden.jpg",)}
"""Whom the demo enrols, by which photos. One of them never comes: a gallery holds more people than a camera sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Somebody who appears in the clip.

    Attributes:
        name: A name of `ENROLLED`, or what a stranger is called in the ground truth.
        photo: The photo's file name; never one that somebody is enrolled by.
        place: Which of the photo's faces, counted from the left.
    """

    name: str
    photo: str
    place: int = 0

    @property
    def enrolled(self) -> bool:
        """Whether the demo's gallery knows this person."""
        return self.name in ENROLLED


KNOWN_ROLES: Final = (Role(name="Barack Obama", photo="obama2.jpg"), Role(name="Barack Obama", photo="obama3.jpg"))
STRANGER_ROLES: Final = (
    *(Role(name=f"Guest {place + 1}", photo="t1.jpg", place=place) for place in range(6)),
    Role(name="Guest 7", photo="astronaut.png"),
)

_FACE_PX: Final = 200.0
"""Height that every cut-out's face is brought to: no path shows a larger one, so that nothing is enlarged twice."""

_HALF_WIDTH, _HALF_HEIGHT, _LOWER = 0.86, 1.08, 0.12
"""The oval around a face: half axes, and how far it lies below the face's centre, in heights of the face."""

_EDGE: Final = 0.08
"""The width of the oval's soft edge, as a part of its radius."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portrait:
    """A person cut out of a photo.

    Attributes:
        bgr: ``(H, W, 3)`` float32, 0..255, multiplied by `alpha` already.
        alpha: ``(H, W, 1)`` float32, 0..1.
        box_xyxy: ``(4,)`` float32, the face's box in pixels of `bgr`.
    """

    bgr: F32
    alpha: F32
    box_xyxy: F32

    @property
    def centre_xy(self) -> F32:
        """``(2,)`` the middle of the face's box."""
        return np.asarray((self.box_xyxy[:2] + self.box_xyxy[2:]) / 2, np.float32)

    @property
    def face_wh(self) -> tuple[float, float]:
        """Width and height of the face's box, in pixels."""
        return float(self.box_xyxy[2] - self.box_xyxy[0]), float(self.box_xyxy[3] - self.box_xyxy[1])


def portraits(reader: PhotoReader, photos: Mapping[str, Path]) -> dict[Role, Portrait]:
    """Cut out everybody who plays.

    Args:
        reader: Finds the faces.
        photos: The photos of `PHOTO_SETS` by file name.

    Raises:
        PhotoRefused: A photo can't be read.
        BadInput: A photo has not the faces that it should have.
    """
    roles = (*KNOWN_ROLES, *STRANGER_ROLES)
    pictures = {name: load_photo(photos[name]) for name in sorted({role.photo for role in roles})}
    found = dict(zip(pictures, reader.detect(list(pictures.values())), strict=True))
    return {role: cut_out(pictures[role.photo], _box_of(role, found[role.photo])) for role in roles}


def _box_of(role: Role, faces: Faces) -> F32:
    if role.place >= len(faces):
        raise BadInput(f"{role.photo}: {role.place + 1} faces expected, {len(faces)} found")
    from_the_left = np.argsort(faces.boxes_xyxy[:, 0], kind="stable")
    return np.asarray(faces.boxes_xyxy[from_the_left[role.place]], np.float32)


def cut_out(photo: U8Image, box_xyxy: F32) -> Portrait:
    """Cut head and shoulders out of a photo, as an oval with a soft edge.

    Args:
        photo: ``(H, W, 3)`` uint8 BGR.
        box_xyxy: ``(4,)`` float32, the face's box in its pixels.
    """
    scale = _FACE_PX / float(box_xyxy[3] - box_xyxy[1])
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half_w, half_h = _HALF_WIDTH * _FACE_PX, _HALF_HEIGHT * _FACE_PX
    width, height = round(2 * half_w), round(2 * half_h)
    # Shrunk first and moved after: warping a large photo down at once would skip most of its pixels.
    sized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    shift = np.array([half_w, half_h - _LOWER * _FACE_PX]) - centre * scale
    to_oval = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    inside = cv2.warpAffine(sized, to_oval, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = _oval(width, height)
    return Portrait(
        bgr=np.asarray(inside * alpha, np.float32),
        alpha=alpha,
        box_xyxy=np.asarray(box_xyxy * scale + np.tile(shift, 2), np.float32),
    )


def _oval(width: int, height: int) -> F32:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = np.hypot((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1)
    ramp = np.clip((1 - radius) / _EDGE, 0, 1)
    return np.asarray((ramp * ramp * (3 - 2 * ramp))[..., None], np.float32)
