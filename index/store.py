"""The rows of the gallery: people, their templates, the log of changes, and the audit.

Whatever changes the gallery raises its version by one and leaves one row in the log that names whom it was
about, so that a follower at version 7 reads what changed since 7 and nothing else. The log and the audit hold
ids and times, never a name or a template: they may outlive the person's erasure.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np

from index.database import Database
from index.errors import ErasureIncomplete, GalleryCorrupt, StorageError, VectorError, WrongModel
from index.identity import Identity, name_key
from index.vectors import F32, I64, require_unit_rows

SCHEMA_VERSION = 1

_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID",
    # AUTOINCREMENT: the number of a person who was removed is never given to another.
    """CREATE TABLE identities (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE,
        created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
        consent TEXT, consent_ns INTEGER, expires_ns INTEGER) STRICT""",
    """CREATE TABLE templates (
        number INTEGER PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities (number) ON DELETE CASCADE,
        vector BLOB NOT NULL, quality REAL NOT NULL, source TEXT NOT NULL,
        model TEXT NOT NULL, dim INTEGER NOT NULL, created_ns INTEGER NOT NULL) STRICT""",
    "CREATE INDEX templates_by_identity ON templates (identity)",
    "CREATE TABLE changes (version INTEGER PRIMARY KEY, kind TEXT NOT NULL, identity_id TEXT NOT NULL) STRICT",
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, at_ns INTEGER NOT NULL,
        identity_id TEXT NOT NULL) STRICT""",
)

_PEOPLE = """
    SELECT number, id, name, created_ns, updated_ns,
           (SELECT count(*) FROM templates WHERE identity = identities.number)
    FROM identities"""

VECTOR_DTYPE = np.dtype("<f4")


class Change(StrEnum):
    """What happened to a person, as the log and the audit call it."""

    ENROLLED = "enrolled"
    EXTENDED = "extended"
    RENAMED = "renamed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the audit: what was done, when in Unix nanoseconds, and to whom."""

    action: Change
    at_ns: int
    identity_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryStats:
    """The gallery in numbers.

    Attributes:
        path: Its file.
        version: Raised by each change.
        model: The embedder its templates come from.
        dim: The length of a template.
        identities: How many people.
        templates: How many templates, of all of them.
        with_consent: How many people have a consent on record.
        with_expiry: How many people have a date on which they are to be removed.
        size_bytes: The file and its log on the disk.
        erasure_pending: Whether bytes of a removed person may still be in the file.
    """

    path: Path
    version: int
    model: str
    dim: int
    identities: int
    templates: int
    with_consent: int
    with_expiry: int
    size_bytes: int
    erasure_pending: bool


class Store:
    """The gallery's file. One connection: for one thread at a time.

    Every method runs one or more statements in the transaction around it; those that change something must be
    inside `writing`. All raise `StorageError` for what SQLite reports.

    Args:
        path: The file; made if it is absent.
        model: The embedder's name; recorded in a new file, and compared with an old one.
        dim: The length of its embeddings.
        now_ns: The Unix clock, in nanoseconds.

    Raises:
        WrongModel: The file was made with another embedder.
        StorageError: See `Database`.
    """

    def __init__(self, path: Path, *, model: str, dim: int, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.model = model
        self.dim = dim
        self._now_ns = now_ns
        self._database = Database(path, schema_version=SCHEMA_VERSION, create_schema=self._create)
        self.path = self._database.path
        try:
            self._require_model()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def reading(self) -> AbstractContextManager[None]:
        """See `Database.reading`."""
        return self._database.reading()

    def writing(self) -> AbstractContextManager[None]:
        """See `Database.writing`."""
        return self._database.writing()

    def data_version(self) -> int:
        """See `Database.data_version`; also checks that the file is still the one that was opened."""
        self._database.require_same_file()
        return self._database.data_version()

    # --- reading

    def version(self) -> int:
        """The version of the last change; 0 for a gallery that nobody was ever enrolled in."""
        return int(self._meta("version"))

    def people(self, ids: Collection[str] | None = None) -> dict[int, Identity]:
        """Everyone, or those of these ids who exist, by their number, in the order of their enrolment."""
        if ids is None:
            rows = self._database.execute(f"{_PEOPLE} ORDER BY number")
        else:
            wanted = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY number"
            rows = self._database.execute(f"{_PEOPLE} {wanted}", (json.dumps(list(ids)),))
        return dict(map(_person, rows))

    def person(self, number: int) -> Identity:
        """The person of this number, who must exist."""
        return _person(self._database.execute(f"{_PEOPLE} WHERE number = ?", (number,))[0])[1]

    def find(self, name_or_id: str) -> tuple[int, Identity] | None:
        """The person of this id or, failing that, of this name, case aside; and their number."""
        by_id = self._database.execute(f"{_PEOPLE} WHERE id = ?", (name_or_id,))
        return _person(by_id[0]) if by_id else self.find_name(name_or_id)

    def find_name(self, name: str) -> tuple[int, Identity] | None:
        """The person of this name, case aside, and their number."""
        rows = self._database.execute(f"{_PEOPLE} WHERE name_key = ?", (name_key(name),))
        return _person(rows[0]) if rows else None

    def sources(self, number: int) -> frozenset[str]:
        """The source labels of a person's templates."""
        rows = self._database.execute("SELECT source FROM templates WHERE identity = ?", (number,))
        return frozenset(str(row[0]) for row in rows)

    def templates(self, people: Collection[int] | None = None) -> tuple[F32, I64]:
        """The templates of everyone, or of the people of these numbers.

        Returns:
            ``(N, D)`` float32 unit rows, and the ``(N,)`` int64 number of the person each is of.

        Raises:
            GalleryCorrupt: A template is not what the gallery's embedder makes.
        """
        select = "SELECT identity, vector, model FROM templates"
        if people is None:
            rows = self._database.execute(f"{select} ORDER BY number")
        else:
            wanted = "WHERE identity IN (SELECT value FROM json_each(?)) ORDER BY number"
            rows = self._database.execute(f"{select} {wanted}", (json.dumps(list(people)),))
        width = self.dim * VECTOR_DTYPE.itemsize
        if any(len(vector) != width or model != self.model for _, vector, model in rows):
            raise self.damaged("a template has another length or embedder than the gallery")
        joined = np.frombuffer(b"".join(vector for _, vector, _ in rows), VECTOR_DTYPE)
        vectors = joined.astype(np.float32).reshape(len(rows), self.dim)
        try:
            require_unit_rows("templates", vectors, self.dim)
        except VectorError as error:
            raise self.damaged(str(error)) from error
        return vectors, np.fromiter((owner for owner, _, _ in rows), np.int64, len(rows))

    def changed_since(self, version: int) -> set[str] | None:
        """The ids of the people whom the changes after this version were about; None if the log does not reach back."""
        rows = self._database.execute("SELECT identity_id FROM changes WHERE version > ?", (version,))
        return {row[0] for row in rows} if len(rows) == self.version() - version else None

    def audit(self) -> list[AuditEntry]:
        """Everything that was ever done, the oldest first."""
        rows = self._database.execute("SELECT action, at_ns, identity_id FROM audit ORDER BY number")
        return [
            AuditEntry(action=Change(action), at_ns=at_ns, identity_id=identity_id)
            for action, at_ns, identity_id in rows
        ]

    def stats(self) -> GalleryStats:
        """The gallery in numbers."""
        people, consents, expiries = self._database.execute(
            "SELECT count(*), count(consent), count(expires_ns) FROM identities"
        )[0]
        return GalleryStats(
            path=self.path,
            version=self.version(),
            model=self.model,
            dim=self.dim,
            identities=people,
            templates=self._database.execute("SELECT count(*) FROM templates")[0][0],
            with_consent=consents,
            with_expiry=expiries,
            size_bytes=self._database.size_bytes(),
            erasure_pending=self.erasure_pending(),
        )

    # --- changing, inside `writing`

    def insert_person(self, name: str) -> int:
        """A new person of this clean name; their number."""
        now_ns = self._now_ns()
        rows = self._database.execute(
            "INSERT INTO identities (id, name, name_key, created_ns, updated_ns) VALUES (?, ?, ?, ?, ?)"
            " RETURNING number",
            (str(uuid.uuid4()), name, name_key(name), now_ns, now_ns),
        )
        return int(rows[0][0])

    def insert_templates(self, number: int, templates: F32, qualities: F32, sources: Sequence[str]) -> None:
        """More templates for a person: ``(N, D)`` float32 unit rows, ``(N,)`` qualities in 0..1, N source labels."""
        now_ns = self._now_ns()
        self._database.execute_many(
            "INSERT INTO templates (identity, vector, quality, source, model, dim, created_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    row.astype(VECTOR_DTYPE).tobytes(),
                    float(quality),
                    source,
                    self.model,
                    self.dim,
                    now_ns,
                )
                for row, quality, source in zip(templates, qualities, sources, strict=True)
            ],
        )

    def rename_person(self, number: int, name: str) -> None:
        """Give a person another clean name."""
        self._database.execute(
            "UPDATE identities SET name = ?, name_key = ? WHERE number = ?", (name, name_key(name), number)
        )

    def delete_person(self, number: int) -> None:
        """Delete a person and all their templates."""
        self._database.execute("DELETE FROM identities WHERE number = ?", (number,))

    def record(self, change: Change, identity_id: str) -> int:
        """Raise the version, note the change in the log and the audit, and return the new version."""
        version = self.version() + 1
        now_ns = self._now_ns()
        self._set_meta("version", version)
        self._database.execute("UPDATE identities SET updated_ns = ? WHERE id = ?", (now_ns, identity_id))
        self._database.execute("INSERT INTO changes VALUES (?, ?, ?)", (version, change, identity_id))
        self._database.execute(
            "INSERT INTO audit (action, at_ns, identity_id) VALUES (?, ?, ?)", (change, now_ns, identity_id)
        )
        if change in (Change.RENAMED, Change.REMOVED):
            self._set_meta("erasure_wanted", version)
        return version

    # --- erasing, outside any transaction

    def erasure_pending(self) -> bool:
        """Whether something was removed whose bytes may still be in the file."""
        return int(self._meta("erasure_wanted")) > int(self._meta("erasure_done"))

    def erase(self) -> None:
        """Remove the last bytes of what was removed; see `Database.scrub`.

        The version up to which this is wanted is read before it is done: a removal by another process
        meanwhile stays pending. A crash at any point leaves it pending too.
        """
        wanted = int(self._meta("erasure_wanted"))
        self._database.scrub()
        try:
            with self.writing():
                if wanted > int(self._meta("erasure_done")):
                    self._set_meta("erasure_done", wanted)
        except StorageError as error:
            raise ErasureIncomplete(
                self.path, f"the file is clean, but this could not be noted: {error.reason}"
            ) from error

    def _create(self, database: Database) -> None:
        for statement in _SCHEMA:
            database.execute(statement)
        first: dict[str, int | str] = {
            "version": 0,
            "erasure_wanted": 0,
            "erasure_done": 0,
            "dim": self.dim,
            "model": self.model,
        }
        database.execute_many("INSERT INTO meta VALUES (?, ?)", list(first.items()))

    def _require_model(self) -> None:
        model, dim = self._meta("model"), int(self._meta("dim"))
        if (model, dim) != (self.model, self.dim):
            raise WrongModel(
                self.path,
                f"it was made with the embedder {model} ({dim} numbers a face), and {self.model} ({self.dim}) is "
                "configured; their faces cannot be compared: configure that embedder, or enrol everyone again in "
                "another data folder",
            )

    def _meta(self, key: str) -> Any:
        rows = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,))
        if not rows:
            raise self.damaged(f"its entry {key!r} is missing")
        return rows[0][0]

    def _set_meta(self, key: str, value: int) -> None:
        self._database.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    def damaged(self, what: str) -> GalleryCorrupt:
        """The error that says what is damaged and what to do; for the caller to raise."""
        return GalleryCorrupt(self.path, f"{what}; restore it from a backup, or move it away and enrol again")


def _person(row: tuple[Any, ...]) -> tuple[int, Identity]:
    number, identity_id, name, created_ns, updated_ns, templates = row
    return number, Identity(
        id=identity_id, name=name, template_count=templates, created_ns=created_ns, updated_ns=updated_ns
    )
