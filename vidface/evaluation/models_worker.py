"""One line of a comparison of models, in a process of its own: so that its memory is its own.

The process opens one model on one engine and does what it is told: warm up, time so many calls, and say what the model
finds. Between that it waits; processes of other lines are timed meanwhile. Its peak memory is taken when the timing is
over, before the whole data is gone through for accuracy.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from pipeline.canvas import Canvas
from pipeline.engine import EngineOptions
from pipeline.errors import DeviceMissing, EngineMissing
from pipeline.faces import F32, Faces, U8Image
from pipeline.mobilefacenet import MobileFaceNet
from pipeline.retinaface import DetectorOptions, RetinaFace
from vidface.evaluation.candidates import Candidate
from vidface.evaluation.system import peak_rss_bytes
from weights.manifest import Task

LOWEST_SCORE: Final = 0.02
"""Average precision wants faint faces, too."""

LEAST_RUNS: Final = 3
WARM_UP_CALLS: Final = 3

_PATIENCE_S: Final = 600.0
"""A worker that says nothing for so long hangs; the slowest answer is a round of a slow model or all faces of LFW."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process works on.

    Attributes:
        model: The model.
        engine: How to run it.
        canvas: A detector's.
        data: A ``.npy`` file: ``(N, H, W, 3)`` uint8 BGR canvases or aligned faces.
    """

    model: Candidate
    engine: EngineOptions
    canvas: Canvas
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that is ready.

    Attributes:
        description: What runs it.
        open_s: Seconds that reading and compiling took.
        base_rss_bytes: The process's memory before.
    """

    description: str
    open_s: float
    base_rss_bytes: int


class LineFailed(Exception):
    """The model can't be run in this way on this machine; the message says why.

    Attributes:
        whoever: No model can, because the device, its arithmetic or the engine is missing.
    """

    def __init__(self, message: str, *, whoever: bool = False) -> None:
        super().__init__(message)
        self.whoever = whoever


class Worker:
    """The parent's end of one process; a context manager. One thread uses it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._connection: Connection
        self._process: BaseProcess

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")  # a fork would start with the parent's memory
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._job), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # the process ends when nobody is there to tell it anything
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def opened(self) -> Opened:
        """Wait until the model is ready. Raises `LineFailed`."""
        answer = self._answer()
        assert isinstance(answer, Opened)
        return answer

    def warm_up(self, batch: int) -> None:
        """Let it run a few batches of this size, which are not counted."""
        self._ask("warm_up", batch)

    def time(self, batch: int, *, runs: int | None, seconds: float) -> list[int]:
        """Nanoseconds of each call on a batch of this size: so many, or for so long."""
        return list(self._ask("time", batch, runs, seconds))

    def peak_rss_bytes(self) -> int:
        """The process's largest resident memory so far."""
        return int(self._ask("peak"))

    def faces(self) -> list[Faces]:
        """A detector's faces of each canvas down to `LOWEST_SCORE`, in canvas pixels."""
        return list(self._ask("faces"))

    def templates(self) -> F32:
        """An embedder's ``(N, D)`` unit rows of all faces."""
        return np.asarray(self._ask("templates"), np.float32)

    def _ask(self, *words: object) -> Any:
        self._connection.send(words)
        return self._answer()

    def _answer(self) -> Any:
        try:
            if not self._connection.poll(_PATIENCE_S):
                raise LineFailed(f"it did not answer within {_PATIENCE_S:.0f} s")
            outcome, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(5.0)
            raise LineFailed(f"its process ended with status {self._process.exitcode}") from error
        if outcome == "failed":
            message, whoever = value
            raise LineFailed(message, whoever=whoever)
        return value


def _work(connection: Connection, job: Job) -> None:
    """The process's whole life."""
    try:
        base = memory_peak_bytes()
        began_s = time.perf_counter()
        model = _Model(job)
        opened = Opened(description=model.description, open_s=time.perf_counter() - began_s, base_rss_bytes=base)
        connection.send(("done", opened))
        commands: Mapping[str, Callable[..., object]] = {
            "warm_up": model.warm_up,
            "time": model.time,
            "peak": memory_peak_bytes,
            "faces": model.faces,
            "templates": model.templates,
        }
        while True:
            name, *arguments = connection.recv()
            connection.send(("done", commands[name](*arguments)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return  # nobody is there any more
    except Exception as error:  # whatever it is, the parent tells it as this line's reason
        whoever = isinstance(error, DeviceMissing | EngineMissing)
        connection.send(("failed", (str(error) or type(error).__name__, whoever)))


class _Model:
    """The model in its process, and its pictures."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._data: U8Image = np.load(job.data, mmap_mode="c")  # what is not timed takes no memory
        self._call: Callable[[U8Image], object]
        spec, path = job.model.spec, job.model.path
        if spec.task is Task.DETECT:
            detector = RetinaFace.open(path, spec, DetectorOptions(canvas=job.canvas), job.engine)
            self.description, self._call = detector.description, detector.detect
        else:
            embedder = self._embedder = MobileFaceNet.open(path, spec, job.engine)
            self.description, self._call = embedder.description, embedder.embed

    def _batch(self, size: int, number: int) -> U8Image:
        """Another part of the data for each number; the data over again where it is at its end."""
        rows = np.arange(number * size, (number + 1) * size) % len(self._data)
        return np.ascontiguousarray(self._data[rows])

    def warm_up(self, batch: int) -> None:
        for number in range(WARM_UP_CALLS):
            self._call(self._batch(batch, number))

    def time(self, batch: int, runs: int | None, seconds: float) -> list[int]:
        # The first call after another process's turn finds the processor's caches full of other things.
        self._call(self._batch(batch, 0))
        samples: list[int] = []
        end_ns = time.perf_counter_ns() + round(seconds * 1e9)
        least = LEAST_RUNS if runs is None else runs
        while len(samples) < least or (runs is None and time.perf_counter_ns() < end_ns):
            pictures = self._batch(batch, len(samples))
            began_ns = time.perf_counter_ns()
            self._call(pictures)
            samples.append(time.perf_counter_ns() - began_ns)
        return samples

    def faces(self) -> list[Faces]:
        job = self._job
        options = DetectorOptions(canvas=job.canvas, score_threshold=LOWEST_SCORE)
        detector = RetinaFace.open(job.model.path, job.model.spec, options, replace(job.engine, streams=1))
        return [faces for row in range(len(self._data)) for faces in detector.detect(self._data[row : row + 1])]

    def templates(self) -> F32:
        return self._embedder.embed(self._data)


def memory_peak_bytes() -> int:
    """This process's largest resident memory so far.

    Linux's getrusage starts a new program with the largest memory of the one that started it; the high-water mark of
    /proc is the program's own.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return peak_rss_bytes()
