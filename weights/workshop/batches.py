"""Which samples make up which step: pure functions of the seed and the step.

So nothing of the reading needs to be saved with a checkpoint, any number of reading processes gives the same pictures,
and several training processes see together what one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from weights.errors import BadTrainingData

Sample = Mapping[str, Tensor]


class Batches:
    """A step's number to this process's share of its batch.

    Args:
        samples: How many there are.
        read: A sample's row and a generator to what the learner takes of it; all samples' shapes are equal.
        batch_size: Samples a step, of all processes together.
        places: Those of the batch that are this process's.
        seed: Another one gives another order and other chances.
    """

    def __init__(
        self,
        samples: int,
        read: Callable[[int, Generator], Sample],
        *,
        batch_size: int,
        places: Iterable[int],
        seed: int,
    ) -> None:
        self._samples, self._read = samples, read
        self._batch_size, self._places, self._seed = batch_size, tuple(places), seed

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rows = rows_of_step(step, samples=self._samples, batch_size=self._batch_size, seed=self._seed)
        parts = [
            self._read(int(rows[place]), np.random.default_rng((self._seed, step, place))) for place in self._places
        ]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}


def rows_of_step(step: int, *, samples: int, batch_size: int, seed: int) -> NDArray[np.intp]:
    """The samples of a step: all of them in random order, then all of them in another, without a gap between.

    Returns:
        ``(batch_size,)`` rows.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, rows = np.divmod(places, samples)
    return np.array([_order(samples, seed, int(epoch))[row] for epoch, row in zip(epochs, rows, strict=True)], np.intp)


@lru_cache(maxsize=4)
def _order(samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, epoch)).permutation(samples)


def loaded(batches: Batches, steps: Iterable[int], *, workers: int) -> Iterator[dict[str, Tensor]]:
    """The batches of some steps, in order, read ahead by so many processes (0: by this one, when asked).

    Raises:
        BadTrainingData: As the reading does, whichever process it was in.
    """
    loader = torch.utils.data.DataLoader(
        _Reported(batches), sampler=steps, batch_size=None, num_workers=workers, worker_init_fn=_alone
    )
    for batch in loader:
        if isinstance(batch, BadTrainingData):
            raise batch
        yield batch


class _Reported(torch.utils.data.Dataset):
    """Batches whose errors come as values: torch would put another process's traceback into their message."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> dict[str, Tensor] | BadTrainingData:
        try:
            return self._batches[step]
        except BadTrainingData as error:
            return error


def _alone(_worker: int) -> None:
    # A reading process a processor: threads of its own would only be in their way.
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
