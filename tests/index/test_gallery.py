from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import DuplicatePerson, NameRefused, NameTaken, UnknownIdentity, VectorError
from index.gallery import Gallery
from index.identity import Identity
from index.search import IndexFactory
from index.store import Change
from tests.index.people import (
    DIM,
    ENGINES,
    MODEL,
    alike,
    assert_matches_truth,
    enrol,
    faces,
    names_of,
    open_gallery,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


def test_nobody_is_found_in_an_empty_gallery(path: Path) -> None:
    with open_gallery(path) as gallery:
        matches = gallery.search(faces(3, 0), k=2)
    np.testing.assert_array_equal(matches.identity_index, np.full((3, 2), -1))
    np.testing.assert_array_equal(matches.scores, np.full((3, 2), -1.0))
    assert (matches.identity_index.dtype.name, matches.scores.dtype.name) == ("int64", "float32")
    assert (matches.identities, matches.version, len(matches)) == ((), 0, 3)
    assert matches.identity(0) is None


@pytest.mark.parametrize("engine", [pytest.param(make, id=name) for name, make in ENGINES.items()])
def test_search_answers_with_people_by_their_best_template(path: Path, engine: IndexFactory) -> None:
    truth = {f"person {number}": faces(number % 4 + 1, number) for number in range(30)}
    with open_gallery(path, index=engine) as gallery:
        for name, templates in truth.items():
            enrol(gallery, name, templates, twins=True)
        probes = faces(12, 1000)
        for k in (1, 2, 30, 40):
            assert_matches_truth(gallery.search(probes, k), probes, truth)
    with open_gallery(path, index=engine) as reopened:
        matches = reopened.search(probes)
        assert matches.version == reopened.version == 30
        assert_matches_truth(matches, probes, truth)


def test_one_person_leaves_no_runner_up(path: Path) -> None:
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", faces(5, 0))
        matches = gallery.search(faces(5, 0)[3:4])
    np.testing.assert_array_equal(matches.identity_index, [[0, -1]])
    np.testing.assert_allclose(matches.scores, [[1.0, -1.0]], atol=1e-6)
    assert names_of(matches) == ["Ada", None]


@pytest.mark.parametrize("k", [0, -1])
def test_a_search_for_fewer_than_one_person_is_refused(path: Path, k: int) -> None:
    with open_gallery(path) as gallery, pytest.raises(VectorError, match=f"k: expected at least 1, got {k}"):
        gallery.search(faces(1, 0), k)


def test_probes_are_checked(path: Path) -> None:
    with open_gallery(path) as gallery, pytest.raises(VectorError, match=r"probes: expected .* L2-normalise"):
        gallery.search(faces(1, 0) * np.float32(2))


def test_enrolling_again_adds_templates_to_the_same_person(path: Path) -> None:
    clock = count(1000)
    with Gallery.open(path, model=MODEL, dim=DIM, now_ns=lambda: next(clock)) as gallery:
        first = enrol(gallery, "Ada Lovelace", faces(2, 0))
        again = enrol(gallery, " ADA LOVELACE ", faces(3, 1))
        assert (first.template_count, again.template_count) == (2, 5)
        assert (again.id, again.name, again.created_ns) == (first.id, "Ada Lovelace", first.created_ns)
        assert again.updated_ns > first.updated_ns >= first.created_ns
        assert gallery.get("ada lovelace") == again
        assert names_of(gallery.search(faces(3, 1)[2:]), 0) == ["Ada Lovelace", None]
        assert gallery.version == 2


def test_the_templates_keep_their_quality_and_where_they_came_from(path: Path) -> None:
    with open_gallery(path) as gallery:
        templates = faces(2, 0)
        qualities = np.array([0.25, 0.75], np.float32)
        sources = ["door/3", "photo\udcff.jpg"]
        gallery.enroll("Ada", templates, qualities=qualities, sources=sources, duplicate_threshold=0.5)
        rows = gallery._store._database.execute("SELECT vector, quality, source, model, dim FROM templates")
    assert rows == [
        (templates[0].tobytes(), 0.25, "door/3", MODEL, DIM),
        (templates[1].tobytes(), 0.75, "photo\\udcff.jpg", MODEL, DIM),
    ]


@pytest.mark.parametrize(
    ("similarity", "threshold", "refused"),
    [
        pytest.param(0.8, 0.5, True, id="above"),
        pytest.param(1.0, 1.0 - 1e-6, True, id="the-same-photo"),
        pytest.param(0.4, 0.5, False, id="below"),
    ],
)
def test_a_face_that_is_enrolled_already_is_refused(
    path: Path, similarity: float, threshold: float, refused: bool
) -> None:
    face = faces(1, 0)
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", face)
        new = np.concatenate([alike(face, -0.5), alike(face, similarity)])
        if refused:
            with pytest.raises(DuplicatePerson, match="'Bob' was not enrolled: a face matches 'Ada'") as caught:
                enrol(gallery, "Bob", new, threshold)
            assert caught.value.other == "Ada"
            assert caught.value.score == pytest.approx(similarity, abs=1e-5)
            assert gallery.version == 1
            assert [identity.name for identity in gallery.identities()] == ["Ada"]
            enrol(gallery, "Bob", new, threshold, twins=True)
        else:
            enrol(gallery, "Bob", new, threshold)
        assert [identity.name for identity in gallery.identities()] == ["Ada", "Bob"]


def test_more_of_ones_own_face_is_no_duplicate_but_anothers_is(path: Path) -> None:
    ada, bob = faces(2, 0)[:1], faces(2, 0)[1:]
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada", np.concatenate([alike(ada, 0.95, seed) for seed in range(100, 140)]), 0.9)
        enrol(gallery, "Bob", bob, 0.9)
        assert enrol(gallery, "Ada", ada, 0.9).template_count == 41
        with pytest.raises(DuplicatePerson, match="matches 'Bob'"):
            enrol(gallery, "Ada", np.concatenate([ada, alike(bob, 0.93)]), 0.9)


def test_an_enrolment_by_another_handle_counts_before_it_was_followed(path: Path) -> None:
    with open_gallery(path) as one, open_gallery(path) as other:
        enrol(one, "Ada", faces(1, 0))
        with pytest.raises(DuplicatePerson, match="matches 'Ada'"):
            enrol(other, "Bob", faces(1, 0))
        assert enrol(other, "ada", faces(1, 1), 0.99).template_count == 2


@pytest.mark.parametrize(
    ("qualities", "sources", "templates", "says"),
    [
        pytest.param([0.5], ["a", "b"], faces(2, 0), r"qualities: expected shape \(2,\)", id="too-few-qualities"),
        pytest.param([0.5, 1.5], ["a", "b"], faces(2, 0), "qualities: .* 1.5", id="quality-above-one"),
        pytest.param([0.5, np.nan], ["a", "b"], faces(2, 0), "qualities: .* nan", id="quality-nan"),
        pytest.param([0.5, 0.5], ["a"], faces(2, 0), "sources: expected 2 labels", id="too-few-sources"),
        pytest.param([0.5, 0.5], "ab", faces(2, 0), "sources: expected 2 labels", id="text-for-labels"),
        pytest.param([], [], faces(0, 0), "templates: expected at least one row", id="nothing"),
        pytest.param([0.5], ["a"], faces(1, 0) * 2, "templates: .* length 2", id="not-normalised"),
    ],
)
def test_what_cannot_be_enrolled_is_told(
    path: Path, qualities: list[float], sources: list[str], templates: NDArray[np.float32], says: str
) -> None:
    with open_gallery(path) as gallery:
        with pytest.raises(VectorError, match=says):
            gallery.enroll(
                "Ada",
                templates,
                qualities=np.asarray(qualities, np.float32),
                sources=sources,
                duplicate_threshold=0.5,
            )
        assert gallery.identities() == []


def test_a_threshold_that_refuses_nobody_is_refused(path: Path) -> None:
    with open_gallery(path) as gallery, pytest.raises(VectorError, match="duplicate_threshold"):
        enrol(gallery, "Ada", faces(1, 0), float("nan"))


def test_a_bad_name_is_refused_before_anything_is_written(path: Path) -> None:
    with open_gallery(path) as gallery:
        ada = enrol(gallery, "Ada", faces(1, 0))
        with pytest.raises(NameRefused, match="empty"):
            enrol(gallery, " ", faces(1, 1))
        with pytest.raises(NameRefused, match="control character"):
            gallery.rename("Ada", "A\nda")
        assert gallery.identities() == [ada]


def test_renaming_changes_the_name_and_nothing_else(path: Path) -> None:
    with open_gallery(path) as gallery:
        ada = enrol(gallery, "Ada", faces(2, 0))
        enrol(gallery, "Bob", faces(1, 1))
        renamed = gallery.rename("ada", "Ada King")
        assert (renamed.id, renamed.name, renamed.template_count) == (ada.id, "Ada King", 2)
        assert names_of(gallery.search(faces(2, 0)[1:])) == ["Ada King", "Bob"]
        assert gallery.rename(ada.id, "ADA king").name == "ADA king"
        assert gallery.version == 4
        with pytest.raises(NameTaken, match="'Bob' is taken"):
            gallery.rename("ADA KING", "bob")
        assert gallery.rename("Ada King", "ADA king").name == "ADA king"
        assert gallery.version == 4
        with pytest.raises(UnknownIdentity):
            gallery.get("Ada")


def test_who_is_removed_is_not_found_any_more(path: Path) -> None:
    with open_gallery(path) as gallery:
        for number, name in enumerate(["Ada", "Bob", "Cleo"]):
            enrol(gallery, name, faces(3, number))
        bob = gallery.get("Bob")
        assert gallery.remove("bob") == bob
        assert gallery.identity_count == 2
        assert "Bob" not in names_of(gallery.search(faces(3, 1), k=3))
        assert [identity.name for identity in gallery.identities()] == ["Ada", "Cleo"]
        assert names_of(gallery.search(faces(3, 2)[:1]))[0] == "Cleo"
        again = enrol(gallery, "Bob", faces(3, 1))
        assert again.id != bob.id
        assert names_of(gallery.search(faces(3, 1)[:1]))[0] == "Bob"


@pytest.mark.parametrize("do", ["get", "remove", "rename"])
def test_nobody_of_that_name_is_told_with_names_like_it(path: Path, do: str) -> None:
    with open_gallery(path) as gallery:
        enrol(gallery, "Ada Lovelace", faces(1, 0))
        enrol(gallery, "Charles Babbage", faces(1, 1))
        calls: dict[str, Callable[[str], Identity]] = {
            "get": gallery.get,
            "remove": gallery.remove,
            "rename": lambda name: gallery.rename(name, "Someone"),
        }
        call = calls[do]
        with pytest.raises(UnknownIdentity, match="did you mean 'Ada Lovelace'") as caught:
            call("ada lovelase")
        assert caught.value.near == ("Ada Lovelace",)
        with pytest.raises(UnknownIdentity, match="nobody in the gallery has the name or id") as caught:
            call("\udcff")
        assert caught.value.near == ()
        assert gallery.version == 2


def test_stats_and_audit_tell_what_is_there_and_what_was_done(path: Path) -> None:
    clock = count(1)
    with Gallery.open(path, model=MODEL, dim=DIM, now_ns=lambda: next(clock)) as gallery:
        ada = enrol(gallery, "Ada", faces(2, 0))
        bob = enrol(gallery, "Bob", faces(1, 1))
        enrol(gallery, "Ada", faces(1, 2))
        gallery.rename("Ada", "Ada King")
        gallery.remove("Bob")
        gallery._store._database.execute("UPDATE identities SET consent = 'signed', consent_ns = 5, expires_ns = 9")
        stats = gallery.stats()
        entries = gallery.audit()
    assert (stats.version, stats.model, stats.dim, stats.identities, stats.templates) == (5, MODEL, DIM, 1, 3)
    assert (stats.with_consent, stats.with_expiry, stats.erasure_pending) == (1, 1, False)
    assert (stats.path, stats.size_bytes > 4096) == (path, True)
    assert [(entry.action, entry.identity_id) for entry in entries] == [
        (Change.ENROLLED, ada.id),
        (Change.ENROLLED, bob.id),
        (Change.EXTENDED, ada.id),
        (Change.RENAMED, ada.id),
        (Change.REMOVED, bob.id),
    ]
    assert sorted(entry.at_ns for entry in entries) == [entry.at_ns for entry in entries]
