from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workshop.drawn_faces import drawn_set
from weights.errors import BadTrainingData, WorkshopError
from weights.workshop import checkpoint
from weights.workshop.batches import rows_of_step
from weights.workshop.distributed import Processes, joined
from weights.workshop.fit import BEST, LAST, fit, optimiser_of
from weights.workshop.labels import LabelledPicture
from weights.workshop.log import read_log
from weights.workshop.plan import Optimiser, Plan, Precision, Stopped, Trained
from weights.workshop.retinaface import RetinaFace, RetinaFaceShape
from weights.workshop.schedule import rate_factor
from weights.workshop.train_detector import DetectorLearner, DetectorSamples, DetectorTraining

PLAN = Plan(steps=6, batch_size=4, learning_rate=1e-3, warmup_steps=2, seed=3, board=False, device="cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledPicture]:
    return drawn_set(tmp_path_factory.mktemp("drawn"), 6)


def network(*, normalise: bool = False, seed: int = 0) -> RetinaFace:
    torch.manual_seed(seed)
    return RetinaFace(RetinaFaceShape(normalise=normalise))


def train(
    pictures: list[LabelledPicture], folder: Path, plan: Plan = PLAN, model: RetinaFace | None = None, **more: object
) -> tuple[Trained, Mapping[str, Tensor]]:
    options = DetectorTraining(plan=plan, size_px=64)
    model = model or network()
    read = DetectorSamples(pictures, options).read
    done = fit(DetectorLearner(model, options), len(pictures), read, plan=plan, out_dir=folder, **more)  # type: ignore[arg-type]
    return done, {name: value.clone() for name, value in model.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


class StoppedByHand(Exception):
    pass


def stopping_after(steps: int) -> Callable[[int, int, Mapping[str, float]], None]:
    def on_step(step: int, total: int, losses: Mapping[str, float]) -> None:
        if step == steps:
            raise StoppedByHand

    return on_step


@pytest.mark.parametrize("normalise", [False, True], ids=["folded", "with batch normalisation"])
def test_two_trainings_are_equal_and_learn(folder: Path, pictures: list[LabelledPicture], normalise: bool) -> None:
    plan = replace(PLAN, steps=16, learning_rate=5e-3)
    runs = [train(pictures, folder / str(number), plan, network(normalise=normalise)) for number in range(2)]
    assert same(runs[0][1], runs[1][1])
    assert runs[0][0].losses == runs[1][0].losses
    losses = [value for _, name, value in read_log(folder / "0") if name == "loss"]
    assert len(losses) == 16
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) * 0.9
    other = train(pictures, folder / "other", replace(plan, steps=1, seed=4), network(normalise=normalise))
    assert not same(runs[0][1], other[1])


@pytest.mark.parametrize("optimiser", list(Optimiser))
def test_a_training_that_goes_on_is_one_that_never_stopped(
    folder: Path, pictures: list[LabelledPicture], optimiser: Optimiser
) -> None:
    plan = replace(PLAN, optimiser=optimiser, checkpoint_every=2, steps=7)
    _, whole = train(pictures, folder / "whole", plan)
    with pytest.raises(StoppedByHand):
        train(pictures, folder / "cut", plan, on_step=stopping_after(5))
    # The fifth step is lost, and is done again, with other weights to begin with and another state of chance.
    done, after = train(pictures, folder / "cut", plan, network(seed=99), resume=True)
    assert same(whole, after)
    assert done.steps == 7
    assert read_log(folder / "cut") == read_log(folder / "whole")


def test_to_resume_a_training_that_is_over_changes_nothing(folder: Path, pictures: list[LabelledPicture]) -> None:
    _, before = train(pictures, folder)
    done, after = train(pictures, folder, model=network(seed=5), resume=True)
    assert same(before, after)
    assert (done.steps, done.losses) == (6, {})


def test_to_resume_where_nothing_is_begins(folder: Path, pictures: list[LabelledPicture]) -> None:
    done, _ = train(pictures, folder / "new", resume=True)
    assert done.steps == 6


def test_a_folder_is_not_trained_over(folder: Path, pictures: list[LabelledPicture]) -> None:
    train(pictures, folder)
    with pytest.raises(WorkshopError, match="has a training already; resume it, or name another folder"):
        train(pictures, folder)
    with pytest.raises(WorkshopError, match=r"was trained with seed=3, and can't go on with seed=4"):
        train(pictures, folder, replace(PLAN, seed=4), resume=True)
    checkpoint.save(network(), folder / LAST)
    with pytest.raises(WorkshopError, match="no training can go on from it"):
        train(pictures, folder, resume=True)


def test_what_is_left_in_the_folder(folder: Path, pictures: list[LabelledPicture]) -> None:
    told: list[tuple[int, int, Mapping[str, float]]] = []
    done, weights = train(pictures, folder, on_step=lambda *step: told.append(step))
    assert sorted(each.name for each in folder.iterdir()) == [BEST, LAST, "training.csv"]
    assert done.path == folder / BEST
    assert same(checkpoint.load(done.path).state_dict(), weights)
    assert [(step, total) for step, total, _ in told] == [(step, 6) for step in range(1, 7)]
    assert told[-1][2] == done.losses
    assert set(done.losses) == {"loss", "class", "box", "landmark"}
    losses = done.losses
    assert losses["loss"] == pytest.approx(losses["class"] + 2 * losses["box"] + losses["landmark"])
    assert (done.stopped, done.validation, done.best_step) == (Stopped.STEPS, None, 6)
    table = read_log(folder)
    assert [value for step, name, value in table if name == "loss"] == [losses["loss"] for _, _, losses in told]
    rates = [value for _, name, value in table if name == "learning_rate"]
    assert rates[:3] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert rates[-1] == pytest.approx(1e-5)


def test_tensorboard_has_what_the_table_has(folder: Path, pictures: list[LabelledPicture]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(pictures, folder, replace(PLAN, board=True))
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    table = [(step, value) for step, name, value in read_log(folder) if name == "loss"]
    assert [step for step, _ in shown] == [step for step, _ in table]
    assert [value for _, value in shown] == pytest.approx([value for _, value in table], rel=1e-5)


def test_the_best_by_validation_is_kept_and_no_better_one_ends_it(
    folder: Path, pictures: list[LabelledPicture]
) -> None:
    measures = iter([0.2, 0.9, 0.5, 0.4, 0.3])
    seen: list[Mapping[str, Tensor]] = []

    def validation(model: RetinaFace) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(measures)

    plan = replace(PLAN, steps=20, validate_every=2, patience=2)
    done, weights = train(pictures, folder, plan, validation=validation)
    assert (done.steps, done.best_step, done.validation) == (8, 4, 0.9)
    assert done.stopped is Stopped.NO_BETTER
    assert same(weights, seen[1])
    assert not same(weights, seen[2])
    assert [(step, value) for step, name, value in read_log(folder) if name == "validation"] == [
        (1, 0.2),
        (3, 0.9),
        (5, 0.5),
        (7, 0.4),
    ]


def test_patience_is_remembered_over_a_break(folder: Path, pictures: list[LabelledPicture]) -> None:
    plan = replace(PLAN, steps=20, validate_every=2, patience=2, checkpoint_every=3)
    first = iter([0.9, 0.5])
    with pytest.raises(StoppedByHand):
        # Checkpoints after the third and, the validation of the fourth being in it, the sixth step.
        train(pictures, folder, plan, validation=lambda _: next(first), on_step=stopping_after(5))
    then = iter([0.6, 0.7])
    done, _ = train(pictures, folder, plan, validation=lambda _: next(then), resume=True)
    assert (done.steps, done.best_step, done.validation) == (6, 2, 0.9)


def test_a_validation_without_a_number(folder: Path, pictures: list[LabelledPicture]) -> None:
    with pytest.raises(WorkshopError, match="the validation gave no number"):
        train(pictures, folder, validation=lambda _: math.nan)


class Clock:
    """So many seconds later each time it is read."""

    def __init__(self, seconds: float) -> None:
        self._times: Iterator[float] = count(0.0, seconds)

    def __call__(self) -> float:
        return next(self._times)


def test_a_time_is_kept(folder: Path, pictures: list[LabelledPicture]) -> None:
    plan = replace(PLAN, steps=None, minutes=1.0)
    told: list[tuple[int, int]] = []
    done, _ = train(
        pictures, folder, plan, on_step=lambda step, total, _: told.append((step, total)), clock=Clock(10.0)
    )
    assert done.stopped is Stopped.TIME
    assert done.steps == 6
    assert [total for _, total in told[1:]] == [6] * 5
    rates = [value for _, name, value in read_log(folder) if name == "learning_rate"]
    assert rates[-1] == pytest.approx(PLAN.learning_rate * PLAN.final_rate)


def test_measuring_takes_none_of_the_time(folder: Path, pictures: list[LabelledPicture]) -> None:
    plan = replace(PLAN, steps=None, minutes=1.0, validate_every=1)
    clock = Clock(10.0)

    def validation(_model: RetinaFace) -> float:
        for _ in range(7):
            clock()
        return 1.0

    done, _ = train(pictures, folder, plan, validation=validation, clock=clock)
    assert done.steps == 6


def test_a_loss_that_is_no_number_stops_it(folder: Path, pictures: list[LabelledPicture]) -> None:
    model = network()
    with torch.no_grad():
        model.box_head[0].bias[0] = math.inf
    with pytest.raises(WorkshopError, match=r"step 1: the loss is (nan|inf); lower the learning rate"):
        train(pictures, folder, model=model)


def test_half_a_precision_learns_much_the_same(folder: Path, pictures: list[LabelledPicture]) -> None:
    plain, _ = train(pictures, folder / "plain")
    half, weights = train(pictures, folder / "half", replace(PLAN, precision=Precision.BFLOAT16))
    assert half.losses["loss"] == pytest.approx(plain.losses["loss"], rel=0.2)
    assert half.losses != plain.losses
    assert all(value.dtype == torch.float32 for value in weights.values() if value.is_floating_point())


def test_processes_that_read_ahead_read_the_same(folder: Path, pictures: list[LabelledPicture]) -> None:
    _, alone = train(pictures, folder / "alone")
    _, ahead = train(pictures, folder / "ahead", replace(PLAN, workers=2))
    assert same(alone, ahead)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_whoever_reads_it(
    folder: Path, pictures: list[LabelledPicture], workers: int
) -> None:
    damaged = folder / "damaged.png"
    damaged.write_bytes(b"no picture")
    broken = [LabelledPicture(path=damaged, faces=pictures[0].faces)]
    with pytest.raises(BadTrainingData) as caught:
        train(broken, folder / "out", replace(PLAN, workers=workers))
    assert str(caught.value).startswith(f"{damaged}: not a picture, or damaged")


def test_steep_gradients_are_clipped(folder: Path, pictures: list[LabelledPicture]) -> None:
    # A step of SGD is no longer than rate times norm.
    plan = replace(PLAN, optimiser=Optimiser.SGD, steps=1, warmup_steps=0, clip_norm=0.01, learning_rate=1.0)
    before = network().state_dict()
    _, after = train(pictures, folder, replace(plan, weight_decay=0.0))
    moved = math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in before))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_biases_and_normalisation_do_not_decay() -> None:
    options = DetectorTraining(plan=PLAN, size_px=64)
    decays, stays = optimiser_of(DetectorLearner(network(normalise=True), options), PLAN).param_groups
    assert decays["weight_decay"] == PLAN.weight_decay
    assert stays["weight_decay"] == 0
    assert all(parameter.dim() == 4 for parameter in decays["params"])
    assert all(parameter.dim() == 1 for parameter in stays["params"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either steps or minutes"),
        ({"steps": 1, "minutes": 1.0}, "either steps or minutes"),
        ({"steps": 0}, "steps=0: it must be above 0"),
        ({"steps": 1, "batch_size": 0}, "batch_size=0"),
        ({"steps": 1, "learning_rate": -1.0}, r"learning_rate=-1\.0"),
        ({"steps": 1, "patience": 0}, "patience=0: it must be at least 1"),
        ({"steps": 1, "warmup_steps": -1}, "warmup_steps=-1: it must not be below 0"),
    ],
)
def test_plans_that_cannot_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(WorkshopError, match=said):
        Plan(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there(device: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(WorkshopError, match=f"device '{device}': this machine has no GPU"), joined(device):
        pass


def test_a_device_that_is_none() -> None:
    with pytest.raises(WorkshopError, match=r"device 'fridge': cpu, cuda, cuda:1 \.\.\. or auto"), joined("fridge"):
        pass


def test_an_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(WorkshopError, match="must be whole numbers"), joined("cpu"):
        pass


def test_shares_of_a_batch_are_all_of_it() -> None:
    shares = [Processes(rank=rank, count=3, device=None).share(8) for rank in range(3)]
    assert sorted(place for share in shares for place in share) == list(range(8))
    assert [len(share) for share in shares] == [3, 3, 2]


def test_every_sample_is_seen_once_before_any_is_seen_again() -> None:
    rows = np.concatenate([rows_of_step(step, samples=10, batch_size=4, seed=1) for step in range(10)])
    epochs = rows.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    again = rows_of_step(7, samples=10, batch_size=4, seed=1)
    np.testing.assert_array_equal(again, rows[28:32])
    assert not np.array_equal(again, rows_of_step(7, samples=10, batch_size=4, seed=2))


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [rate_factor(step, steps=100, warmup_steps=10, final=0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[10] == 1
    assert all(after < before for before, after in pairwise(rates[10:]))
    assert rates[99] == pytest.approx(0.1)
    assert rate_factor(54, steps=99, warmup_steps=10, final=0.1) == pytest.approx(0.55)
    assert rate_factor(500, steps=100, warmup_steps=10, final=0.1) == pytest.approx(0.1)
    assert rate_factor(0, steps=1) == 1
