"""The gallery: people on the disk, and in memory the index that finds them.

A `Gallery` is a handle on one file, and any number of handles, in any number of processes, may be open on it. Each
has its own connection and its own index. A handle's index is the gallery as of its `version`; the handle's own changes
move it at once, those of others when it is asked to `refresh`.

    the serving process                     a command line beside it
    search, search, ...
    refresh: one pragma, nothing changed    enroll: in one transaction follow the log, look for the same face,
    search, search, ...                             insert, raise the version, note it in the log
    refresh: the log says who changed; their rows leave the index, and what the file says of them now comes in
    search, search, ...

A handle is for one thread: the one that analyses searches and refreshes, and a thread that enrols opens a
handle of its own. Two threads on one handle do no harm, as a lock makes one wait for the other, but a search
should not wait for an enrolment's disk.
"""

from __future__ import annotations

import difflib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np

from index.errors import DuplicatePerson, ErasureIncomplete, NameTaken, UnknownIdentity, VectorError
from index.identity import Identity, clean_name, name_key
from index.matches import NO_IDENTITY, NO_SCORE, Matches
from index.search import FaissIndex, IndexFactory, best_owners
from index.store import AuditEntry, Change, GalleryStats, Store
from index.vectors import F32, I64, require_unit_rows

_NEVER_LOADED = -1
NEAR_NAMES = 3


class Gallery:
    """Everyone who is known, kept in one file and searched in memory. Made by `open`."""

    def __init__(self, store: Store, index: IndexFactory) -> None:
        self._lock = threading.RLock()
        self._store = store
        self._make_index = index
        self._index = index(store.dim)
        self._version = _NEVER_LOADED
        self._data_version = _NEVER_LOADED
        self._people: dict[int, Identity] = {}
        self._numbers: I64 = np.empty(0, np.int64)
        self._identities: tuple[Identity, ...] = ()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        model: str,
        dim: int,
        index: IndexFactory = FaissIndex,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> Self:
        """Open the gallery in this file, and make it if there is none. Reads every template into memory.

        Args:
            path: The file; it is made readable by its owner alone, and so is its folder if that is made too.
            model: The name of the embedder that templates and probes come from.
            dim: The length of its embeddings.
            index: What searches. FAISS unless another is named here; never another because FAISS is absent.
            now_ns: The Unix clock, in nanoseconds.

        Raises:
            SearchEngineMissing: FAISS is wanted and not installed.
            WrongModel: The gallery was made with another embedder.
            StorageError: The file cannot be made, opened or read, or is something else; see `index.errors`.
        """
        store = Store(path, model=model, dim=dim, now_ns=now_ns)
        try:
            gallery = cls(store, index)
            gallery.refresh()
            # Another process may well be busy with it, so failing is no reason not to open: `stats` tells.
            with suppress(ErasureIncomplete):
                gallery.finish_erasure()
        except BaseException:
            store.close()
            raise
        return gallery

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._store.close()

    @property
    def version(self) -> int:
        """The version that `search` answers from; 0 before the first enrolment, raised by one with each change."""
        return self._version

    @property
    def identity_count(self) -> int:
        """How many people `search` answers from."""
        return len(self._identities)

    def search(self, probes: F32, k: int = 2) -> Matches:
        """The best k people for each probe. Exact; does not touch the disk.

        Args:
            probes: ``(N, D)`` float32, each row of length one.
            k: How many people for each, at least one.

        Returns:
            ``(N, k)`` people and scores, the best first; a person's score is that of their best template.
            Where the gallery has fewer than k people, the index is -1 and the score -1.0.

        Raises:
            VectorError: The probes have another shape, dtype or length, or k is less than one.
        """
        if k < 1:
            raise VectorError(f"k: expected at least 1, got {k}")
        probes = require_unit_rows("probes", probes, self._store.dim)
        with self._lock:
            found = min(k, len(self._identities))
            scores, numbers = best_owners(self._index, probes, found)
            # Every owner in the index is in _numbers, which rise, at the row that the person has in _identities.
            rows = np.where(numbers < 0, NO_IDENTITY, np.searchsorted(self._numbers, numbers))
            missing = ((0, 0), (0, k - found))
            return Matches(
                identity_index=np.pad(rows, missing, constant_values=NO_IDENTITY),
                scores=np.pad(scores, missing, constant_values=NO_SCORE),
                identities=self._identities,
                version=self._version,
            )

    def refresh(self) -> bool:
        """Follow what other handles have done to the file; microseconds when they have done nothing.

        Returns:
            Whether the gallery has moved to a newer version.

        Raises:
            GalleryReplaced: The file was deleted or replaced while it was open.
            StorageError: The file cannot be read.
        """
        with self._lock:
            # Asked for before the read it stands for: what is written between the two is seen by the next
            # refresh.
            data_version = self._store.data_version()
            if data_version == self._data_version:
                return False
            with self._store.reading():
                moved = self._follow()
            self._data_version = data_version
            return moved

    def enroll(
        self,
        name: str,
        templates: F32,
        *,
        qualities: F32,
        sources: Sequence[str],
        duplicate_threshold: float,
        allow_duplicate: bool = False,
    ) -> Identity:
        """Add a person, or add templates to the one who has this name, case aside.

        The check for duplicates and the insertion are one transaction: of two processes that enrol one face
        under two names at the same moment, one is refused.

        Args:
            name: Up to 200 characters; trimmed and brought to Unicode NFC. An existing person keeps their
                spelling.
            templates: ``(N, D)`` float32 embeddings, N at least one, each of length one.
            qualities: ``(N,)`` float32 in 0..1.
            sources: N labels that say where each template came from. They are kept as they are, by `rename`
                too, and go when the person is removed.
            duplicate_threshold: The cosine similarity from which on a face counts as one that is enrolled
                already.
            allow_duplicate: Enrol even so; for twins.

        Returns:
            The person as they now are.

        Raises:
            NameRefused: The name is empty, too long, or cannot be shown.
            VectorError: The templates, qualities or sources are not as above.
            DuplicatePerson: A template matches another person at or above the threshold; nothing was changed.
            StorageError: The file could not be written; nothing was changed.
        """
        name = clean_name(name)
        templates = require_unit_rows("templates", templates, self._store.dim)
        _require_aligned(templates, qualities, sources)
        if not np.isfinite(duplicate_threshold):
            raise VectorError(f"duplicate_threshold: expected a finite number, got {duplicate_threshold}")
        with self._lock:
            with self._store.writing():
                self._follow()  # so that the search below sees all that is in the file
                existing = self._store.find_name(name)
                number = existing[0] if existing else None
                if not allow_duplicate:
                    self._refuse_duplicate(name, templates, number, duplicate_threshold)
                change = Change.ENROLLED if number is None else Change.EXTENDED
                if number is None:
                    number = self._store.insert_person(name)
                labels = [source.encode("utf-8", "backslashreplace").decode() for source in sources]
                self._store.insert_templates(number, templates, qualities, labels)
                identity = self._store.person(number)
                self._store.record(change, identity.id)
                identity = self._store.person(number)
            self._catch_up()
            return identity

    def identities(self) -> list[Identity]:
        """Everyone in the file at this moment, in the order of their enrolment."""
        with self._lock:
            return list(self._store.people().values())

    def get(self, name_or_id: str) -> Identity:
        """The person of this id or, failing that, of this name, case aside, in the file at this moment.

        Raises:
            UnknownIdentity: There is none; it holds the names that are spelt alike.
        """
        with self._lock, self._store.reading():
            return self._find(name_or_id)[1]

    def sources_of(self, name: str) -> frozenset[str]:
        """The source labels of the templates of the person of this name; none for a name that nobody has."""
        with self._lock, self._store.reading():
            found = self._store.find_name(clean_name(name))
            return self._store.sources(found[0]) if found else frozenset()

    def rename(self, name_or_id: str, new_name: str) -> Identity:
        """Give a person another name, and leave nothing of the old one in the file. Rewrites the file, as `remove`.

        Raises:
            NameRefused: The new name is empty, too long, or cannot be shown.
            NameTaken: It is another person's.
            UnknownIdentity: There is nobody to rename.
            ErasureIncomplete: The name is changed, but bytes of the old one may still be in the file.
            StorageError: The file could not be written; nothing was changed.
        """
        new_name = clean_name(new_name)
        with self._lock:
            with self._store.writing():
                number, identity = self._find(name_or_id)
                if identity.name == new_name:
                    return identity
                holder = self._store.find_name(new_name)
                if holder and holder[0] != number:
                    raise NameTaken(holder[1].name)
                self._store.rename_person(number, new_name)
                self._store.record(Change.RENAMED, identity.id)
                identity = self._store.person(number)
            self._catch_up()
            self._store.erase()
            return identity

    def remove(self, name_or_id: str) -> Identity:
        """Remove a person and leave no byte of their name or templates in the file; the audit keeps their id.

        Nobody matches them from here on: this handle at once, others from their next `refresh`. Then the
        whole file is rewritten, which takes time and free space in proportion to its size. What a file system
        or a backup keeps of older content is out of reach.

        Returns:
            The person as they were.

        Raises:
            UnknownIdentity: There is nobody to remove.
            ErasureIncomplete: They are removed, but bytes of them may still be in the file.
            StorageError: The file could not be written; nothing was changed.
        """
        with self._lock:
            with self._store.writing():
                number, identity = self._find(name_or_id)
                self._store.delete_person(number)
                self._store.record(Change.REMOVED, identity.id)
            self._catch_up()
            self._store.erase()
            return identity

    def finish_erasure(self) -> None:
        """Do again what `ErasureIncomplete` was raised for, by this handle or another; nothing if nothing is left.

        Raises:
            ErasureIncomplete: It could not be done this time either.
        """
        with self._lock:
            if self._store.erasure_pending():
                self._store.erase()

    def stats(self) -> GalleryStats:
        """The file at this moment, in numbers."""
        with self._lock, self._store.reading():
            return self._store.stats()

    def audit(self) -> list[AuditEntry]:
        """Everything that was ever done to the gallery, the oldest first."""
        with self._lock:
            return self._store.audit()

    def _catch_up(self) -> None:
        with self._store.reading():
            self._follow()

    def _follow(self) -> bool:
        """Bring the index to the version of the transaction around this; whether that moved it."""
        version = self._store.version()
        if version == self._version:
            return False
        changed = None if self._version == _NEVER_LOADED else self._store.changed_since(self._version)
        people = self._store.people(changed)
        vectors, owners = self._store.templates(None if changed is None else people)
        if set(owners.tolist()) != people.keys():
            # Taken as it is, a template without its person would be found as somebody else.
            raise self._store.damaged("people and templates do not belong together")
        # All is read; if memory runs out below, the index is in no known state, and the next look loads it
        # anew.
        self._version = _NEVER_LOADED
        if changed is None:
            self._index = self._make_index(self._store.dim)
            self._people = people
        else:
            stale = [number for number, identity in self._people.items() if identity.id in changed]
            self._index.remove(np.asarray(stale, np.int64))
            for number in stale:
                del self._people[number]
            self._people = dict(sorted((self._people | people).items()))
        self._index.add(vectors, owners)
        self._numbers = np.fromiter(self._people, np.int64, len(self._people))
        self._identities = tuple(self._people.values())
        self._version = version
        return True

    def _refuse_duplicate(self, name: str, templates: F32, number: int | None, threshold: float) -> None:
        # Two people a row: the person themselves may be the best, and then the second is the best of the
        # others.
        scores, numbers = best_owners(self._index, templates, min(2, len(self._identities)))
        others = np.where((numbers >= 0) & (numbers != (-1 if number is None else number)), scores, -np.inf)
        if others.size and others.max() >= threshold:
            row, rank = np.unravel_index(np.argmax(others), others.shape)
            other = self._people[int(numbers[row, rank])]
            raise DuplicatePerson(name, other.name, float(others[row, rank]), threshold)

    def _find(self, name_or_id: str) -> tuple[int, Identity]:
        # What cannot be written as UTF-8, such as an argument in another encoding, can be nobody's name.
        asked = name_or_id.encode("utf-8", "backslashreplace").decode()
        found = self._store.find(asked)
        if found is None:
            names = {name_key(identity.name): identity.name for identity in self._store.people().values()}
            near = difflib.get_close_matches(name_key(asked), names, n=NEAR_NAMES)
            raise UnknownIdentity(asked, [names[key] for key in near])
        return found


def _require_aligned(templates: F32, qualities: F32, sources: Sequence[str]) -> None:
    count = len(templates)
    if not count:
        raise VectorError("templates: expected at least one row, got none")
    if qualities.shape != (count,) or not np.all((qualities >= 0) & (qualities <= 1)):
        raise VectorError(
            f"qualities: expected shape ({count},) within 0..1, got shape {qualities.shape}: {qualities!r}"
        )
    if isinstance(sources, str) or len(sources) != count:
        raise VectorError(f"sources: expected {count} labels, one a template, got {sources!r}")
