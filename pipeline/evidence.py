"""What has been seen of one face: its best shots and the template they fuse into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.faces import F32


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An enrolled person and how similar the probe was.

    Attributes:
        id: The identity's id in the gallery.
        name: Its name at that time.
        score: Cosine similarity in -1..1.
    """

    id: str
    name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One embedded face of a track.

    Attributes:
        template: ``(D,)`` float32 of unit length.
        quality: In 0..1, see `quality`; over 0.
        pts_ns: Its frame's media time.
        geometric: The quality that it was chosen by, before a pixel was read.
        best: The most similar enrolled person to this shot alone; None in an empty gallery.
    """

    template: F32
    quality: float
    pts_ns: int
    geometric: float = 0.0
    best: Candidate | None = None


class Evidence:
    """The best shots of one track, at most `capacity` of them. Not safe for several threads at once."""

    def __init__(self, capacity: int = 12) -> None:
        self._capacity = capacity
        self._shots: list[Shot] = []

    def __len__(self) -> int:
        return len(self._shots)

    @property
    def shots(self) -> tuple[Shot, ...]:
        """In the order in which they were taken."""
        return tuple(self._shots)

    @property
    def weight(self) -> float:
        """The sum of the shots' qualities: how much evidence there is."""
        return sum(shot.quality for shot in self._shots)

    @property
    def best_quality(self) -> float:
        """The best shot's quality; 0 when there is none."""
        return max((shot.quality for shot in self._shots), default=0.0)

    def could_gain_from(self, geometric: float) -> bool:
        """Whether a shot that promises this geometric quality could better the evidence: always while there is room."""
        if len(self._shots) < self._capacity:
            return True
        return geometric > min(self._shots, key=lambda kept: kept.quality).geometric

    def add(self, shot: Shot) -> bool:
        """Take a shot in; False if it is weaker than all that are kept and there is no room."""
        if len(self._shots) == self._capacity:
            weakest = min(self._shots, key=lambda kept: kept.quality)
            if shot.quality <= weakest.quality:
                return False
            self._shots.remove(weakest)
        self._shots.append(shot)
        return True

    def replace_shots(self, shots: list[Shot]) -> None:
        """The same shots, matched anew against a changed gallery."""
        self._shots = shots

    def fused(self) -> F32:
        """``(D,)`` float32 of unit length: the mean of the templates, weighted by quality.

        Raises:
            ValueError: There is no shot yet.
        """
        if not self._shots:
            raise ValueError("no shots to fuse")
        return fuse(
            np.stack([shot.template for shot in self._shots]),
            np.array([shot.quality for shot in self._shots], np.float32),
        )


def fuse(templates: F32, qualities: F32) -> F32:
    """One template for several of the same face.

    Args:
        templates: ``(S, D)`` unit rows.
        qualities: ``(S,)`` weights over 0.

    Returns:
        ``(D,)`` float32: the weighted mean, scaled to unit length.
    """
    mean = np.average(templates, axis=0, weights=qualities)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), float(np.finfo(np.float32).tiny)), np.float32)
