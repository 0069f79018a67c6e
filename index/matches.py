"""What a search answers: for each probe the people most like it."""

from __future__ import annotations

from dataclasses import dataclass

from index.identity import Identity
from index.vectors import F32, I64

NO_IDENTITY = -1
"""The row number that stands for nobody."""

NO_SCORE = -1.0
"""The score of nobody: the lowest cosine similarity. Finite, so that margins are numbers and JSON can hold it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """The best k people of N probes, the best first; row i answers probe i.

    Attributes:
        identity_index: ``(N, k)`` int64, rows of `identities`; -1 where the gallery has fewer than k people.
        scores: ``(N, k)`` float32 cosine similarity, the highest over a person's templates; -1.0 beside -1.
        identities: Everyone in the gallery at that version.
        version: The gallery's version that was searched.
    """

    identity_index: I64
    scores: F32
    identities: tuple[Identity, ...]
    version: int

    def __len__(self) -> int:
        return len(self.scores)

    def identity(self, row: int, rank: int = 0) -> Identity | None:
        """The person at this rank for this probe, or None where there is nobody."""
        found = int(self.identity_index[row, rank])
        return None if found == NO_IDENTITY else self.identities[found]
