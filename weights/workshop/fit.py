"""The training loop of both networks.

A learner is a module around a network that turns a batch into the terms of a loss, each a sum and a count (see
`losses`). The loop adds the sums and counts of all processes, divides, steps, writes checkpoints, and knows nothing of
faces.

On CPUs two trainings with the same plan give the same weights, and so does one that was cut off and goes on from its
last checkpoint. On a GPU the order of additions is not fixed, and last digits differ. What is for GPUs, the scaling of
gradients for float16 above all, was not run where this was written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.random import Generator
from torch import nn

from weights.errors import WorkshopError
from weights.workshop import checkpoint
from weights.workshop.batches import Batches, Sample, loaded
from weights.workshop.distributed import Processes, joined
from weights.workshop.log import TrainingLog
from weights.workshop.losses import Terms
from weights.workshop.mobilefacenet import MobileFaceNet
from weights.workshop.plan import OnStep, Optimiser, Plan, Precision, Stopped, Trained
from weights.workshop.retinaface import RetinaFace
from weights.workshop.schedule import rate_factor

LAST = "last.pt"
"""The checkpoint that a training goes on from."""

BEST = "best.pt"
"""The checkpoint that it is done for."""

_MUST_AGREE = ("optimiser", "seed", "batch_size")
"""What a training that goes on must have as before, or it would be another one."""


class Learner(Protocol):
    """A module that learns.

    Attributes:
        network: What is learnt, and saved as the checkpoint's network; `learner.network` in the module as well.
        weights: Term of the loss to its weight; terms that are not named are only reported.
    """

    network: RetinaFace | MobileFaceNet
    weights: Mapping[str, float]

    def __call__(self, batch: Mapping[str, Any]) -> Terms:
        """The terms of the loss on a batch, each a sum and a count."""
        ...


Validation = Callable[[Any], float]
"""The network, in evaluation mode, to a measure of it; more is better."""


def fit(
    learner: Any,
    samples: int,
    read: Callable[[int, Generator], Sample],
    *,
    plan: Plan,
    out_dir: Path,
    validation: Validation | None = None,
    on_step: OnStep | None = None,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a learner's network in place; at the end it has the best weights and is in evaluation mode.

    Args:
        learner: A module that is a `Learner`.
        samples: How many there are.
        read: A sample's row and a generator to what the learner takes of it; see `batches.Batches`.
        plan: How it is to go.
        out_dir: Gets ``last.pt``, ``best.pt``, ``training.csv`` and ``tensorboard/``.
        validation: Measures the network every so many steps and at the end; the first process alone is asked.
        on_step: Is told of each step, in the first process.
        resume: Go on from ``last.pt`` of the folder; without one there, from the start.
        clock: Seconds, for the time budget.

    Raises:
        WorkshopError: The loss is no longer a number, the folder has a training already, or that one is another.
    """
    with joined(plan.device) as processes:
        if plan.batch_size < processes.count:
            raise WorkshopError(f"a batch of {plan.batch_size} can't be shared by {processes.count} processes")
        torch.manual_seed(plan.seed)
        training = _Training(learner, plan, processes, out_dir=out_dir, validation=validation, clock=clock)
        return training.run(samples, read, on_step, resume)


class _Training:
    """The state of one training between its steps."""

    def __init__(
        self,
        learner: Any,
        plan: Plan,
        processes: Processes,
        *,
        out_dir: Path,
        validation: Validation | None,
        clock: Callable[[], float],
    ) -> None:
        self.plan, self.processes, self.out_dir = plan, processes, out_dir
        self.validation, self.clock = validation, clock
        self.learner = learner.to(processes.device)
        self.wrapped = processes.wrapped(self.learner)
        self.optimiser = optimiser_of(learner, plan)
        half = plan.precision is Precision.FLOAT16 and processes.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=half)
        self.step = 0
        self.seconds = 0.0
        self.best = -math.inf
        self.best_step = 0
        self.worse = 0

    @property
    def network(self) -> RetinaFace | MobileFaceNet:
        network: RetinaFace | MobileFaceNet = self.learner.network
        return network

    def run(
        self, samples: int, read: Callable[[int, Generator], Sample], on_step: OnStep | None, resume: bool
    ) -> Trained:
        self._start(resume)
        plan, processes = self.plan, self.processes
        batches = Batches(
            samples, read, batch_size=plan.batch_size, places=processes.share(plan.batch_size), seed=plan.seed
        )
        todo = count(self.step) if plan.steps is None else range(self.step, plan.steps)
        losses: dict[str, float] = {}
        stopped = Stopped.STEPS
        log = TrainingLog(self.out_dir, first_step=self.step, board=plan.board) if processes.first else None
        try:
            self.wrapped.train()
            began = self.clock() - self.seconds
            for batch in loaded(batches, todo, workers=plan.workers):
                total = self._total()
                rate = plan.learning_rate * rate_factor(
                    self.step, steps=total, warmup_steps=plan.warmup_steps, final=plan.final_rate
                )
                losses = self._update(batch, rate)
                self.step += 1
                self.seconds = self.clock() - began
                if log is not None:
                    log.write(self.step - 1, {**losses, "learning_rate": rate})
                    if on_step is not None:
                        on_step(self.step, total, losses)
                if self._time_is_over():
                    stopped = Stopped.TIME
                    break
                if self.step % plan.validate_every == 0 and self.step != plan.steps:
                    self._validate(log)
                    began = self.clock() - self.seconds  # measuring is no part of the time
                    if plan.patience is not None and self.worse >= plan.patience:
                        stopped = Stopped.NO_BETTER
                        break
                if self.step % plan.checkpoint_every == 0:
                    self._save()
            if stopped is not Stopped.NO_BETTER:
                self._validate(log)
            self._save()
        finally:
            if log is not None:
                log.close()
        return self._finish(losses, stopped)

    def _update(self, batch: Mapping[str, Any], rate: float) -> dict[str, float]:
        """One step of all processes; returns the losses of the whole batch, the same in each."""
        plan, processes = self.plan, self.processes
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = {name: values.to(processes.device) for name, values in batch.items()}
        autocast = torch.autocast(
            processes.device.type,
            dtype=getattr(torch, plan.precision.value),
            enabled=plan.precision is not Precision.FLOAT32,
        )
        with autocast:
            terms: Terms = self.wrapped(batch)
        names = list(terms)
        mine = torch.stack([torch.stack([terms[name][0].detach().double(), terms[name][1].double()]) for name in names])
        sums, counts = processes.total(mine).unbind(1)
        counts = counts.clamp(min=1)
        losses = dict(zip(names, (sums / counts).tolist(), strict=True))
        weights = self.learner.weights
        losses = {"loss": sum(weights[name] * losses[name] for name in weights), **losses}
        if not math.isfinite(losses["loss"]):
            raise WorkshopError(
                f"step {self.step + 1}: the loss is {losses['loss']}; lower the learning rate ({rate:g} now), or look "
                f"for labels that can't be; {self.out_dir / LAST} has the last checkpoint, if one was written"
            )
        # Gradients are averaged over processes, where the sum is wanted.
        loss = sum(
            weights[name] * terms[name][0] * (processes.count / float(counts[names.index(name)])) for name in weights
        )
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.learner.parameters(), plan.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return losses

    def _total(self) -> int:
        """How many steps there will be; where time sets the end, as many as there is time for at the speed so far."""
        if self.plan.steps is not None:
            return self.plan.steps
        budget = (self.plan.minutes or 0.0) * 60
        # Nobody knows before the first step; the warm-up does not ask.
        guess = self.step * budget / self.seconds if self.seconds > 0 else math.inf
        guess = max(guess, self.step + 1, self.plan.warmup_steps + 1)
        return round(self.processes.agreed(min(guess, 1e9))[0])

    def _time_is_over(self) -> bool:
        if self.plan.minutes is None:
            return False
        return bool(self.processes.agreed(float(self.seconds >= self.plan.minutes * 60))[0])

    def _validate(self, log: TrainingLog | None) -> None:
        """Measure the network and keep the best; without a measure the last is the best."""
        value = float(self.step)
        if self.validation is not None:
            self.wrapped.eval()
            if self.processes.first:
                with torch.no_grad():
                    value = self.validation(self.network)
            self.wrapped.train()
            value = self.processes.agreed(value)[0]
            if math.isnan(value):
                raise WorkshopError(f"step {self.step}: the validation gave no number")
            if log is not None and self.step:
                log.write(self.step - 1, {"validation": value})
        if value > self.best:
            self.best, self.best_step, self.worse = value, self.step, 0
            if self.processes.first:
                checkpoint.save(self.network, self.out_dir / BEST, step=self.step)
        else:
            self.worse += 1

    def _save(self) -> None:
        if not self.processes.first:
            return
        rest = {name: value for name, value in self.learner.state_dict().items() if not name.startswith("network.")}
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "best_step": self.best_step,
            "worse": self.worse,
            "measured": self.validation is not None,
            "plan": {name: _plain(getattr(self.plan, name)) for name in _MUST_AGREE},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "learner": rest,
            "random": torch.get_rng_state(),
        }
        checkpoint.save(self.network, self.out_dir / LAST, training=state)

    def _start(self, resume: bool) -> None:
        """Begin, or go on from the last checkpoint; every process reads it."""
        path = self.out_dir / LAST
        if path.exists() and not resume:
            raise WorkshopError(f"{self.out_dir}: has a training already; resume it, or name another folder")
        if not path.exists():
            return
        content = checkpoint.read(path)
        state = content.get("training")
        if not isinstance(state, dict):
            raise WorkshopError(f"{path}: no training can go on from it; it has weights alone")
        for name in _MUST_AGREE:
            given, before = _plain(getattr(self.plan, name)), state["plan"][name]
            if given != before:
                raise WorkshopError(f"{path}: was trained with {name}={before}, and can't go on with {name}={given}")
        checkpoint.load_into(self.network, content["state_dict"], origin=str(path))
        self.learner.load_state_dict(state["learner"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step, self.seconds = state["step"], state["seconds"]
        if state["measured"] == (self.validation is not None):
            self.best, self.best_step, self.worse = state["best"], state["best_step"], state["worse"]

    def _finish(self, losses: Mapping[str, float], stopped: Stopped) -> Trained:
        path = self.out_dir / BEST
        self.processes.agreed(0.0)  # the first has written it once the others read it
        checkpoint.load_into(self.network, checkpoint.read(path)["state_dict"], origin=str(path))
        self.learner.eval()
        return Trained(
            path=path,
            steps=self.step,
            losses=losses,
            validation=self.best if self.validation is not None else None,
            best_step=self.best_step,
            stopped=stopped,
        )


def optimiser_of(learner: Any, plan: Plan) -> Any:
    """The plan's optimiser over a learner's parameters; biases and normalisation do not decay."""
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in parameters if each.dim() > 1], "weight_decay": plan.weight_decay},
        {"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0},
    ]
    if plan.optimiser is Optimiser.SGD:
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=plan.learning_rate)


def _plain(value: object) -> object:
    return value.value if isinstance(value, Optimiser) else value
