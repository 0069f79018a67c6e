"""vidface as its user has it: a folder with a configuration, and the command in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pipeline.events.event import Event
from tests.schemas import assert_valid_document

PATIENCE_S: Final = 90.0
"""Far above anything that should happen, on a machine that does much else as well."""

LOOK_S: Final = 0.05
"""How often another process's file is looked at."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Installation:
    """A folder with ``cameras.yaml``, its data folder ``state`` and its file of events ``events.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "cameras.yaml"
        self.data_dir = folder / "state"
        self.events_path = folder / "events.jsonl"

    def configure(self, *cameras: str, sinks: Sequence[str] = ()) -> Path:
        """Write the configuration: cameras as YAML flow mappings; its sinks come behind the file of events."""
        lines = ["data_dir: ./state", "cameras:", *(f"  - {{{camera}}}" for camera in cameras)]
        lines += ["sinks:", "  - {type: jsonl, path: events.jsonl}", *(f"  - {{{sink}}}" for sink in sinks)]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.config

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None, timeout_s: float = PATIENCE_S) -> Done:
        """Run a command of ours to its end."""
        done = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(status=done.returncode, out=done.stdout, err=done.stderr)

    def serve(self, *arguments: str) -> Serving:
        """``vidface serve`` on the configuration, for a ``with``; its end is the caller's to bring about."""
        return Serving(self, arguments)

    def events(self) -> list[Event]:
        """What the file of events holds, each checked against its schema."""
        if not self.events_path.exists():
            return []
        text = self.events_path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        documents = [json.loads(line) for line in whole.splitlines()]
        for document in documents:
            assert_valid_document(document)
        return [Event.from_cloudevent(document) for document in documents]

    def outbox_rows(self) -> int:
        """How many events the outbox holds, while nobody has it open."""
        with contextlib.closing(sqlite3.connect(self.data_dir / "outbox.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


class Serving:
    """A running ``vidface serve``. Leaving the block kills what is left of it."""

    def __init__(self, installation: Installation, arguments: Sequence[str]) -> None:
        self._installation = installation
        self._arguments = arguments
        self._out = installation.folder / "serve.out"
        self._err = installation.folder / "serve.err"
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command("serve", "--config", self._installation.config, *self._arguments),
                cwd=self._installation.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def running(self) -> bool:
        return self._process.poll() is None

    def until(self, found: Callable[[list[Event]], T | None], timeout_s: float = PATIENCE_S) -> T:
        """Wait for something in the file of events and return it; fails when serve ends before."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            running = self.running()
            events = self._installation.events()
            if (result := found(events)) is not None:
                return result
            told = [event.id for event in events[-8:]]
            assert running, f"serve ended before it happened; last events {told}; it said: {self._err.read_text()}"
            assert time.monotonic() < deadline_s, f"it did not happen; last events {told}"
            time.sleep(LOOK_S)  # another process writes the file: there is nothing to wait on

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> Done:
        """Wait for its end."""
        status = self._process.wait(timeout_s)
        return Done(status=status, out=self._out.read_text(), err=self._err.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Done:
        """Ask it to end, and wait for that."""
        self.send(number)
        return self.wait()


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "vidface", *(str(argument) for argument in arguments)]
