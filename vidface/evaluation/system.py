"""The machine that was measured, and what this process takes of it: processor time by kind of thread, and memory.

Threads are told apart by their names: Python's own by the name they were given, FFmpeg's by the name that FFmpeg gives
them, and whatever else there is belongs to the engines that run the models. What can't be read (no /proc) is left out,
and then counts as ``other``.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pipeline.engine import usable_cpus
from vidface.assemble import Models

_TASKS: Final = Path("/proc/self/task")
_PACKAGES: Final = (
    "vidface",
    "av",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "onnxruntime",
    "faiss-cpu",
    "trackers",
)

DECODE: Final = "decode"
DETECT: Final = "detect"
ANALYSIS: Final = "analysis"
INFERENCE: Final = "inference"
SINKS: Final = "sinks"
BENCH: Final = "bench"
"""The kinds of threads; `INFERENCE` are the engines' own."""


def describe_machine(models: Models) -> dict[str, Any]:
    """What figures depend on and code does not say: processor, engines, versions."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "engines": {
            "detector": models.detector.description,
            "refiner": models.refiner.description,
            "embedder": models.embedder.description,
        },
        "versions": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name, as the system has it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"model name", "Model"}:
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def rss_bytes() -> int:
    """The process's resident memory now; its largest so far where the system says no more."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return peak_rss_bytes()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes() -> int:
    """The process's largest resident memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(slots=True)
class _Thread:
    """One thread's processor time: at first, and as last seen."""

    kind: str
    base_ns: int
    last_ns: int


@dataclass(slots=True)
class CpuAccount:
    """Processor time since it was made, by kind of thread. `sample` belongs to one thread, `note_here` to any.

    A thread's time is known as of the last sample before it ended, or exactly as of its last `note_here`.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: dict[int, _Thread] = field(default_factory=dict)
    _began_ns: int = field(default_factory=time.process_time_ns)
    _process_ns: int = 0

    def __post_init__(self) -> None:
        self.sample()
        for thread in self._threads.values():
            thread.base_ns = thread.last_ns

    def sample(self) -> None:
        """Look at every thread that there is."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        with self._lock:
            self._process_ns = time.process_time_ns() - self._began_ns
            for tid, cpu_ns in _tasks():
                known = self._threads.get(tid)
                if known is None:
                    known = self._threads[tid] = _Thread(thread_kind(names.get(tid), _name_of(tid)), 0, 0)
                elif tid in names:
                    known.kind = thread_kind(names[tid], "")
                known.last_ns = max(known.last_ns, cpu_ns)

    def note_here(self) -> None:
        """Take down the calling thread's time: before it ends, where no sample would see it any more."""
        tid = threading.get_native_id()
        kind = thread_kind(threading.current_thread().name, "")
        with self._lock:
            self._threads.setdefault(tid, _Thread(kind, 0, 0)).last_ns = time.thread_time_ns()

    def seconds(self) -> Mapping[str, float]:
        """Seconds of processor time by kind of thread; `total` is the whole process."""
        with self._lock:
            sums: dict[str, float] = {}
            for thread in self._threads.values():
                sums[thread.kind] = sums.get(thread.kind, 0.0) + max(0, thread.last_ns - thread.base_ns) / 1e9
            return {**sums, "total": self._process_ns / 1e9}


def thread_kind(name: str | None, comm: str) -> str:
    """What a thread is for.

    Args:
        name: Its name in Python; None for a thread that is not Python's.
        comm: Its name in the system.
    """
    if name is None:
        return DECODE if comm.startswith("av:") else INFERENCE
    for prefix, kind in (
        ("vidface camera ", DECODE),
        ("vidface detect", DETECT),
        ("vidface analysis", ANALYSIS),
        ("bench ", DECODE),
        ("MainThread", BENCH),
    ):
        if name.startswith(prefix):
            return kind
    return SINKS


def _name_of(tid: int) -> str:
    """A thread's name in the system; empty where it has ended."""
    try:
        return (_TASKS / str(tid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _tasks() -> Iterator[tuple[int, int]]:
    """(thread id, processor time in ns) of each thread of this process."""
    try:
        tids = [int(folder.name) for folder in _TASKS.iterdir()]
    except OSError:
        return
    for tid in tids:
        try:
            yield tid, time.clock_gettime_ns(_cpu_clock(tid))
        except OSError:
            continue  # it has ended meanwhile


def _cpu_clock(tid: int) -> int:
    """The id of a thread's clock of processor time: as Linux makes it (CPUCLOCK_PERTHREAD_MASK, CPUCLOCK_SCHED).

    /proc tells the same in ticks of 10 ms, too coarse for threads that work little and often.
    """
    return (~tid << 3) | 6
