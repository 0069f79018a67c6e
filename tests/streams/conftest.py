"""What every test of the streams leaves as it found it: threads, processes, descriptors and temporary files."""

import tempfile
import time
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import pytest

from tests.streams.held import Held

_PATIENCE_S: Final = 5.0  # a thread that was joined is gone from the kernel's list a moment later
_POLL_S: Final = 0.01


@pytest.fixture(scope="session")
def _warmed() -> None:
    """OpenCV makes its threads at first use, and keeps them."""
    cv2.resize(np.zeros((1080, 1920, 3), np.uint8), (640, 360), interpolation=cv2.INTER_AREA)
    cv2.cvtColor(np.zeros((1080 * 3 // 2, 1920), np.uint8), cv2.COLOR_YUV2BGR_I420)


@pytest.fixture(autouse=True)
def leaves_no_trace(
    _warmed: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No thread, child process, descriptor or temporary file outlives its test."""
    # A folder of its own: others write into the machine's at the same time.
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = Held.now()
    yield
    deadline_s = time.monotonic() + _PATIENCE_S
    while (left := Held.now().beyond(before)) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    assert not left, f"left behind: {left}"
    files = [path.name for path in folder.iterdir()]
    assert not files, f"temporary files left behind: {files}"
