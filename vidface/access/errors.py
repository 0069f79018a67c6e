"""What can go wrong between a decision and a door.

    AccessError
    ├── LedgerError        the ledger cannot be opened, read or written    (OSError)
    │   └── LedgerLocked   another process decides for these doors
    ├── AuditError         the audit log cannot be written                 (OSError)
    └── ActionFailed       what opens the door did not do it               (RuntimeError)
        └── ActionTimedOut it did not answer in time                       (TimeoutError)

Each also inherits the builtin named beside it. Ledger and audit errors end the process: without them no door opens.
An action's error ends nothing. No message holds a credential.
"""

from __future__ import annotations

from pathlib import Path

from vidface.errors import VidfaceError


class AccessError(VidfaceError):
    """The root of this package's errors."""

    code = "access_error"


class LedgerError(AccessError, OSError):
    """The ledger cannot be opened, read or written."""

    code = "ledger_error"

    def __init__(self, path: Path | None, words: str) -> None:
        super().__init__(f"{path or 'the ledger in memory'}: {words}; no door opens without it")


class LedgerLocked(LedgerError):
    """Another process has the ledger open; two would open a door twice."""

    code = "ledger_locked"


class AuditError(AccessError, OSError):
    """The audit log cannot be written."""

    code = "audit_error"

    def __init__(self, path: Path, words: str) -> None:
        super().__init__(f"{path}: {words}; no door opens without an audit log")


class ActionFailed(AccessError, RuntimeError):
    """What opens a door did not do it.

    Attributes:
        nothing_begun: Whether it is certain that the door was not touched.
    """

    code = "action_failed"

    def __init__(self, words: str, *, nothing_begun: bool = False) -> None:
        super().__init__(words)
        self.nothing_begun = nothing_begun


class ActionTimedOut(ActionFailed, TimeoutError):
    """What opens a door did not answer in time; whether the door opened is not known."""

    code = "action_timed_out"
