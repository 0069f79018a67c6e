"""The states of a camera, the legal ways between them, and the codes that say why.

::

    (new) ──> CONNECTING ──> LIVE ──> LOST ──> CONNECTING ...
                  │            │        ^
                  ├────────────┼────────┘  (an attempt failed)
                  └──> ENDED <─┴── from every state; nothing follows it

A camera that stays away is told once: the first failed attempt moves it to LOST and back to CONNECTING, and further
attempts that fail for the same cause are silent, since a day of them would be a hundred thousand events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streams.clock import Clock
from streams.errors import IllegalTransitionError


class CameraStateName(StrEnum):
    """What a camera is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    ENDED = "ended"


class Cause(StrEnum):
    """Why a camera changed its state; machine codes that do not change."""

    STARTING = "starting"
    """First attempt."""
    RETRYING = "retrying"
    """A further attempt after a loss."""
    OPENED = "opened"
    """The first picture was decoded."""
    OPEN_FAILED = "open_failed"
    """It could not be opened, or holds no picture."""
    OPEN_TIMEOUT = "open_timeout"
    """It did not answer, or sent no picture, in time."""
    AUTH_FAILED = "auth_failed"
    """User or password were refused."""
    STALLED = "stalled"
    """It was open, and then sent nothing for too long."""
    READ_FAILED = "read_failed"
    """The connection broke."""
    UNDECODABLE = "undecodable"
    """Too many damaged pictures in a row."""
    RESIZED = "resized"
    """The size in which its faces are told has changed, because its main stream has come."""
    EOF = "eof"
    """The stream or recording is over."""
    TRUNCATED = "truncated"
    """The recording is over before its announced end."""
    STOPPED = "stopped"
    """It was asked to stop."""
    OVERLOADED = "overloaded"
    """It is live, and the machine can't look at it as often as wanted."""
    RECOVERED = "recovered"
    """The machine keeps up with it again."""
    CONSUMER_FAILED = "consumer_failed"
    """Whoever takes the frames raised an error."""


LEGAL: Final[Mapping[CameraStateName | None, frozenset[CameraStateName]]] = {
    None: frozenset({CameraStateName.CONNECTING, CameraStateName.ENDED}),
    CameraStateName.CONNECTING: frozenset({CameraStateName.LIVE, CameraStateName.LOST, CameraStateName.ENDED}),
    CameraStateName.LIVE: frozenset({CameraStateName.LOST, CameraStateName.ENDED}),
    CameraStateName.LOST: frozenset({CameraStateName.CONNECTING, CameraStateName.ENDED}),
    CameraStateName.ENDED: frozenset(),
}
"""State (None: new) to the states that may follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """A camera's state from `at_ns` on."""

    camera: str
    epoch: int
    """Of the connection that this state belongs to or follows; 0 before the first."""
    name: CameraStateName
    cause: str
    """Machine code, one of `Cause`."""
    detail: str
    """One human line, redacted."""
    at_ns: int
    """Unix ns."""


class StateLine:
    """Holds one camera's state, lets only legal moves through and tells each of them. Used by one thread."""

    def __init__(self, camera: str, *, on_state: Callable[[CameraState], None], clock: Clock) -> None:
        self._camera = camera
        self._on_state = on_state
        self._clock = clock
        self._name: CameraStateName | None = None

    @property
    def name(self) -> CameraStateName | None:
        """The present state; None before the first move."""
        return self._name

    def move(self, name: CameraStateName, *, cause: Cause, detail: str, epoch: int) -> None:
        """Move to `name` and tell it.

        Raises:
            IllegalTransitionError: `name` cannot follow the present state.
        """
        if name not in LEGAL[self._name]:
            legal = ", ".join(sorted(LEGAL[self._name])) or "nothing"
            raise IllegalTransitionError(
                f"camera {self._camera!r}: {name} ({cause}) cannot follow {self._name or 'new'}, only {legal} can"
            )
        self._name = name
        self._on_state(
            CameraState(
                camera=self._camera,
                epoch=epoch,
                name=name,
                cause=cause,
                detail=detail,
                at_ns=self._clock.unix_ns(),
            )
        )
