"""What every test may ask for: the folder of real faces and clips, and the real parts under `tests.services`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.services.weights",
    "tests.services.rtsp",
    "tests.services.rtsp_dialogue",
    "tests.services.kafka",
    "tests.services.mqtt",
    "tests.services.dali",
    "tests.services.browser",
    "tests.services.asyncapi",
]

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with ``lfw``, ``scenes`` and ``clips``; VIDFACE_TEST_DATA names another place."""
    folder = Path(os.environ.get("VIDFACE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "scenes" / "lobby.mp4").is_file():
        pytest.skip(f"no real faces in {folder}; VIDFACE_TEST_DATA names their folder")
    return folder


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    """Whoever starts a thread joins it. Daemons are left to the libraries that made them."""
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and not thread.daemon]
    assert not left, f"threads left behind: {left}"
