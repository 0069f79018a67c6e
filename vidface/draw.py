"""Faces drawn on a picture: boxes, landmarks and labels, for people who want to see what was found.

Everything is scaled to the picture, so that a stamp and a poster show the same. Labels stand on a plate of the box's
colour, above the face, below it where there is no room above, and always inside the picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np

from pipeline.errors import ShapeError
from pipeline.events.payload import Answer
from pipeline.faces import F32, Faces, U8Image
from pipeline.identify import Decision

Bgr: TypeAlias = tuple[int, int, int]

FOUND: Final[Bgr] = (235, 150, 40)
"""A face of which nothing was asked but where it is: blue."""
PERSON: Final[Bgr] = (80, 185, 50)
"""Green."""
STRANGER: Final[Bgr] = (30, 95, 240)
"""Orange red."""
UNDECIDED: Final[Bgr] = (150, 150, 150)
"""Grey."""

_COLOURS: Final = {Answer.PERSON: PERSON, Answer.STRANGER: STRANGER, Answer.UNDECIDED: UNDECIDED}
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_MEASURED: Final = "Agjp|0"
"""Stands for every label, so that all plates are of one height."""
_SMALLEST_FONT: Final = 0.3
_LONGEST_NAME: Final = 40
_FONTS_ARE_ASCII: Final = not hasattr(cv2, "FontFace")
"""OpenCV 4 has line fonts of ASCII alone; OpenCV 5 brings outlines of most scripts."""
_NOT_DECOMPOSED: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ł": "l", "Ł": "L",
     "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\u0131": "i", "\u2019": "'", "\u2013": "-", "\u2014": "-"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How one face is shown.

    Attributes:
        text: Its label; none if empty.
        colour_bgr: The colour of its box and of its label's plate.
    """

    text: str = ""
    colour_bgr: Bgr = FOUND


def detection_mark(score: float) -> Mark:
    """The mark of a face that was found and no more: the detector's confidence."""
    return Mark(text=f"{score:.2f}")


def decision_mark(decision: Decision | None) -> Mark:
    """The mark of a face by what was decided about it; None is a face that is not followed yet."""
    if decision is None:
        return Mark(colour_bgr=UNDECIDED)
    text = decision.answer.value
    if decision.identity is not None:
        name = drawable(decision.identity.name) or f"id {decision.identity.id[:8]}"
        text = f"{name} {decision.identity.score:.2f}"
    return Mark(text=text, colour_bgr=_COLOURS[decision.answer])


def drawable(name: str, *, ascii_only: bool = _FONTS_ARE_ASCII) -> str:
    """A name as the fonts can show it.

    Args:
        name: Any text.
        ascii_only: Accents are left out and what has no Latin letters becomes ``?``.

    Returns:
        The name, shortened if it is very long; empty if nothing of it could be read.
    """
    text = unicodedata.normalize("NFC", name)
    if ascii_only:
        apart = unicodedata.normalize("NFKD", text.translate(_NOT_DECOMPOSED))
        text = "".join(c for c in apart if not unicodedata.combining(c)).encode("ascii", "replace").decode("ascii")
    text = "".join(c if c.isprintable() else "?" for c in text).strip()
    if len(text) > _LONGEST_NAME:
        text = text[: _LONGEST_NAME - 3].rstrip() + "..."
    return text if any(c.isalnum() for c in text) else ""


def draw_faces(bgr: U8Image, faces: Faces, marks: Sequence[Mark] | None = None) -> U8Image:
    """Draw faces on a copy of a picture.

    Args:
        bgr: ``(H, W, 3)`` uint8; not changed.
        faces: N faces in its pixels; they may reach past its edges.
        marks: One for each face; without them each is labelled with its score.

    Returns:
        ``(H, W, 3)`` uint8 BGR.

    Raises:
        ShapeError: There is not one mark for each face.
    """
    if marks is None:
        marks = [detection_mark(float(score)) for score in faces.scores]
    if len(marks) != len(faces):
        raise ShapeError(f"marks: expected one for each of {len(faces)} faces, got {len(marks)}")
    canvas = np.array(bgr, np.uint8, order="C")
    pen = _Pen(canvas)
    # All boxes first: a label should not be crossed by the next face's box.
    for face, mark in zip(faces, marks, strict=True):
        pen.face(face, mark.colour_bgr)
    for box, mark in zip(faces.boxes_xyxy, marks, strict=True):
        pen.label(box, mark)
    return canvas


class _Pen:
    """Draws on one picture with lines and letters of a size that suits it."""

    def __init__(self, canvas: U8Image) -> None:
        self._canvas = canvas
        self._height, self._width = canvas.shape[:2]
        side = min(self._height, self._width)
        self._line = max(1, round(side / 360))
        self._font = max(_SMALLEST_FONT, side / 1350)

    def face(self, face: Faces, colour: Bgr) -> None:
        x0, y0, x1, y1 = self._whole(face.boxes_xyxy[0])
        cv2.rectangle(self._canvas, (x0, y0), (x1, y1), colour, self._line)
        # A dot is as large as the face bears: on a small one five large dots would hide it.
        radius = max(1, min(self._line, min(x1 - x0, y1 - y0) // 35))
        for point in face.landmarks_xy[0]:
            x, y = self._whole(point)
            if radius > 1:
                cv2.circle(self._canvas, (x, y), radius + 1, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
            cv2.circle(self._canvas, (x, y), radius, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)

    def label(self, box: F32, mark: Mark) -> None:
        text = mark.text.encode("utf-8", "replace").decode()
        if not text:
            return
        font = self._font
        (width, _), _ = cv2.getTextSize(text, _FONT, font, self._stroke(font))
        if width > self._width:
            font = max(_SMALLEST_FONT, font * self._width / width)
        stroke = self._stroke(font)
        (width, _), _ = cv2.getTextSize(text, _FONT, font, stroke)
        (_, ascent), descent = cv2.getTextSize(_MEASURED, _FONT, font, stroke)
        pad = max(1, round(ascent / 4))
        plate_w, plate_h = width + 2 * pad, ascent + descent + 2 * pad
        x0, y0, _, y1 = self._whole(box)
        x0 -= self._line // 2
        left = max(0, min(x0, self._width - plate_w))
        top = y0 - plate_h if y0 >= plate_h else y1
        top = max(0, min(top, self._height - plate_h))
        corner = (left + plate_w - 1, top + plate_h - 1)
        cv2.rectangle(self._canvas, (left, top), corner, mark.colour_bgr, cv2.FILLED)
        place = (left + pad, top + pad + ascent)
        cv2.putText(self._canvas, text, place, _FONT, font, (255, 255, 255), stroke, cv2.LINE_AA)

    @staticmethod
    def _stroke(font: float) -> int:
        return max(1, round(font * 2))

    def _whole(self, values: F32) -> list[int]:
        """Coordinates as whole pixels; those far outside are brought near, where OpenCV can count them."""
        limit = 2 * max(self._width, self._height)
        finite = np.nan_to_num(values.astype(np.float64), nan=-limit, posinf=limit, neginf=-limit)
        return [round(float(value)) for value in np.clip(finite, -limit, limit)]
