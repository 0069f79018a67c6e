from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.metrics import AgeHistogram, StageTime
from tests.vidface.exposition.made import SINK, ages, camera, service
from vidface.exposition.rates import quantile_s, rates_between
from vidface.status import ServiceStatus


def later() -> ServiceStatus:
    door = replace(
        camera(),
        frames={"decoded": 150, "detected": 30, "not_due": 100, "superseded": 19, "shed": 4},
        source=replace(camera().source, bad_frames=6),
        ages=ages(b0=1, b3=28, b13=1),
    )
    return replace(
        service(door, at_s=102),
        stages={
            "detect": StageTime(calls=20, items=40, wall_s=2.5),
            "embed": StageTime(calls=1, items=1, wall_s=0.2),
        },
        sinks=(replace(SINK, delivered=25),),
        events={"vidface.camera.state": 2, "vidface.sighting.started": 3},
    )


def test_rates_are_differences_over_the_services_own_time() -> None:
    rates = rates_between(service(at_s=100), later())
    (door,) = rates.cameras
    assert rates.over_s == 2.0
    assert (door.decoded_fps, door.detected_fps, door.wanted_fps) == (25.0, 5.0, 5.0)
    assert door.drops_per_s == {"superseded": 5.0, "expired": 0.0, "undelivered": 0.0, "shed": 2.0}
    assert door.bad_per_s == 1.0
    assert rates.stage_load == {"detect": 0.5, "embed": 0.1}
    assert (rates.sinks[0].delivered_per_s, rates.sinks[0].pending) == (2.5, 3)
    assert rates.events_per_s == {"vidface.camera.state": 0.0, "vidface.sighting.started": 1.5}


def test_ages_are_those_in_between() -> None:
    (door,) = rates_between(service(at_s=100), later()).cameras
    assert door.age_p50_s == pytest.approx(0.175)  # the middle of 0.15 to 0.2, where all ten lie
    assert door.age_p95_s == pytest.approx(0.1975)


def test_a_service_that_was_started_anew_counts_from_its_start() -> None:
    anew = replace(later(), taken_ns=102_000_000_000, uptime_s=0.5)
    rates = rates_between(service(at_s=100), anew)
    assert rates.over_s == 0.5
    assert rates.cameras[0].decoded_fps == 300.0


def test_a_machine_that_was_started_anew_has_another_clock() -> None:
    anew = replace(later(), taken_ns=1_000_000_000, uptime_s=1.0)
    assert rates_between(service(at_s=100), anew).cameras[0].decoded_fps == 150.0


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        pytest.param(ages(), 0.5, None, id="none"),
        pytest.param(ages(b0=4), 0.5, 0.025, id="first-bucket"),
        pytest.param(ages(b0=5, b5=5), 0.5, 0.05, id="on-the-bound"),
        pytest.param(ages(b0=5, b5=5), 0.95, 0.48, id="behind-a-gap"),
        pytest.param(ages(b0=1, b13=9), 0.95, 10.0, id="beyond-the-last"),
    ],
)
def test_quantiles(counts: AgeHistogram, share: float, expected: float | None) -> None:

    assert quantile_s(counts.counts, share) == (None if expected is None else pytest.approx(expected))
