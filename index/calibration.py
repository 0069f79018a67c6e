"""The similarity that a match must reach, from how often a stranger may be taken for somebody enrolled.

A stranger is compared with everyone in the gallery, so with N people the chance that one of them comes too near is
about N times that of a single pair (exactly ``1 - (1 - FMR)^N``). The threshold is read off the embedder's measured
curve of false match rate against similarity, interpolated on a logarithmic rate. Terms as in ISO/IEC 19795-1: FMR is
the false match rate of one comparison, FPIR the false positive identification rate of one search.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A measured curve.

    Attributes:
        points: Pairs of (false match rate, cosine similarity), from the highest rate to the lowest; the similarities
            rise.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        rates = [rate for rate, _ in self.points]
        scores = [score for _, score in self.points]
        falling = all(a > b > 0 for a, b in pairwise(rates))
        rising = all(a < b for a, b in pairwise(scores))
        if len(self.points) < 2 or not falling or not rising:
            raise ValueError(
                f"a calibration needs two points or more, rates falling and similarities rising; got {self.points}"
            )

    def threshold_for(self, false_positive_rate: float, people: int) -> float:
        """The least similarity at which a stranger is named with at most this probability.

        Beyond the measured curve it goes on along its last slope, for no measurement is better than none only if the
        answer errs towards refusing; before its first point it stays there.

        Args:
            false_positive_rate: FPIR, over 0 and below 1.
            people: How many are enrolled; an empty gallery counts as one.
        """
        if not 0 < false_positive_rate < 1:
            raise ValueError(f"false_positive_rate must lie between 0 and 1, got {false_positive_rate}")
        rate = -math.expm1(math.log1p(-false_positive_rate) / max(1, people))
        return interpolate([(-math.log10(r), s) for r, s in self.points], -math.log10(rate))


def interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    """The piecewise linear curve through points of rising x; before the first constant, behind the last straight on."""
    if x <= points[0][0]:
        return points[0][1]
    place = min(bisect.bisect_left([px for px, _ in points], x), len(points) - 1)
    (x0, y0), (x1, y1) = points[place - 1], points[place]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
