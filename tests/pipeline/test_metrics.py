import threading
import time

import pytest

from pipeline.metrics import AGE_BOUNDS_S, Ages, FrameCounts, StageTimes


def test_counts_are_by_camera_and_outcome() -> None:
    counts = FrameCounts()
    counts.count("door", "decoded", 3)
    counts.count("door", "detected")
    counts.count("hall", "decoded")
    before = counts.snapshot()
    counts.count("door", "detected")
    assert before == {"door": {"decoded": 3, "detected": 1}, "hall": {"decoded": 1}}


def test_times_are_summed_by_stage_in_their_order() -> None:
    times = StageTimes()
    times.add("track", 2, 3_000_000)
    times.add("embed", 5, 1_000_000)
    times.add("track", 1, 1_000_000)
    summed = times.snapshot()
    assert list(summed) == ["track", "embed"]
    assert (summed["track"].calls, summed["track"].items) == (2, 3)
    assert summed["track"].wall_s == pytest.approx(0.004)


def test_a_stage_that_raises_is_measured_all_the_same() -> None:
    times = StageTimes()
    with pytest.raises(KeyError), times.measure("search", 4):
        raise KeyError
    assert times.snapshot()["search"].items == 4


def test_no_count_is_lost_between_threads() -> None:
    counts, times = FrameCounts(), StageTimes()

    def work() -> None:
        for _ in range(500):
            counts.count("door", "decoded")
            times.add("scale", 1, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.snapshot()["door"]["decoded"] == times.snapshot()["scale"].calls == 2000


def test_ages_are_counted_in_buckets_by_camera() -> None:
    ages = Ages()
    for age_s in (0.01, 0.05, 0.051, 42.0):
        ages.add("door", age_s)
    ages.add("hall", 0.2)
    door = ages.snapshot()["door"]
    assert (door.counts[0], door.counts[1], door.counts[-1], door.count) == (2, 1, 1, 4)
    assert door.sum_s == pytest.approx(42.111)
    assert len(door.counts) == len(AGE_BOUNDS_S) + 1


def test_a_stage_s_processor_time_is_its_own_thread_s() -> None:
    times = StageTimes()
    with times.measure("wait"):
        threading.Event().wait(0.02)
    with times.measure("work"):
        until_ns = time.thread_time_ns() + 5_000_000
        while time.thread_time_ns() < until_ns:
            pass
    waited, worked = times.snapshot()["wait"], times.snapshot()["work"]
    assert waited.cpu_s < waited.wall_s / 2
    assert worked.cpu_s >= 0.005
