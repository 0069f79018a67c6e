"""What can go wrong in the application itself.

    VidfaceError
    ├── ConfigError     a configuration that cannot be used         (ValueError)
    ├── UsageError      a command line that asks for the impossible (ValueError)
    ├── BadInput        a file that is not what a command takes    (ValueError)
    ├── NothingToTail   `events tail` has no sink it can follow     (LookupError)
    ├── PortTaken       the metrics port can't be listened on       (OSError)
    ├── NothingAnswers  no running service where `top` looks        (ConnectionError)
    └── Declined        the user answered no                        (RuntimeError)

Each also inherits the builtin named beside it. `exit_status` is what the command line ends with, `code` what a
program reads in the JSON form of an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class VidfaceError(Exception):
    """The root of this package's errors."""

    code: ClassVar[str] = "vidface_error"
    exit_status: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a configuration file.

    Attributes:
        message: What is wrong, what was given and what is legal, without the place. Never holds a secret.
        field: The dotted path, such as ``cameras[1].source``; empty for the file as a whole.
        line: From 1; None where the file has no lines to point at.
        column: From 1.
    """

    message: str
    field: str = ""
    line: int | None = None
    column: int | None = None

    def describe(self, path: Path) -> str:
        """``file:line:column: field: message``."""
        place = str(path) if self.line is None else f"{path}:{self.line}:{self.column}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class ConfigError(VidfaceError, ValueError):
    """A configuration that cannot be used; all that is wrong with it is reported together.

    Attributes:
        path: The configuration file.
        problems: At least one, in the order of the file.
    """

    code = "config_error"
    exit_status = 2

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.describe(path) for problem in problems))
        self.path = path
        self.problems = tuple(problems)


class UsageError(VidfaceError, ValueError):
    """A command line that is well formed but asks for what cannot be."""

    code = "usage_error"
    exit_status = 2


class NothingToTail(VidfaceError, LookupError):
    """`vidface events tail` was given a configuration without a sink that it can follow."""

    code = "nothing_to_tail"


class PortTaken(VidfaceError, OSError):
    """The port that metrics should be told on can't be listened on."""

    code = "port_taken"


class NothingAnswers(VidfaceError, ConnectionError):
    """No running service answers where `vidface top` looks for one."""

    code = "nothing_answers"


class Declined(VidfaceError, RuntimeError):
    """The user answered no to a question; nothing was changed."""

    code = "declined"


class BadInput(VidfaceError, ValueError):
    """A file that was given to a command is not what the command takes."""

    code = "bad_input"
