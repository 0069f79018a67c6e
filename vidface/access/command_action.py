"""A door that a program opens. The program gets no shell, and the decision as JSON on its standard input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence

from vidface.access.action import Opening
from vidface.access.errors import ActionFailed, ActionTimedOut


class CommandAction:
    """Runs a program and waits for it; what it writes to its standard output is not looked at."""

    def __init__(self, command: Sequence[str], *, timeout_s: float) -> None:
        """Describe the program; nothing is run.

        Args:
            command: Its path and arguments. Nothing of an event is ever put among them.
            timeout_s: How long it may take.
        """
        self._command = list(command)
        self._timeout_s = timeout_s

    @property
    def timeout_s(self) -> float:
        """How long it may take."""
        return self._timeout_s

    def run(self, opening: Opening) -> None:
        """Run it; see `Action`. One that takes too long is killed, with whatever it has started."""
        program = self._command[0]
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            words = f"{program} cannot be run: {error.strerror or error}"
            raise ActionFailed(words, nothing_begun=True) from error
        with process:
            try:
                process.communicate(json.dumps(opening.to_json()).encode(), timeout=self._timeout_s)
            except subprocess.TimeoutExpired as error:
                _kill(process)
                raise ActionTimedOut(f"{program} took longer than {self._timeout_s:g} s and was killed") from error
            except BaseException:
                _kill(process)
                raise
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            raise ActionFailed(f"{program} was ended by the signal {name}")
        if process.returncode > 0:
            raise ActionFailed(f"{program} ended with status {process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
