"""Tests of the workshop need torch: they are left out without it, or fail where VIDFACE_REQUIRE_TORCH=1 is set."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.workshop.lfw import Lfw
from weights import store

NEEDED = ("torch", "torchvision", "torch_pruning", "nncf", "tensorboard", "onnxscript")
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]

if ABSENT:
    if os.environ.get("VIDFACE_REQUIRE_TORCH") == "1":
        raise RuntimeError(f"VIDFACE_REQUIRE_TORCH=1, but {', '.join(ABSENT)} is not installed; run: make workshop")
    # Their modules import torch at the top, so that they can't even be collected.
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """Torch takes every processor; two give the same results on every machine."""
    import torch

    torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For networks and pictures so small that two threads do little but wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the test's own."""
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_paths: Mapping[str, Path]) -> Path:
    """A cache of the test's own with the pulled models in it."""
    shared = store.default_cache_dir()
    own = tmp_path / "cache"
    (own / "models").mkdir(parents=True)
    for name in model_paths:
        (own / "models" / name).symlink_to(shared / "models" / name)
    (own / "artifacts").symlink_to(shared / "artifacts")
    monkeypatch.setenv("VIDFACE_CACHE_DIR", str(own))
    return own


@pytest.fixture
def photos(tmp_path: Path, real_data: Path) -> Path:
    folder = tmp_path / "photos"
    for path in sorted((real_data / "lfw" / "images").iterdir())[::8]:
        (folder / path.name).parent.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def lfw(real_data: Path, model_paths: Mapping[str, Path]) -> Lfw:
    """Found once for all tests: it takes a minute. The models are those of the shipped manifest."""
    assert model_paths
    return Lfw(real_data / "lfw")
