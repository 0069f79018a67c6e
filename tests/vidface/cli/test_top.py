from __future__ import annotations

import io
import itertools
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.overload import CameraLoad
from tests.vidface.conftest import RunCommand, WriteConfig
from tests.vidface.exposition.made import LOST, camera, service
from vidface.cli.top import measure
from vidface.cli.top_table import draw
from vidface.exposition.rates import ServiceRates, rates_between
from vidface.exposition.server import ExpositionServer
from vidface.status import Phase, ServiceStatus


def snapshots() -> Iterator[ServiceStatus]:
    """A service that decodes 25 frames a second and looks at 4 of them."""
    for second in itertools.count():
        frames = {"decoded": 25 * second, "detected": 4 * second, "superseded": second}
        yield service(replace(camera("door"), frames=frames), camera("hall", LOST, "stalled"), at_s=100.0 + second)


@pytest.fixture
def url() -> Iterator[str]:
    steps = snapshots()
    with ExpositionServer("127.0.0.1", 0, lambda: next(steps)) as server:
        yield server.url


def rates() -> ServiceRates:
    steps = snapshots()
    return next(measure(lambda: next(steps), lambda: None))


def drawn(rates: ServiceRates) -> list[str]:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(draw(rates))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_once_as_json(run: RunCommand, url: str) -> None:
    outcome = run("top", "--url", url, "--once", "--json", "--interval", "0.1")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.json["phase"] == "running"
    assert outcome.json["over_s"] == 1.0
    door, hall = outcome.json["cameras"]
    assert (door["camera"], door["decoded_fps"], door["detected_fps"], door["wanted_fps"]) == ("door", 25, 4, 5)
    assert door["drops_per_s"] == {"superseded": 1.0, "expired": 0.0, "undelivered": 0.0}
    assert (hall["state"], hall["cause"]) == ("lost", "stalled")
    assert outcome.json["sinks"][0]["pending"] == 3


def test_in_a_pipe_it_prints_one_table_and_ends(run: RunCommand, url: str) -> None:
    outcome = run("top", "--url", url, "--interval", "0.1")
    assert outcome.status == 0
    assert "vidface 1.2.3  running" in outcome.out
    assert "\x1b" not in outcome.out
    assert any(line.split()[:3] == ["door", "live", "7"] for line in outcome.out.splitlines())


def test_a_table_of_cameras() -> None:
    lines = drawn(rates())
    assert lines[0] == "vidface 1.2.3  running  up 51 s  1 of 2 cameras live  over 1.0 s"
    assert lines[1] == "stages  detect 0%"
    assert lines[2] == "sink    jsonl  0.0 events/s  3 pending  2 refused  4 dropped  failing: the disk is full"
    assert lines[4].split() == [
        "camera",
        "state",
        "epoch",
        "decoded/s",
        "detected/s",
        "wanted",
        "age",
        "p50",
        "age",
        "p95",
        "drops/s",
    ]
    assert lines[5].split() == ["door", "live", "7", "25.0", "4.0", "5", "-", "-", "superseded", "1.0"]
    assert lines[6].split() == ["hall", "lost", "stalled", "7", "0.0", "0.0", "5", "-", "-", "-"]


def test_a_camera_that_the_machine_cannot_keep_up_with() -> None:
    load = CameraLoad(wanted_fps=5.0, granted_fps=2.0, left_out_fps=9.0, overloaded=True)
    status = service(replace(camera("door"), load=load), camera("hall"))
    lines = drawn(rates_between(status, replace(status, taken_ns=status.taken_ns + 10**9)))
    assert [line.split()[:3] for line in lines[5:]] == [["door", "live", "overloaded"], ["hall", "live", "7"]]


def test_a_failure_is_drawn_and_control_characters_are_not() -> None:
    failed = replace(rates(), phase=Phase.FAILED, failure="the embed stage failed: \x1b[2J")
    assert drawn(failed)[1] == r"the embed stage failed: \x1b[2J"


def test_ages_are_drawn() -> None:
    fresh = service(camera(), at_s=100)
    aged = rates_between(replace(fresh, cameras=()), replace(fresh, taken_ns=fresh.taken_ns + 10**9))
    assert any("179 ms" in line or "175 ms" in line for line in drawn(aged)), drawn(aged)


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        pytest.param(["--url", "http://127.0.0.1:1"], 1, "nothing_answers", id="nothing-answers"),
        pytest.param(["--url", "file:///x"], 2, "usage_error", id="no-address"),
        pytest.param([], 2, "usage_error", id="neither"),
    ],
)
def test_it_says_why_it_cannot(run: RunCommand, arguments: list[str], status: int, code: str) -> None:
    outcome = run("top", *arguments, "--json", "--once")
    assert (outcome.status, outcome.json["error"]["code"]) == (status, code)
    assert outcome.err.startswith("error: ")


def test_a_configuration_without_a_port_is_told(run: RunCommand, write_config: WriteConfig) -> None:
    outcome = run("top", "--config", write_config("cameras: [{id: a, source: 'rtsp://192.0.2.1/'}]"))
    assert outcome.status == 2
    assert "has no metrics.port" in outcome.err


def test_in_a_terminal_it_goes_on_until_the_service_is_gone() -> None:
    steps = snapshots()
    ours, theirs = pty.openpty()
    try:
        with ExpositionServer("127.0.0.1", 0, lambda: next(steps)) as server:
            arguments = [sys.executable, "-m", "vidface", "top", "--url", server.url, "--interval", "0.1"]
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, text=True
            )
            try:
                shown = b""
                while shown.count(b"cameras live") < 3:
                    assert select.select([ours], [], [], 30)[0], shown
                    shown += os.read(ours, 65536)
            except BaseException:
                process.kill()
                process.communicate()
                raise
        while True:  # a terminal that nobody reads holds up who writes
            if not select.select([ours], [], [], 0.1)[0] and process.poll() is not None:
                break
            if select.select([ours], [], [], 0)[0]:
                os.read(ours, 65536)
        _, err = process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 1
    assert "no running service answers at" in err


def test_each_line_is_json_without_once(url: str) -> None:
    arguments = [sys.executable, "-m", "vidface", "top", "--url", url, "--interval", "0.1", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.terminate()
    assert [line["cameras"][0]["decoded_fps"] for line in lines] == [25.0, 25.0]
