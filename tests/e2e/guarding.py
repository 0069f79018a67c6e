"""`vidface access` as a process that is sent events, and whose audit log is looked at."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.events.event import Event, rfc3339, unix_ns
from tests.e2e.installation import LOOK_S, PATIENCE_S, command
from tests.e2e.story import data


def live(event: Event, now_ns: int, age_s: float = 0.3, **changes: Any) -> Event:
    """A recording's event as a live camera would have sent it: the same face, seen so long ago."""
    captured_ns = now_ns - round(age_s * 1e9)
    shift_ns = captured_ns - unix_ns(data(event)["captured_at"])
    shifted = {name: rfc3339(unix_ns(data(event)[name]) + shift_ns) for name in ("first_seen_at", "last_seen_at")}
    decided_ns = captured_ns + 100_000_000
    return replace(
        event,
        time_ns=decided_ns,
        data={
            **event.data,
            **shifted,
            "captured_at": rfc3339(captured_ns),
            "decided_at": rfc3339(decided_ns),
            "age_ms": 100.0,
            **changes,
        },
    )


class Guarding:
    """A running ``vidface access``, until the block is left."""

    def __init__(self, doors: Path, send: Callable[..., None]) -> None:
        """Describe it.

        Args:
            doors: The file of doors; its folder is where it runs.
            send: Puts events where it looks for them.
        """
        self.folder = doors.parent
        self.send = send
        self._doors = doors
        self._out, self._err = self.folder / "access.out", self.folder / "access.err"
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Guarding:
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command("access", "--config", self._doors), cwd=self.folder, stdout=out, stderr=err
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def audit(self) -> list[dict[str, Any]]:
        path = self.folder / "access-state" / "audit.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def until(self, found: Callable[[list[dict[str, Any]]], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not found(self.audit()):
            assert self._process.poll() is None, self._err.read_text()
            assert time.monotonic() < deadline_s, self.audit()
            time.sleep(LOOK_S)  # another process writes the file: there is nothing to wait on

    def repeat(self, make: Callable[[], Event]) -> Event:
        """Send events until one is decided: it follows the file from its end, and may not have opened it yet."""
        before = len(self.audit())
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            event = make()
            self.send(event)
            time.sleep(LOOK_S)
            if len(self.audit()) > before:
                return event
            assert self._process.poll() is None, self._err.read_text()
            assert time.monotonic() < deadline_s

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S), self._out.read_text(encoding="utf-8")


def reasons(audit: list[dict[str, Any]]) -> list[str]:
    return [entry["reason"] for entry in audit if entry["kind"] == "decision"]
