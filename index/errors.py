"""What can go wrong with a gallery.

    GalleryError
    ├── StorageError               the gallery's file cannot do what was asked            (OSError)
    │   ├── GalleryUnreachable     it cannot be created, opened or written                (PermissionError)
    │   ├── GalleryFull            the disk is full                                       (OSError)
    │   ├── GalleryBusy            another process held it for too long                   (TimeoutError)
    │   ├── GalleryReplaced        the file was deleted or replaced while it was open     (OSError)
    │   ├── GalleryCorrupt         its content is damaged                                 (ValueError)
    │   ├── NotAGallery            it is some other file                                  (ValueError)
    │   ├── GalleryTooNew          a newer vidface made it                                (ValueError)
    │   ├── WrongModel             it was made with another embedder                      (ValueError)
    │   └── ErasureIncomplete      a person is removed, but traces may be in the file     (OSError)
    ├── NameRefused                a name is empty, too long or unprintable               (ValueError)
    ├── NameTaken                  another person already has the name                    (ValueError)
    ├── DuplicatePerson            the face is enrolled already, under another name       (ValueError)
    ├── UnknownIdentity            nobody has that name or id                             (LookupError)
    ├── VectorError                templates or probes of a wrong shape, dtype or length  (ValueError)
    └── SearchEngineMissing        the package that searches is not installed             (ImportError)

Each also inherits the builtin named beside it, so callers who know nothing of vidface can catch it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path


class GalleryError(Exception):
    """The root of this package's errors."""


class StorageError(GalleryError, OSError):
    """The gallery's file cannot do what was asked.

    Attributes:
        path: The gallery's file.
        reason: What is wrong and what to do, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"gallery {path}: {reason}")
        self.path = path
        self.reason = reason


class GalleryUnreachable(StorageError, PermissionError):
    """The file or its folder cannot be created, opened or written."""


class GalleryFull(StorageError):
    """The disk is full; the change was not made."""


class GalleryBusy(StorageError, TimeoutError):
    """Another process held the file's lock for longer than we wait; the change was not made."""


class GalleryReplaced(StorageError):
    """The file at the path is gone, or another one than was opened: what is in memory is no longer the truth."""


class GalleryCorrupt(StorageError, ValueError):
    """The content of the file is damaged."""


class NotAGallery(StorageError, ValueError):
    """The file is no gallery of vidface."""


class GalleryTooNew(StorageError, ValueError):
    """A newer vidface wrote the file in a form that this one does not know."""


class WrongModel(StorageError, ValueError):
    """The gallery's templates come from another embedder, so no score against them would mean anything."""


class ErasureIncomplete(StorageError):
    """A person or a name is gone from the gallery, but bytes of it may still be in the file.

    The erasure is remembered in the file and is tried again at the next opening, removal or renaming, or by
    `Gallery.finish_erasure`.
    """


class NameRefused(GalleryError, ValueError):
    """A name that the gallery does not take."""


class NameTaken(GalleryError, ValueError):
    """Another person already has the name.

    Attributes:
        name: The name as its owner writes it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} is taken (case does not count); choose another, or remove its owner")
        self.name = name


class DuplicatePerson(GalleryError, ValueError):
    """A face that is enrolled already, under another name.

    Attributes:
        other: The name of the person it matches.
        score: The cosine similarity of the best match.
        threshold: The similarity from which on a face counts as the same.
    """

    def __init__(self, name: str, other: str, score: float, threshold: float) -> None:
        super().__init__(
            f"{name!r} was not enrolled: a face matches {other!r} with similarity {score:.3f}, "
            f"at or above {threshold:.3f}; enrol it as {other!r}, or, if they are two people, use --allow-duplicate"
        )
        self.other = other
        self.score = score
        self.threshold = threshold


class UnknownIdentity(GalleryError, LookupError):
    """Nobody in the gallery has that name or id.

    Attributes:
        asked: What was looked for.
        near: Names that are spelt alike, the nearest first.
    """

    def __init__(self, asked: str, near: Sequence[str]) -> None:
        hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        super().__init__(f"nobody in the gallery has the name or id {asked!r}{hint}")
        self.asked = asked
        self.near = tuple(near)


class VectorError(GalleryError, ValueError):
    """Templates or probes have a wrong shape, dtype or length; the message states the expected and the actual."""


class SearchEngineMissing(GalleryError, ImportError):
    """The package that searches is not installed; there is no silent fallback."""


def storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    """What an error of SQLite means for the gallery, and what to do about it."""
    # Extended codes carry the primary one in the low byte: https://www.sqlite.org/rescode.html
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind, advice = _MEANINGS.get(primary, (StorageError, "this is not expected; keep a copy of the file"))
    return kind(path, f"{error}; {advice}")


_UNREACHABLE = (
    GalleryUnreachable,
    "make the file and its folder readable and writable by this user, or choose another data folder",
)
_MEANINGS: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_PERM: _UNREACHABLE,
    sqlite3.SQLITE_READONLY: _UNREACHABLE,
    sqlite3.SQLITE_CANTOPEN: _UNREACHABLE,
    sqlite3.SQLITE_FULL: (GalleryFull, "free some space and try again; nothing was changed"),
    sqlite3.SQLITE_BUSY: (GalleryBusy, "another process is writing to it; try again; nothing was changed"),
    sqlite3.SQLITE_LOCKED: (GalleryBusy, "another connection is using it; try again; nothing was changed"),
    sqlite3.SQLITE_IOERR: (StorageError, "reading or writing failed; check the disk and the system's log"),
    sqlite3.SQLITE_CORRUPT: (GalleryCorrupt, "restore it from a backup, or move it away and enrol again"),
    sqlite3.SQLITE_NOTADB: (NotAGallery, "it is no SQLite file; move it away, or choose another data folder"),
}
