"""The search for a capacity, on machines that are made up: exact ones, noisy ones, and the bounds themselves."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.vidface.evaluation.made import live_run
from vidface.evaluation.capacity import Probe, find_capacity, judge


class Machine:
    """Holds so many cameras; within `noise` of that number a probe falls on either side."""

    def __init__(self, holds: int, *, noise: float = 0.0, seed: int = 0, load: Callable[[int], float] | None = None):
        self.asked: list[tuple[int, float, bool]] = []
        self._holds, self._noise = holds, noise
        self._random = random.Random(seed)
        self._load = load or (lambda cameras: min(1.0, cameras / (holds + 0.5)))

    def play(self, cameras: int, seconds: float, confirming: bool) -> Probe:
        self.asked.append((cameras, seconds, confirming))
        # A longer run feels less of the noise.
        spread = self._noise / (seconds**0.5)
        holds = cameras <= self._holds + 0.5 + self._random.gauss(0, spread)
        return Probe(
            cameras=cameras,
            seconds=seconds,
            confirming=confirming,
            holds=holds,
            age_p95_ms=100.0,
            worst_share=1.0 if holds else 0.5,
            delivered_fps=5.0 * cameras,
            load=self._load(cameras),
            rss_mib=100.0,
            why="" if holds else "too slow",
        )


@pytest.mark.parametrize("holds", [0, 1, 2, 3, 4, 5, 13, 14, 31, 32, 33, 100])
@pytest.mark.parametrize("first", [1, 4, 50])
def test_an_exact_machine_is_found_exactly(holds: int, first: int) -> None:
    machine = Machine(holds)
    capacity = find_capacity(machine.play, probe_s=5, confirm_s=10, rounds=3, first=first)
    assert capacity.cameras == holds
    assert capacity.beyond is not None or not holds
    if capacity.confirmed and capacity.beyond:
        assert (capacity.confirmed.cameras, capacity.confirmed.held, capacity.confirmed.of) == (holds, 3, 3)
        assert (capacity.beyond.cameras, capacity.beyond.held, capacity.beyond.of) == (holds + 1, 0, 3)
        assert capacity.statement == f"{holds} held in 3 of 3 run(s) of 10 s; {holds + 1} held in 0 of 3"
    confirmations = [cameras for cameras, _seconds, confirming in machine.asked if confirming]
    assert set(confirmations) <= {holds, holds + 1}
    assert len(machine.asked) == len(capacity.probes) <= 20


def test_a_machine_that_holds_nothing_says_so() -> None:
    capacity = find_capacity(Machine(0).play, probe_s=1, confirm_s=4)
    assert (capacity.cameras, capacity.confirmed) == (0, None)
    assert capacity.statement == "not even one camera is held within the bounds, in 3 run(s) of 4 s"


def test_the_search_ends_at_its_limit_and_says_so() -> None:
    machine = Machine(1000)
    capacity = find_capacity(machine.play, probe_s=1, confirm_s=2, rounds=2, limit=20)
    assert (capacity.cameras, capacity.beyond) == (20, None)
    assert capacity.statement == "20 held in 2 of 2 run(s) of 2 s; more were not tried"
    assert max(cameras for cameras, _seconds, _confirming in machine.asked) == 20


def test_load_keeps_a_gallop_from_overshooting() -> None:
    machine = Machine(10, load=lambda cameras: cameras / 10)
    find_capacity(machine.play, probe_s=1, confirm_s=2, first=8)
    assert max(cameras for cameras, _seconds, _confirming in machine.asked) == 11  # not 16


@pytest.mark.parametrize("seed", range(40))
def test_a_noisy_machine_is_found_nearly_and_what_is_said_is_what_was_seen(seed: int) -> None:
    machine = Machine(14, noise=3.0, seed=seed)
    capacity = find_capacity(machine.play, probe_s=4, confirm_s=16, rounds=3)
    assert 12 <= capacity.cameras <= 16
    assert capacity.confirmed is not None
    assert capacity.beyond is not None
    for tally in (capacity.confirmed, capacity.beyond):
        seen = [probe.holds for probe in capacity.probes if probe.confirming and probe.cameras == tally.cameras]
        assert (tally.held, tally.of) == (sum(seen), len(seen)) == (sum(seen), 3)
    assert capacity.confirmed.held >= 2
    assert capacity.beyond.held <= 1


def test_a_lucky_short_probe_is_not_believed() -> None:
    machine = Machine(6)
    lucky = iter([True])

    def play(cameras: int, seconds: float, confirming: bool) -> Probe:
        probe = machine.play(cameras, seconds, confirming)
        if cameras == 8 and not confirming and next(lucky, False):
            return machine.play(4, seconds, confirming)
        return probe

    assert find_capacity(play, probe_s=1, confirm_s=2).cameras == 6


@pytest.mark.parametrize(
    ("run", "holds", "why"),
    [
        pytest.param(live_run(), True, "", id="good"),
        pytest.param(live_run(age_ms=500.0), True, "", id="at-the-bound"),
        pytest.param(live_run(age_ms=501.0), False, "p95 age 501 ms is over 500 ms", id="too-old"),
        pytest.param(live_run(seconds=4, worst_share=0.9), True, "", id="one-short-at-the-window-s-edge"),
        pytest.param(live_run(seconds=20, worst_share=0.92), False, "clip-2 got 92 % of its rate", id="one-starves"),
        pytest.param(live_run(share=0.0), False, "p95 age none is over 500 ms", id="nothing-decided"),
    ],
)
def test_bounds(run: object, holds: bool, why: str) -> None:
    probe = judge(run, max_age_ms=500.0, cores=2, confirming=True)  # type: ignore[arg-type]
    assert probe.holds is holds
    assert why in probe.why
    assert probe.load == 0.5
