"""The threads that open doors: one a door, so that a door whose controller hangs holds no other one back.

An opening comes here when it is on the disk, in the audit log and in the ledger. Its age is judged once more when its
turn comes; then its action runs, once, whatever becomes of it, and the outcome is written down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from pipeline.events.event import Event
from vidface.access.action import Action, Opening
from vidface.access.audit import AuditLog, outcome_entry
from vidface.access.errors import AccessError, ActionFailed, ActionTimedOut
from vidface.access.ledger import Ledger, Outcome

Told = Callable[[Opening, Outcome, str], None]


class Opener:
    """Runs actions; a context manager. Leaving it waits for those that run."""

    def __init__(
        self,
        actions: Mapping[str, Action],
        ledger: Ledger,
        audit: AuditLog,
        *,
        on_outcome: Told = lambda _opening, _outcome, _words: None,
        on_failure: Callable[[], None] = lambda: None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Make the threads, which start with their first opening.

        Args:
            actions: By the door's id; a door without one is told and not opened.
            ledger: Where outcomes are kept.
            audit: Where they are told.
            on_outcome: Called with each, in the door's thread.
            on_failure: Called once when outcomes can't be written down any more; `check` then raises.
            now_ns: The clock, Unix.
        """
        self._actions = actions
        self._ledger = ledger
        self._audit = audit
        self._on_outcome = on_outcome
        self._on_failure = on_failure
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._failure: BaseException | None = None

    def open(self, event: Event, opening: Opening) -> None:
        """Let the door's thread run its action. Does not block. For the thread that decides."""
        if opening.door not in self._threads:
            name = f"door-{opening.door}"
            self._threads[opening.door] = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._threads[opening.door].submit(self._run, event, opening)

    def check(self) -> None:
        """Raise what went wrong in a door's thread.

        Raises:
            AccessError: An outcome could not be written down.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """Wait for the actions that run, each no longer than its timeout."""
        for thread in self._threads.values():
            thread.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.check()

    def _run(self, event: Event, opening: Opening) -> None:
        try:
            self._open(event, opening)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._on_failure()

    def _open(self, event: Event, opening: Opening) -> None:
        begun_s = time.monotonic()
        with self._lock:
            is_broken = self._failure is not None
        if is_broken:
            return  # without a ledger and an audit log no door opens
        outcome, words = self._act(opening)
        took_ms = (time.monotonic() - begun_s) * 1000
        now_ns = self._now_ns()
        try:
            self._ledger.finished(event, opening.door, outcome)
        finally:
            key = {"source": opening.source, "id": opening.event_id}
            entry = outcome_entry(key, opening.door, outcome, words, at_ns=now_ns, took_ms=took_ms)
            self._audit.write([entry])
        self._on_outcome(opening, outcome, words)

    def _act(self, opening: Opening) -> tuple[Outcome, str]:
        action = self._actions.get(opening.door)
        if action is None:
            return Outcome.DONE, "the door has no action; nothing was run"
        now_ns = self._now_ns()
        if now_ns > opening.expires_ns or now_ns < opening.decided_ns:
            return Outcome.NOT_BEGUN, "its turn came too late; nothing was run"
        try:
            action.run(opening)
        except ActionTimedOut as error:
            return (Outcome.NOT_BEGUN if error.nothing_begun else Outcome.TIMED_OUT), str(error)
        except ActionFailed as error:
            return (Outcome.NOT_BEGUN if error.nothing_begun else Outcome.FAILED), str(error)
        except AccessError:
            raise
        except Exception as error:  # an action of somebody else's making: whether the door opened is not known
            return Outcome.FAILED, f"the action broke: {type(error).__name__}"
        return Outcome.DONE, "opened"
