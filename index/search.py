"""Exact nearest people: a flat index of templates, and the step from templates to people.

A person may have many templates, so the nearest k templates may all be of one person. The k nearest *people*
are found by asking for more templates until k different owners are among them. As templates come in order of
their score, the first one of an owner is that owner's best, and no owner further down can beat it: the answer
is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from index.errors import SearchEngineMissing
from index.matches import NO_IDENTITY, NO_SCORE
from index.vectors import F32, I64

FIRST_FETCH = 16
"""Templates asked for at first; enough for two people of up to fifteen templates each."""

ONE_THREAD_UNDER = 100_000
"""Comparisons of a search below which one thread does them."""

FETCH_GROWTH = 4
"""How much further each next look goes, for the probes that need it."""


class TemplateIndex(Protocol):
    """Templates in memory, each with the number of its owner. One thread at a time."""

    def __len__(self) -> int:
        """How many templates it holds."""
        ...

    def add(self, templates: F32, owners: I64) -> None:
        """Take in ``(N, D)`` float32 unit rows, C-contiguous, and their ``(N,)`` int64 owners."""
        ...

    def remove(self, owners: I64) -> None:
        """Forget every template of these ``(M,)`` owners; an owner without templates is no error."""
        ...

    def nearest(self, probes: F32, count: int) -> tuple[F32, I64]:
        """The best templates of ``(N, D)`` unit probes, 1 <= count <= len(self).

        Returns:
            ``(N, count)`` float32 cosine similarities, falling, and the ``(N, count)`` int64 owners beside
            them.
        """
        ...


IndexFactory = Callable[[int], TemplateIndex]
"""Makes an empty index for vectors of that many dimensions."""


class FaissIndex:
    """`TemplateIndex` over FAISS's flat inner-product index: exact, on the CPU.

    Raises:
        SearchEngineMissing: faiss is not installed.
    """

    def __init__(self, dim: int) -> None:
        self._faiss: Any = _import_faiss()
        self._flat: Any = self._faiss.IndexFlatIP(dim)
        self._threads: int = self._faiss.omp_get_max_threads()
        # The flat index numbers its rows 0..n-1 and closes the gaps when some are removed, in order; so does
        # this.
        self._owners: I64 = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, templates: F32, owners: I64) -> None:
        """See `TemplateIndex.add`."""
        self._flat.add(templates)
        self._owners = np.concatenate([self._owners, owners])

    def remove(self, owners: I64) -> None:
        """See `TemplateIndex.remove`; moves what is behind the removed rows, so it takes time linear in the size."""
        gone = np.isin(self._owners, owners)
        if gone.any():
            self._flat.remove_ids(np.flatnonzero(gone).astype(np.int64))
            self._owners = self._owners[~gone]

    def nearest(self, probes: F32, count: int) -> tuple[F32, I64]:
        """See `TemplateIndex.nearest`."""
        # Waking a team of threads takes longer than looking through a few templates; the number is this thread's own.
        small = len(self._owners) * len(probes) < ONE_THREAD_UNDER
        self._faiss.omp_set_num_threads(1 if small else self._threads)
        scores, rows = self._flat.search(probes, count)
        return scores, self._owners[rows]


def best_owners(index: TemplateIndex, probes: F32, k: int) -> tuple[F32, I64]:
    """The k owners most like each probe, by the best of their templates.

    Args:
        index: The templates.
        probes: ``(N, D)`` float32 unit rows, C-contiguous.
        k: How many owners; at most as many as the index has, else every template is looked at.

    Returns:
        ``(N, k)`` float32 cosine similarities, falling, and ``(N, k)`` int64 owners; -1.0 and -1 where there
        is none.
    """
    best_scores = np.full((len(probes), k), NO_SCORE, np.float32)
    best = np.full((len(probes), k), NO_IDENTITY, np.int64)
    fetch = min(len(index), max(FIRST_FETCH, FETCH_GROWTH * k))
    open_rows = np.arange(len(probes) if fetch and k else 0)
    while len(open_rows):
        scores, owners = index.nearest(probes[open_rows], fetch)
        still_open = []
        for row, row_scores, row_owners in zip(open_rows, scores, owners, strict=True):
            firsts = np.sort(np.unique(row_owners, return_index=True)[1])[:k]
            best_scores[row, : len(firsts)] = row_scores[firsts]
            best[row, : len(firsts)] = row_owners[firsts]
            if len(firsts) < k and fetch < len(index):
                still_open.append(row)
        open_rows = np.asarray(still_open, np.int64)
        fetch = min(len(index), fetch * FETCH_GROWTH)
    return best_scores, best


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise SearchEngineMissing(
            f"searching a gallery needs faiss, which cannot be imported ({error}): pip install 'vidface[cpu]'"
        ) from error
    return faiss
