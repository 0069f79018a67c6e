"""The account of processor time, and where it is read from."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.metrics import StageTime
from tests.vidface.evaluation.made import CPU_S, STAGES
from vidface.evaluation.account import account, stages_between
from vidface.evaluation.system import CpuAccount, peak_rss_bytes, rss_bytes, thread_kind


def test_rows_sum_to_the_whole_process() -> None:
    rows = account(CPU_S, STAGES)
    assert sum(row.cpu_s for row in rows) == pytest.approx(CPU_S["total"])
    by_part = {row.part: row.cpu_s for row in rows}
    assert by_part["decode"] == 0.2
    assert by_part["rest of detect"] == pytest.approx(0.07 - 0.04 - 0.01)
    assert by_part["events"] == pytest.approx(0.005)  # without the outbox, which runs inside it
    assert by_part["outbox"] == 0.015
    assert by_part["rest of analysis"] == pytest.approx(0.05 - 0.02)
    assert by_part["other"] == pytest.approx(1.0 - 0.2 - 0.6 - 0.07 - 0.05 - 0.01)


def test_a_stage_that_is_not_known_is_the_analysis_thread_s() -> None:
    rows = account({"analysis": 0.5, "total": 0.5}, {"new": StageTime(calls=1, items=1, wall_s=1.0, cpu_s=0.3)})
    by_part = {row.part: (row.thread, row.cpu_s) for row in rows}
    assert by_part["new"] == ("analysis", 0.3)
    assert by_part["rest of analysis"][1] == pytest.approx(0.2)


def test_stages_between_snapshots() -> None:
    old = {"track": StageTime(calls=1, items=2, wall_s=0.5, cpu_s=0.25)}
    new = {**old, "track": StageTime(calls=4, items=9, wall_s=2.5, cpu_s=1.25), "embed": STAGES["scale"]}
    between = stages_between(old, new)
    assert between == {"track": StageTime(calls=3, items=7, wall_s=2.0, cpu_s=1.0), "embed": STAGES["scale"]}


@pytest.mark.parametrize(
    ("name", "comm", "kind"),
    [
        ("vidface camera door", "python", "decode"),
        (None, "av:h264:df0", "decode"),
        ("bench source", "python", "decode"),
        ("vidface detect", "python", "detect"),
        ("vidface analysis", "python", "analysis"),
        ("sink-jsonl", "python", "sinks"),
        ("MainThread", "python", "bench"),
        (None, "python", "inference"),
    ],
)
def test_threads_are_told_apart_by_their_names(name: str | None, comm: str, kind: str) -> None:
    assert thread_kind(name, comm) == kind


def spin(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def test_threads_that_have_ended_are_counted() -> None:
    cpu = CpuAccount()

    def work() -> None:
        spin(0.05)
        cpu.note_here()

    noted = threading.Thread(target=work, name="vidface camera door")
    noted.start()
    noted.join()
    go, done = threading.Event(), threading.Event()

    def sampled() -> None:
        spin(0.05)
        done.set()
        go.wait()

    thread = threading.Thread(target=sampled, name="vidface detect")
    thread.start()
    done.wait()
    cpu.sample()
    go.set()
    thread.join()
    cpu.sample()
    seconds = cpu.seconds()
    assert seconds["decode"] >= 0.05
    assert seconds["detect"] >= 0.05
    assert seconds["total"] >= seconds["decode"] + seconds["detect"] - 0.001


def test_what_was_before_is_not_counted() -> None:
    spin(0.1)
    cpu = CpuAccount()
    cpu.sample()
    seconds = cpu.seconds()
    assert seconds["total"] < 0.1
    assert sum(value for kind, value in seconds.items() if kind != "total") < 0.1


def test_memory_is_read() -> None:
    assert 10 * 2**20 < rss_bytes() <= peak_rss_bytes() + 2**20
