import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.errors import (
    GalleryBusy,
    GalleryCorrupt,
    GalleryFull,
    GalleryReplaced,
    GalleryTooNew,
    GalleryUnreachable,
    NotAGallery,
    WrongModel,
)
from tests.index.people import enrol, faces, names_of, open_gallery

NOBODY_UID = 65534


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that exists and cannot be written to, by the user that the test runs as meanwhile."""
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    try:
        if root:  # nothing is closed to root
            os.seteuid(NOBODY_UID)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "gallery.db"
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        modes = {part.name: stat.S_IMODE(part.stat().st_mode) for part in path.parent.iterdir()}
    assert modes == {"gallery.db": 0o600, "gallery.db-wal": 0o600, "gallery.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    open_gallery(path).close()
    path.chmod(0o644)
    with open_gallery(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_connection_keeps_its_promises(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        execute = gallery._store._database.execute
        pragmas = ("journal_mode", "secure_delete", "synchronous", "foreign_keys", "busy_timeout", "temp_store")
        assert [execute(f"PRAGMA {pragma}")[0][0] for pragma in pragmas] == ["wal", 1, 2, 1, 10_000, 2]


def test_many_may_make_the_same_gallery_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"

    def make(number: int) -> None:
        with open_gallery(path) as gallery:
            enrol(gallery, f"person {number}", faces(1, number), twins=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(16)))
    with open_gallery(path) as gallery:
        assert gallery.version == 16
        assert {identity.name for identity in gallery.identities()} == {f"person {number}" for number in range(16)}


def test_an_empty_file_that_a_crash_left_becomes_a_gallery(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    path.touch()
    with open_gallery(path) as gallery:
        assert enrol(gallery, "Ada", faces(1, 0)).name == "Ada"


@pytest.mark.parametrize("folder", [".", "below"])
def test_a_folder_that_cannot_be_written_is_named(closed_folder: Path, folder: str) -> None:
    path = closed_folder / folder / "gallery.db"
    with pytest.raises(GalleryUnreachable, match="choose a data folder") as caught:
        open_gallery(path)
    assert str(path.absolute()) in str(caught.value)


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(GalleryUnreachable, match=str(tmp_path)):
        open_gallery(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"name,photo\nAda,ada.jpg\n", id="short-text"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 64, id="picture"),
    ],
)
def test_another_kind_of_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gallery.db"
    path.write_bytes(content)
    with pytest.raises(NotAGallery, match=rf"{path}: .*move it away"):
        open_gallery(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(NotAGallery, match=r"database of something else"):
        open_gallery(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        gallery._store._database.execute("PRAGMA user_version = 2")
    with pytest.raises(GalleryTooNew, match=r"version 2, and this vidface knows versions up to 1; upgrade vidface"):
        open_gallery(path)


@pytest.mark.parametrize(("model", "dim"), [("other-embedder", 16), ("test-embedder", 32)])
def test_another_embedder_is_refused(tmp_path: Path, model: str, dim: int) -> None:
    path = tmp_path / "gallery.db"
    open_gallery(path).close()
    with pytest.raises(WrongModel, match=rf"test-embedder \(16 numbers a face\), and {model} \({dim}\) is configured"):
        open_gallery(path, model=model, dim=dim)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        for number in range(100):
            enrol(gallery, f"person {number}", faces(3, number), twins=True)
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(GalleryCorrupt, match=rf"{path}: .*restore it from a backup"):
        open_gallery(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("UPDATE templates SET vector = zeroblob(64)", id="length-zero"),
        pytest.param("UPDATE templates SET vector = substr(vector, 5)", id="short"),
        pytest.param("UPDATE templates SET model = 'other'", id="other-model"),
        pytest.param("DELETE FROM templates", id="person-without-templates"),
        pytest.param("PRAGMA foreign_keys = OFF; DELETE FROM identities", id="templates-without-person"),
        pytest.param("DELETE FROM meta WHERE key = 'version'", id="no-version"),
    ],
)
def test_damaged_rows_are_told_and_never_matched(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        for statement in damage.split(";"):
            gallery._store._database.execute(statement)
    with pytest.raises(GalleryCorrupt, match="restore it from a backup"):
        open_gallery(path)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    with open_gallery(tmp_path / "gallery.db") as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        execute = gallery._store._database.execute
        execute(f"PRAGMA max_page_count = {execute('PRAGMA page_count')[0][0]}")
        with pytest.raises(GalleryFull, match=r"gallery\.db: database or disk is full; free some space"):
            enrol(gallery, "Bob", faces(500, 1), twins=True)
        assert gallery.version == 1
        assert [identity.name for identity in gallery.identities()] == ["Ada"]
        assert names_of(gallery.search(faces(1, 1))) == ["Ada", None]
        execute("PRAGMA max_page_count = 1000000")
        enrol(gallery, "Bob", faces(500, 1), twins=True)
        assert names_of(gallery.search(faces(1, 1))) == ["Bob", "Ada"]


def test_a_writer_that_does_not_finish_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.database.BUSY_TIMEOUT_S", 0)
    path = tmp_path / "gallery.db"
    with open_gallery(path) as one, open_gallery(path) as other:
        with one._store.writing(), pytest.raises(GalleryBusy, match="another process is writing"):
            enrol(other, "Ada", faces(1, 0))
        assert enrol(other, "Ada", faces(1, 0)).name == "Ada"


@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_a_file_replaced_under_an_open_gallery_is_told(tmp_path: Path, instead: str) -> None:
    path = tmp_path / "gallery.db"
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        path.rename(tmp_path / "moved.db")
        if instead == "another":
            path.touch()
        with pytest.raises(GalleryReplaced, match="deleted or replaced"):
            gallery.refresh()
        with pytest.raises(GalleryReplaced, match="deleted or replaced"):
            enrol(gallery, "Bob", faces(1, 1))
