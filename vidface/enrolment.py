"""Enrolling people from photos: each photo is accepted or refused with a reason, and the gallery takes the rest.

A photo's file name often holds a person's name, so templates are labelled by the photo's checksum instead: an erased
or renamed person leaves no name behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.errors import DuplicatePerson, NameRefused
from index.gallery import Gallery
from index.identity import Identity
from pipeline.errors import PhotoRefused
from pipeline.photo import PHOTO_SUFFIXES, EnrolRule, PhotoReader, choose_face, decode_photo, photo_bytes
from vidface.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolOutcome:
    """What became of one person's photos.

    Attributes:
        name: The person, as asked for.
        identity: The person in the gallery; None when nothing could be enrolled.
        accepted: The photos that were taken.
        known: The photos by which the person is enrolled already; there was nothing to do.
        refused: The photos that were not, with codes and reasons.
    """

    name: str
    identity: Identity | None
    accepted: tuple[Path, ...]
    refused: tuple[PhotoRefused, ...]
    known: tuple[Path, ...] = ()


class Enroller:
    """Enrols people into one gallery. One thread uses it.

    Args:
        gallery: Where to.
        reader: The models.
        rule: What a photo must be like.
        duplicate_threshold: A face this similar to somebody under another name is refused.
    """

    def __init__(self, gallery: Gallery, reader: PhotoReader, rule: EnrolRule, *, duplicate_threshold: float) -> None:
        self._gallery = gallery
        self._reader = reader
        self._rule = rule
        self._duplicate_threshold = duplicate_threshold

    def enroll(self, name: str, photos: Sequence[Path], *, allow_duplicate: bool = False) -> EnrolOutcome:
        """Enrol one person by some photos; the good ones are taken even if others are refused.

        Raises:
            GalleryError: The gallery could not be written.
        """
        accepted: list[Path] = []
        already: list[Path] = []
        refused: list[PhotoRefused] = []
        templates, qualities, labels = [], [], []
        try:
            known = set(self._gallery.sources_of(name))
            was_known = bool(known)
        except NameRefused as error:
            return EnrolOutcome(
                name=name,
                identity=None,
                accepted=(),
                refused=tuple(PhotoRefused("name_refused", str(path), str(error)) for path in photos),
            )
        for path in photos:
            try:
                content = photo_bytes(path)
                label = photo_label(content)
                if label in known:
                    already.append(path)
                    continue
                described = self._reader.read(decode_photo(path, content))
                row = choose_face(str(path), described, self._rule)
            except PhotoRefused as error:
                refused.append(error)
                continue
            accepted.append(path)
            templates.append(described.templates[row])
            qualities.append(described.qualities[row])
            labels.append(label)
            known.add(label)
        identity = self._gallery.get(name) if already and was_known else None
        if accepted:
            try:
                identity = self._gallery.enroll(
                    name,
                    np.stack(templates),
                    qualities=np.array(qualities, np.float32),
                    sources=labels,
                    duplicate_threshold=self._duplicate_threshold,
                    allow_duplicate=allow_duplicate,
                )
            except DuplicatePerson as error:
                refused += [PhotoRefused("enrolled_under_another_name", str(path), str(error)) for path in accepted]
                accepted = []
        return EnrolOutcome(
            name=name, identity=identity, accepted=tuple(accepted), refused=tuple(refused), known=tuple(already)
        )


def photo_label(content: bytes) -> str:
    """What a photo is remembered by: its checksum, which names nobody."""
    return f"photo sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def people_in(folder: Path) -> dict[str, list[Path]]:
    """The people of a folder: a photo's file name is its person, a subfolder's name is the person of all its photos.

    Underscores in names stand for themselves.

    Returns:
        Photos by name, both sorted.

    Raises:
        BadInput: The folder is not there, or holds no photo.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder of photos")
    people: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            photos = sorted(path for path in entry.iterdir() if is_photo(path))
            if photos:
                people.setdefault(entry.name, []).extend(photos)
        elif is_photo(entry):
            people.setdefault(entry.stem, []).append(entry)
    if not people:
        raise BadInput(f"{folder}: it holds no photos ({', '.join(sorted(PHOTO_SUFFIXES))})")
    return people


def is_photo(path: Path) -> bool:
    """Whether a path is a file named like a photo; hidden files are not."""
    return path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
