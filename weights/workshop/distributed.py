"""Several processes that train one network, each on its share of every batch.

``torchrun --nproc-per-node 2 ...`` starts the processes and sets RANK and WORLD_SIZE; without them there is one
process, and nothing here does anything. Processes on CPUs talk through gloo; on GPUs, one GPU a process, through nccl,
which was not run where this was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from weights.errors import WorkshopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Which of how many processes this one is.

    Attributes:
        rank: From 0 on; the first one writes, measures and reports.
        count: Of all processes.
        device: What this one computes on.
    """

    rank: int
    count: int
    device: Any

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, batch_size: int) -> range:
        """The places in a batch that this process takes."""
        return range(self.rank, batch_size, self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum of all processes' tensors; each must ask."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def agreed(self, *values: float) -> list[float]:
        """What the first process says; each must ask."""
        said = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.count > 1:
            distributed.broadcast(said, src=0)
        return [float(value) for value in said.tolist()]

    def wrapped(self, learner: nn.Module) -> nn.Module:
        """The learner with its gradients averaged over all processes after each backward pass.

        Batch normalisation sees a process's own share on CPUs; on GPUs it sees the whole batch.
        """
        if self.count == 1:
            return learner
        if self.device.type == "cuda":
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
            return nn.parallel.DistributedDataParallel(learner, device_ids=[self.device.index])
        return nn.parallel.DistributedDataParallel(learner)


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that the environment tells of, for the length of a training.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto`` for a GPU where there is one.

    Raises:
        WorkshopError: RANK or WORLD_SIZE is no number, or the device is not there.
    """
    try:
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_RANK", rank))
    except ValueError as error:
        raise WorkshopError(f"RANK, LOCAL_RANK and WORLD_SIZE must be whole numbers ({error}); use torchrun") from error
    chosen = _device(device, local if count > 1 else None)
    if count == 1:
        yield Processes(rank=0, count=1, device=chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    began = not distributed.is_initialized()
    if began:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank=rank, count=count, device=chosen)
    finally:
        if began:
            distributed.destroy_process_group()


def _device(name: str, local: int | None) -> Any:
    there = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if there else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise WorkshopError(f"device {name!r}: cpu, cuda, cuda:1 ... or auto is wanted") from error
    if device.type == "cuda" and not there:
        raise WorkshopError(f"device {name!r}: this machine has no GPU that torch can use; train on the cpu")
    return torch.device("cuda", local or 0) if device.type == "cuda" and device.index is None else device
