"""Made-up faces, and the plain answer to who is nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from index.fake import NumpyIndex
from index.gallery import Gallery
from index.identity import Identity
from index.matches import Matches
from index.search import FaissIndex, IndexFactory
from index.vectors import F32

DIM = 16
MODEL = "test-embedder"
ENGINES: dict[str, IndexFactory] = {"faiss": FaissIndex, "numpy": NumpyIndex}


def faces(count: int, seed: int, dim: int = DIM) -> F32:
    """(count, dim) unit rows; the same for the same seed."""
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def alike(face: F32, similarity: float, seed: int = 99) -> F32:
    """One (1, D) unit row with this cosine similarity to a (1, D) unit row."""
    other = faces(1, seed, face.shape[1])
    across = other - (other @ face.T) * face
    across /= np.linalg.norm(across)
    return np.asarray(similarity * face + np.sqrt(1 - similarity**2) * across, np.float32)


def open_gallery(path: Path, *, model: str = MODEL, dim: int = DIM, index: IndexFactory = FaissIndex) -> Gallery:
    return Gallery.open(path, model=model, dim=dim, index=index)


def enrol(gallery: Gallery, name: str, templates: F32, threshold: float = 0.99, *, twins: bool = False) -> Identity:
    return gallery.enroll(
        name,
        templates,
        qualities=np.full(len(templates), 0.5, np.float32),
        sources=[f"shot {row}" for row in range(len(templates))],
        duplicate_threshold=threshold,
        allow_duplicate=twins,
    )


def names_of(matches: Matches, row: int = 0) -> list[str | None]:
    found = [matches.identity(row, rank) for rank in range(matches.scores.shape[1])]
    return [identity.name if identity else None for identity in found]


def assert_matches_truth(matches: Matches, probes: F32, truth: Mapping[str, Sequence[F32] | F32]) -> None:
    """Compare with the plain answer: each person's best score over all their templates, highest first."""
    assert {identity.name for identity in matches.identities} == set(truth)
    for row, probe in enumerate(probes):
        score_of = {name: float(np.max(np.stack(list(rows)) @ probe)) for name, rows in truth.items()}
        expected = sorted(score_of.values(), reverse=True)[: matches.scores.shape[1]]
        expected += [-1.0] * (matches.scores.shape[1] - len(expected))
        np.testing.assert_allclose(matches.scores[row], expected, atol=1e-5)
        known = [name for name in names_of(matches, row) if name is not None]
        assert len(known) == len(set(known)) == min(len(truth), matches.scores.shape[1])
        # Each name has the score beside it: compared by score, so that equal scores may come in either order.
        np.testing.assert_allclose(matches.scores[row, : len(known)], [score_of[name] for name in known], atol=1e-5)
