"""Handles that follow each other, in one process and in several."""

import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import DuplicatePerson, NameTaken, UnknownIdentity
from index.gallery import Gallery
from index.store import Change
from index.vectors import F32, I64
from tests.index.other_process import OtherProcess
from tests.index.people import assert_matches_truth, enrol, faces, names_of, open_gallery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


def test_refresh_tells_whether_something_changed(path: Path) -> None:
    with open_gallery(path) as follower, open_gallery(path) as writer:
        assert follower.refresh() is False
        enrol(writer, "Ada", faces(1, 0))
        assert follower.version == 0
        assert names_of(follower.search(faces(1, 0))) == [None, None]
        assert follower.refresh() is True
        assert follower.version == writer.version == 1
        assert names_of(follower.search(faces(1, 0))) == ["Ada", None]
        assert follower.refresh() is False
        assert writer.refresh() is False


def test_refresh_reads_nothing_when_nothing_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", faces(1, 0))
        statements: list[str] = []
        gallery._store._database._connection.set_trace_callback(statements.append)
        assert gallery.refresh() is False
    assert statements == ["PRAGMA data_version"]


def test_a_follower_reads_only_whom_the_log_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_gallery(path) as follower, open_gallery(path) as writer:
        for number in range(20):
            enrol(writer, f"person {number}", faces(2, number), twins=True)
        follower.refresh()
        read: list[Collection[int] | None] = []
        templates = follower._store.templates

        def noting(people: Collection[int] | None = None) -> tuple[F32, I64]:
            read.append(people)
            return templates(people)

        monkeypatch.setattr(follower._store, "templates", noting)
        enrol(writer, "person 3", faces(1, 100), twins=True)
        writer.remove("person 4")
        assert follower.refresh() is True
        assert [len(people) for people in read if people is not None] == [1]


def test_a_log_that_does_not_reach_back_means_reading_all(path: Path) -> None:
    with open_gallery(path) as follower, open_gallery(path) as writer:
        enrol(writer, "Ada", faces(1, 0))
        follower.refresh()
        writer.remove("Ada")
        enrol(writer, "Bob", faces(1, 1))
        writer._store._database.execute("DELETE FROM changes WHERE version = 2")
        assert follower.refresh() is True
        assert_matches_truth(follower.search(faces(3, 9)), faces(3, 9), {"Bob": faces(1, 1)})


def test_a_follower_that_fails_half_way_loads_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    with open_gallery(path) as follower, open_gallery(path) as writer:
        enrol(writer, "Ada", faces(2, 0))
        follower.refresh()
        enrol(writer, "Bob", faces(2, 1))
        with monkeypatch.context() as patch:
            patch.setattr("index.search.FaissIndex.add", no_memory)
            with pytest.raises(MemoryError):
                follower.refresh()
        assert follower.refresh() is True
        assert_matches_truth(follower.search(faces(4, 9)), faces(4, 9), {"Ada": faces(2, 0), "Bob": faces(2, 1)})


def test_another_process_is_followed(path: Path) -> None:
    with open_gallery(path) as follower, OtherProcess(path) as other:
        other.ask("open")
        probes = faces(6, 1)
        ada = other.ask("enrol", name="Ada", count=2, seed=0)
        other.ask("enrol", name="Bob", count=6, seed=1)
        assert follower.refresh() is True
        assert_matches_truth(follower.search(probes), probes, {"Ada": faces(2, 0), "Bob": faces(6, 1)})
        assert follower.get("ada").id == ada

        other.ask("rename", name="Ada", new_name="Ada King")
        assert follower.refresh() is True
        assert follower.get(ada).name == "Ada King"
        assert "Ada King" in names_of(follower.search(probes))

        other.ask("remove", name="Bob")
        assert follower.refresh() is True
        assert_matches_truth(follower.search(probes), probes, {"Ada King": faces(2, 0)})
        assert follower.refresh() is False

        enrol(follower, "Cleo", faces(1, 2))
        assert other.ask("audit") == [
            Change.ENROLLED,
            Change.ENROLLED,
            Change.RENAMED,
            Change.REMOVED,
            Change.ENROLLED,
        ]
        assert follower.version == 5


def test_of_two_processes_that_enrol_one_face_one_is_refused(path: Path) -> None:
    with open_gallery(path) as gallery, OtherProcess(path) as one, OtherProcess(path) as other:
        for process in (one, other):
            process.ask("open")
        for seed in range(10):
            one.start("enrol", name=f"one {seed}", count=1, seed=seed, threshold=0.95)
            other.start("enrol", name=f"other {seed}", count=1, seed=seed, threshold=0.95)
            answers = [one.answer(), other.answer()]
            refused = [answer["error"] for answer in answers if isinstance(answer, dict)]
            assert refused == ["DuplicatePerson"]
        assert len(gallery.identities()) == 10
        assert gallery.stats().version == 10


def test_a_process_killed_while_it_enrols_leaves_nothing_behind(path: Path) -> None:
    with open_gallery(path) as gallery, OtherProcess(path) as other:
        enrol(gallery, "Ada", faces(1, 0))
        assert other.ask("hold") == "held"
        other.kill()
        enrol(gallery, "Bob", faces(1, 1))
        assert [identity.name for identity in gallery.identities()] == ["Ada", "Bob"]
        assert gallery.version == 2


NAMES = st.sampled_from(["Ada", "Bob", "Cleo", "Dan"])
ACTIONS = st.one_of(
    st.tuples(st.just("enrol"), NAMES, st.integers(1, 4), st.integers(0, 30)),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("remove"), NAMES),
)
PROPERTY_DIM = 4  # so few dimensions that strangers are often alike
THRESHOLD = 0.8


def apply_plainly(truth: dict[str, list[F32]], action: tuple[object, ...]) -> type[Exception] | None:
    """What an action does to the truth, or why the gallery must refuse it."""
    match action:
        case ("enrol", str(name), int(count), int(seed)):
            new = faces(count, seed, PROPERTY_DIM)
            others = [row for other, rows in truth.items() if other != name for row in rows]
            if others and np.max(new @ np.stack(others).T) >= THRESHOLD:
                return DuplicatePerson
            truth.setdefault(name, []).extend(new)
        case ("rename", str(name), str(new_name)):
            if name not in truth:
                return UnknownIdentity
            if new_name != name and new_name in truth:
                return NameTaken
            truth[new_name] = truth.pop(name)
        case ("remove", str(name)):
            if truth.pop(name, None) is None:
                return UnknownIdentity
    return None


def apply(gallery: Gallery, action: tuple[object, ...]) -> type[Exception] | None:
    try:
        match action:
            case ("enrol", str(name), int(count), int(seed)):
                enrol(gallery, name, faces(count, seed, PROPERTY_DIM), THRESHOLD)
            case ("rename", str(name), str(new_name)):
                gallery.rename(name, new_name)
            case ("remove", str(name)):
                gallery.remove(name)
    except (DuplicatePerson, NameTaken, UnknownIdentity) as error:
        return type(error)
    return None


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 1), ACTIONS, st.booleans()), max_size=14))
def test_after_any_changes_by_two_handles_both_search_the_truth(
    steps: list[tuple[int, tuple[object, ...], bool]],
) -> None:
    probes = faces(5, 777, PROPERTY_DIM)
    truth: dict[str, list[F32]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.db"
        with open_gallery(path, dim=PROPERTY_DIM) as one, open_gallery(path, dim=PROPERTY_DIM) as two:
            handles = [one, two]
            versions = [0]
            for which, action, look in steps:
                assert apply(handles[which], action) == apply_plainly(truth, action)
                versions.append(handles[which].stats().version)
                if look:  # a handle also has to cope with many changes at once
                    continue
                for handle in handles:
                    handle.refresh()
                    assert_matches_truth(handle.search(probes, 3), probes, truth)
            assert versions == sorted(versions)
            for handle in handles:
                handle.refresh()
                assert handle.version == versions[-1]
                assert_matches_truth(handle.search(probes, 3), probes, truth)
            with open_gallery(path, dim=PROPERTY_DIM) as fresh:
                assert_matches_truth(fresh.search(probes, 3), probes, truth)
