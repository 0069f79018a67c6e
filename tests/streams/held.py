"""What this process holds at a moment, so that two moments can be compared."""

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


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

    def beyond(self, before: "Held") -> dict[str, list[Any]]:
        """What is held now and was not before, by kind; kinds of which there is nothing are left out."""
        more: dict[str, list[Any]] = {
            "threads": sorted(self.threads - before.threads),
            "processes": sorted(self.processes - before.processes),
            "descriptors": sorted(self.descriptors - before.descriptors),
        }
        return {kind: found for kind, found in more.items() if found}


def resident_mib() -> float:
    """Memory of this process that is in the machine's, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
