"""The index in plain numpy: what a test uses that has no faiss, and what the real one is checked against."""

from __future__ import annotations

import numpy as np

from index.vectors import F32, I64


class NumpyIndex:
    """`index.search.TemplateIndex` by one matrix product and a sort. Exact; slow from some 10,000 templates on.

    It is used where it is asked for by name, never in place of an engine that is absent.
    """

    def __init__(self, dim: int) -> None:
        self._templates: F32 = np.empty((0, dim), np.float32)
        self._owners: I64 = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, templates: F32, owners: I64) -> None:
        """See `TemplateIndex.add`."""
        self._templates = np.concatenate([self._templates, templates])
        self._owners = np.concatenate([self._owners, owners])

    def remove(self, owners: I64) -> None:
        """See `TemplateIndex.remove`."""
        kept = ~np.isin(self._owners, owners)
        self._templates = self._templates[kept]
        self._owners = self._owners[kept]

    def nearest(self, probes: F32, count: int) -> tuple[F32, I64]:
        """See `TemplateIndex.nearest`."""
        scores = probes @ self._templates.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, order, axis=1), self._owners[order]
