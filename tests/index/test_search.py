import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.errors import SearchEngineMissing
from index.search import FaissIndex, IndexFactory, TemplateIndex, best_owners
from index.vectors import F32, I64
from tests.index.people import DIM, ENGINES, alike, faces

REPOSITORY = Path(__file__).parents[2]
every_engine = pytest.mark.parametrize("engine", [pytest.param(make, id=name) for name, make in ENGINES.items()])


def brute_force(templates: F32, owners: I64, probes: F32, k: int) -> tuple[F32, I64]:
    scores = np.full((len(probes), k), -1, np.float32)
    best = np.full((len(probes), k), -1, np.int64)
    for row, probe in enumerate(probes):
        of_owner = {int(owner): float((templates[owners == owner] @ probe).max()) for owner in np.unique(owners)}
        for rank, owner in enumerate(sorted(of_owner, key=lambda owner: -of_owner[owner])[:k]):
            scores[row, rank], best[row, rank] = of_owner[owner], owner
    return scores, best


def fill(engine: IndexFactory, templates: F32, owners: I64) -> TemplateIndex:
    index = engine(templates.shape[1])
    index.add(templates, owners)
    return index


@every_engine
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(
    "template_counts",
    [
        pytest.param([1], id="one-person"),
        pytest.param([1] * 40, id="one-template-each"),
        pytest.param([3, 1, 7, 2, 5] * 8, id="some-each"),
        pytest.param([500, 1, 1, 300, 1, 1, 1], id="many-of-two"),
    ],
)
def test_the_best_people_are_those_of_brute_force(engine: IndexFactory, k: int, template_counts: list[int]) -> None:
    owners = np.random.default_rng(1).permutation(np.repeat(np.arange(len(template_counts)) + 100, template_counts))
    templates, probes = faces(len(owners), 2), faces(25, 3)
    scores, best = best_owners(fill(engine, templates, owners), probes, k)
    expected_scores, expected = brute_force(templates, owners, probes, k)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    np.testing.assert_array_equal(best, expected)


@every_engine
def test_the_runner_up_is_found_behind_a_thousand_templates_of_the_best(engine: IndexFactory) -> None:
    face = faces(1, 5)
    crowd = np.concatenate([alike(face, 0.9, seed) for seed in range(1000, 2000)])
    templates = np.concatenate([crowd, alike(face, 0.4), -face])
    index = fill(engine, templates, np.array([7] * 1000 + [8, 9], np.int64))
    scores, best = best_owners(index, face, 3)
    np.testing.assert_array_equal(best, [[7, 8, 9]])
    np.testing.assert_allclose(scores, [[0.9, 0.4, -1.0]], atol=1e-5)


@every_engine
def test_removed_owners_are_not_found_and_the_others_are(engine: IndexFactory) -> None:
    owners = np.repeat(np.arange(10), 4)
    templates, probes = faces(40, 6), faces(8, 7)
    index = fill(engine, templates, owners)
    index.remove(np.array([0, 3, 9, 777], np.int64))
    kept = ~np.isin(owners, [0, 3, 9])
    assert len(index) == kept.sum()
    np.testing.assert_array_equal(
        best_owners(index, probes, 3)[1], brute_force(templates[kept], owners[kept], probes, 3)[1]
    )
    added, added_owners = faces(6, 8), np.array([3, 3, 50, 51, 51, 0], np.int64)
    index.add(added, added_owners)
    everything = np.concatenate([templates[kept], added]), np.concatenate([owners[kept], added_owners])
    np.testing.assert_array_equal(best_owners(index, probes, 3)[1], brute_force(*everything, probes, 3)[1])


@every_engine
def test_an_empty_index_and_no_probes_have_answers_of_the_right_shape(engine: IndexFactory) -> None:
    scores, best = best_owners(engine(DIM), faces(3, 0), 2)
    np.testing.assert_array_equal(scores, np.full((3, 2), -1, np.float32))
    np.testing.assert_array_equal(best, np.full((3, 2), -1, np.int64))
    full = fill(engine, faces(2, 0), np.array([1, 2], np.int64))
    assert [part.shape for part in best_owners(full, np.empty((0, DIM), np.float32), 2)] == [(0, 2), (0, 2)]


def test_without_faiss_the_extra_is_named_and_nothing_else_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SearchEngineMissing, match=r"pip install 'vidface\[cpu\]'"):
        FaissIndex(DIM)


def test_faiss_is_not_imported_before_an_index_is_made() -> None:
    code = "import sys, index.gallery; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_faiss_has_one_door() -> None:
    doors = [path.name for path in (REPOSITORY / "index").glob("*.py") if "import faiss" in path.read_text("utf-8")]
    assert doors == ["search.py"]
