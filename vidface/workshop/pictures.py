"""Pictures to work on, from a folder or a clip, and their division into what is learnt from and what is never seen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import PhotoRefused
from pipeline.faces import U8Image
from pipeline.photo import load_photo
from streams.frame import Frame
from streams.source import Source
from streams.spec import SourceSpec
from vidface.enrolment import is_photo
from vidface.errors import BadInput
from vidface.evaluation.models_data import spread
from vidface.photo_input import VIDEO_SUFFIXES

MOST_FRAMES = 600
"""Frames of a clip that are kept, evenly spread."""

LARGEST_SIDE_PX = 1280
"""Larger pictures are scaled down when they are read: what is composed of them is smaller still."""

HELD_OUT = 0.2
"""The part of the pictures that nothing is learnt from: half to choose by, half to report on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Where pictures come from, and who may see which.

    Attributes:
        origin: The folder or clip.
        paths: Of photos; empty for a clip.
        frames: Of a clip, ``(H, W, 3)`` uint8 BGR; empty for a folder.
        learn: Numbers of those that are learnt from.
        choose: Numbers of those that decide what is kept.
        report: Numbers of those that were seen by nobody before the report.
    """

    origin: Path
    paths: tuple[Path, ...]
    frames: tuple[U8Image, ...]
    learn: tuple[int, ...]
    choose: tuple[int, ...]
    report: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths) or len(self.frames)

    def read(self, number: int) -> U8Image:
        """``(H, W, 3)`` uint8 BGR of one picture.

        Raises:
            PhotoRefused: It can't be read.
        """
        return shrunk(load_photo(self.paths[number])) if self.paths else self.frames[number]


def open_pictures(origin: Path) -> Pictures:
    """Find the pictures of a folder (all below it) or of a clip.

    Photos of one folder stay together, so that a person whose photos share a folder is either learnt or held out; the
    frames of a clip are divided by stretches of time.

    Raises:
        BadInput: There is nothing there, or too little to hold some of it out.
        SourceError: The clip can't be read.
    """
    paths, frames = _found(origin)
    if paths:
        folders = {path.parent for path in paths}
        keys = [str((path.parent if len(folders) >= 10 else path).relative_to(origin)) for path in paths]
    else:
        # Twenty stretches: neighbours look alike, and would be known from the one that was learnt.
        keys = [str(number * 20 // len(frames)) for number in range(len(frames))]
    parts = [_part(key) for key in keys]
    divided = {
        name: tuple(number for number, part in enumerate(parts) if low <= part < high)
        for name, low, high in (
            ("report", 0.0, HELD_OUT / 2),
            ("choose", HELD_OUT / 2, HELD_OUT),
            ("learn", HELD_OUT, 1.0),
        )
    }
    for name, numbers in divided.items():
        if not numbers:
            raise BadInput(
                f"{origin}: {len(keys)} pictures are too few: none would be left to {name} "
                f"{'on' if name == 'report' else 'from'}; a few hundred are wanted"
            )
    return Pictures(origin=origin, paths=paths, frames=frames, **divided)


def some_pictures(origin: Path, count: int) -> list[U8Image]:
    """A few pictures of a folder or a clip, evenly spread; those that can't be read are left out.

    Raises:
        BadInput: There is nothing there.
        SourceError: The clip can't be read.
    """
    paths, frames = _found(origin)
    numbers = tuple(range(len(paths) or len(frames)))
    everything = Pictures(origin=origin, paths=paths, frames=frames, learn=numbers, choose=(), report=())
    return read_all(everything, thinned(numbers, count))


def _found(origin: Path) -> tuple[tuple[Path, ...], tuple[U8Image, ...]]:
    """The photos of a folder, or the frames of a clip."""
    if origin.is_dir():
        paths = tuple(sorted(_photos_below(origin)))
        if not paths:
            raise BadInput(f"{origin}: it holds no photos; give a folder of pictures, or a clip")
        return paths, ()
    if origin.suffix.lower() in VIDEO_SUFFIXES or origin.suffix.lower() == ".gif":
        return (), _frames(origin)
    what = "there is no such file or folder" if not origin.exists() else "neither a folder nor a clip"
    raise BadInput(f"{origin}: {what}; give a folder of pictures, or a clip")


def shrunk(picture: U8Image) -> U8Image:
    """The picture, scaled down where a side is longer than `LARGEST_SIDE_PX`."""
    longest = max(picture.shape[:2])
    if longest <= LARGEST_SIDE_PX:
        return picture
    scale = LARGEST_SIDE_PX / longest
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def thinned(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of some numbers, evenly spread."""
    return [numbers[row] for row in spread(len(numbers), most)]


def _part(key: str) -> float:
    """Where a key falls in 0..1: by its hash, so that adding pictures leaves the others where they were."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def _photos_below(folder: Path) -> Iterator[Path]:
    """Photos of a folder and those below it, also behind links; empty files are none."""
    for parent, _folders, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(parent, name)
            if is_photo(path) and path.stat().st_size:
                yield path


def _frames(clip: Path) -> tuple[U8Image, ...]:
    kept: list[U8Image] = []
    step, seen = 1, 0

    def take(frame: Frame) -> None:
        nonlocal seen, step
        if seen % step == 0:
            width, height = frame.meta.size_wh
            scale = min(1.0, LARGEST_SIDE_PX / max(width, height))
            kept.append(frame.picture.scaled_bgr((round(width * scale), round(height * scale))).copy())
            if len(kept) >= 2 * MOST_FRAMES:
                # How long a clip is shows only at its end: every other frame is let go, and half as many are taken.
                del kept[1::2]
                step *= 2
        seen += 1

    Source(
        SourceSpec(camera="clip", url=str(clip)),
        next_epoch=lambda: 1,
        on_frame=take,
        on_state=lambda _state: None,
    ).run()
    return tuple(kept[place] for place in spread(len(kept), MOST_FRAMES))


def read_all(pictures: Pictures, numbers: Sequence[int]) -> list[U8Image]:
    """Some pictures; those that can't be read are left out."""
    read = []
    for number in numbers:
        try:
            read.append(pictures.read(number))
        except PhotoRefused:
            continue
    return read


class Readable:
    """Reads pictures by number; one that can't be read is all fill, so that it teaches nothing."""

    def __init__(self, pictures: Pictures, fill_bgr: tuple[int, int, int]) -> None:
        self._pictures = pictures
        self._fill = fill_bgr

    def __call__(self, number: int) -> U8Image:
        """``(H, W, 3)`` uint8 BGR."""
        read = read_all(self._pictures, [number])
        return read[0] if read else np.full((64, 64, 3), self._fill, np.uint8)
