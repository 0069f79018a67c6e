"""A folder of images as a recording: natural order of names, fixed pace."""

import re
from collections.abc import Generator
from itertools import count, islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from streams.errors import SourceError
from streams.media import Damaged, Decoded, MediaEnd
from streams.picture import ArrayPicture
from streams.spec import SourceSpec
from streams.state import Cause
from streams.timeline import NS_PER_S

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

_DIGITS: Final = re.compile(r"(\d+)")


class Folder:
    """Images of one folder, not of those below it, as `Media`.

    Sorted as people number them: `img2.jpg` before `img10.jpg`. An image that cannot be decoded is damaged, and its
    place in time stays empty. Images turned by their EXIF tag are made upright.
    """

    def __init__(self, spec: SourceSpec) -> None:
        """List the folder.

        Raises:
            SourceError: It holds no image, or cannot be listed.
        """
        self._fps = spec.folder_fps
        self._loop = spec.loop
        self._start = round(spec.start_s * spec.folder_fps)
        try:
            self._paths = sorted(
                (path for path in Path(spec.url).iterdir() if path.suffix.lower() in SUFFIXES), key=natural_key
            )
        except OSError as error:
            raise _open_failed(spec, f"the folder cannot be listed: {error.strerror}; check its rights") from error
        if not self._paths:
            raise _open_failed(spec, f"the folder holds no image ({', '.join(sorted(SUFFIXES))})")

    @property
    def step_ns(self) -> int:
        """See `Media.step_ns`."""
        return round(NS_PER_S / self._fps)

    def read(self) -> Generator[Decoded | Damaged]:
        """See `Media.read`."""
        places = count() if self._loop else range(len(self._paths))
        for index in islice(places, self._start, None):
            path = self._paths[index % len(self._paths)]
            try:
                data = np.frombuffer(path.read_bytes(), np.uint8)
            except OSError as error:
                yield Damaged(detail=f"{path.name}: {error.strerror}")
                continue
            # Not imread, which writes its own complaints to the terminal.
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
            if image is None:
                yield Damaged(detail=f"{path.name}: not an image that can be decoded")
                continue
            yield Decoded(picture=ArrayPicture(np.asarray(image, np.uint8)), pts_ns=round(index * NS_PER_S / self._fps))

    def skip_to_keyframe(self) -> None:
        """See `Media.skip_to_keyframe`: each image stands for itself."""

    def end(self) -> MediaEnd:
        """See `Media.end`."""
        return MediaEnd(cause=Cause.EOF, detail=f"all {len(self._paths)} images were read")

    def close(self) -> None:
        """See `Media.close`."""


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key of a file name in which numbers count as numbers."""
    parts = _DIGITS.split(path.name)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _open_failed(spec: SourceSpec, detail: str) -> SourceError:
    return SourceError(camera=spec.camera, source=spec.source, cause=Cause.OPEN_FAILED, detail=detail)
