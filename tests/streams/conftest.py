"""What every test of the streams leaves as it found it: threads, processes, descriptors and temporary files."""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import cv2
import numpy as np
import pytest

_PATIENCE_S: Final = 5.0  # a thread that was joined is gone from the kernel's list a moment later
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What this process holds at one moment."""

    threads: frozenset[int]
    """The kernel's ids: FFmpeg's own threads, which Python does not know of, are among them."""
    processes: frozenset[int]
    """Children, by process id; one that ended and was not waited for counts."""
    descriptors: frozenset[tuple[int, str]]
    """Number, and what it is open on."""

    @classmethod
    def now(cls) -> Self:
        gc.collect()
        own = Path("/proc") / str(os.getpid())
        threads, processes, descriptors = set(), set(), set()
        for task in (own / "task").iterdir():
            threads.add(int(task.name))
            try:
                processes |= {int(child) for child in (task / "children").read_text().split()}
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        for entry in (own / "fd").iterdir():
            try:
                descriptors.add((int(entry.name), str(entry.readlink())))
            except FileNotFoundError:
                continue  # the one that lists the folder
        return cls(threads=frozenset(threads), processes=frozenset(processes), descriptors=frozenset(descriptors))

    def beyond(self, before: "Held") -> dict[str, list[object]]:
        """What is held now and was not before, by kind; kinds of which there is nothing are left out."""
        more = {
            "threads": sorted(self.threads - before.threads),
            "processes": sorted(self.processes - before.processes),
            "descriptors": sorted(self.descriptors - before.descriptors),
        }
        return {kind: list(found) for kind, found in more.items() if found}


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
