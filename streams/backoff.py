"""How long to wait before the next attempt: doubling, bounded, with jitter. Pure but for its random numbers."""

import random


class Backoff:
    """Delays between attempts: initial, 2 x initial, 4 x initial ... up to a maximum, each cut by up to half.

    The jitter keeps a hundred cameras behind one switch from all coming back at the same instant. It only shortens,
    so the maximum is a promise. Not safe to share between threads.
    """

    def __init__(self, *, initial_s: float, max_s: float, rng: random.Random | None = None) -> None:
        if not 0.0 < initial_s <= max_s:
            raise ValueError(f"backoff wants 0 < initial_s <= max_s, got {initial_s} and {max_s}")
        self._initial_s = initial_s
        self._max_s = max_s
        self._rng = rng or random.Random()
        self._delay_s = initial_s

    def next_s(self) -> float:
        """Seconds to wait before the next attempt; each call is one failed attempt more."""
        delay_s = self._delay_s
        self._delay_s = min(self._max_s, delay_s * 2.0)
        return delay_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again from the initial delay: an attempt has succeeded."""
        self._delay_s = self._initial_s
