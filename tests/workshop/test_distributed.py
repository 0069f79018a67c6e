from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.workshop import shared_training
from weights.workshop import checkpoint
from weights.workshop.fit import BEST, LAST
from weights.workshop.log import read_log

REPOSITORY = Path(__file__).resolve().parents[2]


def two_processes(*arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.workshop.shared_training", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(folder: Path) -> None:
    pictures = shared_training.samples(folder / "drawn")
    shared_training.train(pictures, folder / "one")
    two_processes(str(folder / "drawn"), str(folder / "two"), str(shared_training.STEPS))
    one, two = (read_log(folder / each) for each in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two]
    assert [row[2] for row in two] == pytest.approx([row[2] for row in one], rel=1e-4)
    assert {"loss", "class", "box", "landmark", "validation"} <= {name for _, name, _ in one}
    weights = [checkpoint.load(folder / each / BEST).state_dict() for each in ("one", "two")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-4, rtol=1e-3)


@pytest.mark.slow
def test_two_processes_agree_on_when_the_time_is_over(folder: Path) -> None:
    two_processes(str(folder / "drawn"), str(folder / "out"), "0")
    steps = checkpoint.read(folder / "out" / LAST)["training"]["step"]
    assert steps >= 1
    assert len([name for _, name, _ in read_log(folder / "out") if name == "loss"]) == steps
