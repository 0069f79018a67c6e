"""After a removal the raw files are read for what must not be in them."""

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from index.errors import ErasureIncomplete
from index.gallery import Gallery
from index.store import Change
from tests.index.people import enrol, faces, open_gallery

CHUNK_BYTES = 16


def traces(folder: Path, secrets: Iterable[bytes]) -> list[bytes]:
    """The secrets of which a piece is in any file of the folder."""
    raw = b"\n".join(part.read_bytes() for part in folder.iterdir())
    return [
        secret
        for secret in secrets
        if any(
            secret[start : start + CHUNK_BYTES] in raw
            for start in range(0, max(1, len(secret) - CHUNK_BYTES + 1), CHUNK_BYTES)
        )
    ]


def name_of(number: int) -> str:
    """A name that has no long piece in common with another's."""
    return f"NAME {hashlib.sha256(bytes([number])).hexdigest()}"


def secrets_of(number: int, dim: int = 16) -> list[bytes]:
    name = name_of(number)
    return [name.encode(), name.casefold().encode(), *(row.tobytes() for row in faces(number % 4 + 1, number, dim))]


def fill(gallery: Gallery, dim: int, people: int = 60) -> None:
    for number in range(people):
        enrol(gallery, name_of(number), faces(number % 4 + 1, number, dim), twins=True)


@pytest.mark.parametrize("dim", [16, 192, 1024])
def test_nothing_of_a_removed_person_is_left_in_the_files(tmp_path: Path, dim: int) -> None:
    with open_gallery(tmp_path / "gallery.db", dim=dim) as gallery, open_gallery(tmp_path / "gallery.db", dim=dim):
        fill(gallery, dim)
        for number in (0, 17, 31, 32, 59):
            secrets = secrets_of(number, dim)
            assert traces(tmp_path, secrets) == secrets  # else what follows would show nothing
            gone = gallery.remove(name_of(number))
            assert traces(tmp_path, secrets) == []
            assert gone.id in {entry.identity_id for entry in gallery.audit()}
        kept = secrets_of(33, dim)
        assert traces(tmp_path, kept) == kept
    assert traces(tmp_path, kept) == kept


def test_nothing_of_an_old_name_is_left_in_the_files(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        fill(gallery, 16)
        for number in (0, 17, 31, 59):
            names = secrets_of(number)[:2]
            assert traces(tmp_path, names) == names
            gallery.rename(name_of(number), f"Someone Else {number}")
            assert traces(tmp_path, names) == []


def test_an_erasure_that_a_reader_prevents_is_told_and_can_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.database.BUSY_TIMEOUT_S", 0)
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        fill(gallery, 16)
        secrets = secrets_of(3)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM templates").fetchall()
        with pytest.raises(ErasureIncomplete, match=r"the removal is done .*another process is reading the log"):
            gallery.remove(name_of(3))
        assert gallery.stats().erasure_pending
        assert name_of(3) not in {identity.name for identity in gallery.identities()}
        assert name_of(3) not in {i.name for i in gallery.search(faces(1, 3), 60).identities}
        assert traces(tmp_path, secrets) != []
        with open_gallery(path) as other:  # opens all the same, and tries in vain
            assert other.stats().erasure_pending
        reader.close()
        gallery.finish_erasure()
        assert not gallery.stats().erasure_pending
        assert traces(tmp_path, secrets) == []


def test_an_erasure_cut_short_is_finished_at_the_next_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def cut(_: object) -> None:
        raise PowerCut

    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery, monkeypatch.context() as patch:
        fill(gallery, 16)
        patch.setattr("index.database.Database.scrub", cut)
        with pytest.raises(PowerCut):
            gallery.remove(name_of(3))
    with open_gallery(path) as reopened:
        assert not reopened.stats().erasure_pending
        assert traces(tmp_path, secrets_of(3)) == []


def test_a_removal_during_another_ones_erasure_stays_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as one, open_gallery(path) as other:
        fill(one, 16)
        scrub = one._store._database.scrub

        def remove_meanwhile(*_: object) -> None:
            scrub()
            with other._store.writing():
                number, identity = other._find(name_of(4))
                other._store.delete_person(number)
                other._store.record(Change.REMOVED, identity.id)

        with monkeypatch.context() as patch:
            patch.setattr("index.database.Database.scrub", remove_meanwhile)
            one.remove(name_of(3))
        assert one.stats().erasure_pending
        other.finish_erasure()
        assert not one.stats().erasure_pending
        assert traces(tmp_path, secrets_of(4)) == []


def test_the_templates_in_the_files_are_what_the_search_for_traces_takes_them_for(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        vector = gallery._store._database.execute("SELECT vector FROM templates")[0][0]
    np.testing.assert_array_equal(np.frombuffer(vector, "<f4"), faces(1, 0)[0])


def test_a_removal_gives_back_its_pages(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        enrol(gallery, "Bob", faces(2000, 1), twins=True)
        pages = gallery._store._database.execute("PRAGMA page_count")[0][0]
        gallery.remove("Bob")
        assert gallery._store._database.execute("PRAGMA freelist_count") == [(0,)]
        assert gallery._store._database.execute("PRAGMA page_count")[0][0] < pages / 2
        assert gallery.stats().size_bytes < pages * 4096 / 2
