"""The locked sets of versions hold what pyproject.toml asks for, and nothing that a server can't run."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.conftest import REPOSITORY
from tests.services import dali

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
BASE = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCKS = {
    "consumer": BASE + EXTRAS["consumer"],
    "cpu": BASE + EXTRAS["cpu"] + EXTRAS["mqtt"],
    "gpu": BASE + EXTRAS["gpu"] + EXTRAS["mqtt"],
    "dev": BASE + EXTRAS["cpu"] + EXTRAS["mqtt"] + PROJECT["dependency-groups"]["dev"],
    "train": BASE + EXTRAS["cpu"] + EXTRAS["mqtt"] + EXTRAS["train"] + PROJECT["dependency-groups"]["dev"],
}


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def locked(lock: str) -> dict[str, str]:
    """Name -> its line, of one lock file."""
    text = (REPOSITORY / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return {name_of(line): line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_is_asked_for(lock: str) -> None:
    assert {name_of(requirement) for requirement in LOCKS[lock]} <= set(locked(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_version_is_exact_and_hashed(lock: str) -> None:
    text = (REPOSITORY / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    assert all("==" in line for line in locked(lock).values())
    assert text.count("--hash=sha256:") >= len(locked(lock))
    assert "://" not in text


VIDEO = {"av", "opencv-python-headless", "openvino", "onnxruntime", "onnx", "faiss-cpu", "trackers", "supervision"}


def test_a_consumer_needs_nothing_of_video() -> None:
    assert not locked("consumer").keys() & (VIDEO | {"opencv-python", "matplotlib", "torch", "scipy"})
    assert len(locked("consumer")) < 25


def test_the_command_line_and_a_consumer_have_the_same_versions_everywhere() -> None:
    for other in ("cpu", "gpu", "dev"):
        assert {name: locked(other).get(name) for name in locked("consumer")} == locked("consumer")
    # NNCF holds numpy back on newer Pythons.
    same = locked("consumer").keys() - {"numpy"}
    assert {name: locked("train").get(name) for name in same} == {name: locked("consumer")[name] for name in same}


def test_video_needs_the_same_on_every_machine() -> None:
    engines = ("faiss", "nvidia", "onnx", "openvino", "tensorrt", "torch")
    common = [[each for each in EXTRAS[extra] if not each.startswith(engines)] for extra in ("cpu", "gpu")]
    assert common[0] == common[1]
    assert {name_of(each) for each in common[0]} >= {"av", "opencv-python-headless", "trackers"}


@pytest.mark.parametrize("lock", ["cpu", "gpu", "dev", "train"])
def test_opencv_comes_without_windows(lock: str) -> None:
    assert "opencv-python-headless" in locked(lock)
    assert "sys_platform == 'never'" in locked(lock)["opencv-python"]


def test_what_cannot_share_an_environment_does_not() -> None:
    assert not {"onnxruntime", "faiss-cpu"} & set(locked("gpu"))
    assert not {"onnxruntime-gpu", "faiss-gpu-cu12", "torch"} & (set(locked("cpu")) | set(locked("dev")))


def test_the_workshop_runs_models_with_the_engines_that_serve() -> None:
    engines = ("openvino", "onnxruntime", "onnx", "faiss-cpu", "opencv-python-headless", "av")
    assert {name: locked("train")[name] for name in engines} == {name: locked("cpu")[name] for name in engines}


def test_dali_for_its_tests_comes_from_the_lock_of_gpus() -> None:
    entries = dali.locked((REPOSITORY / "requirements" / "gpu.txt").read_text(encoding="utf-8"))
    assert entries["nvidia-dali-cuda120"].startswith("nvidia-dali-cuda120==")
    assert all("--hash=sha256:" in entry for entry in entries.values())
    # What the development set holds as well is not fetched again: it must be the same.
    for name in entries.keys() & locked("dev").keys():
        assert entries[name].splitlines()[0] == locked("dev")[name]
