import sqlite3
from pathlib import Path

import pytest

from index import errors

PATH = Path("data/gallery.db")


@pytest.mark.parametrize(
    ("code", "kind", "builtin", "says"),
    [
        pytest.param(sqlite3.SQLITE_FULL, errors.GalleryFull, OSError, "free some space", id="full"),
        pytest.param(sqlite3.SQLITE_BUSY, errors.GalleryBusy, TimeoutError, "try again", id="busy"),
        pytest.param(sqlite3.SQLITE_BUSY_SNAPSHOT, errors.GalleryBusy, TimeoutError, "try again", id="extended-code"),
        pytest.param(sqlite3.SQLITE_READONLY, errors.GalleryUnreachable, PermissionError, "writable", id="read-only"),
        pytest.param(sqlite3.SQLITE_CANTOPEN, errors.GalleryUnreachable, PermissionError, "folder", id="cannot-open"),
        pytest.param(sqlite3.SQLITE_CORRUPT, errors.GalleryCorrupt, ValueError, "backup", id="corrupt"),
        pytest.param(sqlite3.SQLITE_NOTADB, errors.NotAGallery, ValueError, "no SQLite file", id="not-a-database"),
        pytest.param(sqlite3.SQLITE_IOERR, errors.StorageError, OSError, "check the disk", id="input-output"),
        pytest.param(sqlite3.SQLITE_MISUSE, errors.StorageError, OSError, "not expected", id="anything-else"),
    ],
)
def test_what_sqlite_says_becomes_what_to_do(
    code: int, kind: type[errors.StorageError], builtin: type[Exception], says: str
) -> None:
    raised = sqlite3.OperationalError("what it said")
    raised.sqlite_errorcode = code
    error = errors.storage_error(PATH, raised)
    assert type(error) is kind
    assert isinstance(error, builtin)
    assert error.path == PATH
    assert str(PATH) in str(error)
    assert "what it said" in str(error)
    assert says in str(error)


def test_every_error_is_of_the_tree_and_of_a_builtin() -> None:
    builtins = (OSError, ValueError, LookupError, ImportError)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) == 17
    for kind in set(kinds) - {errors.GalleryError}:
        assert issubclass(kind, errors.GalleryError)
        assert issubclass(kind, builtins)
        assert kind.__name__ in (errors.__doc__ or "")
