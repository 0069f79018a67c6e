"""What a source's loop reads from: an open recording or stream, whatever is behind it."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from streams.frame import Picture
from streams.shed import Skipped
from streams.state import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A picture, in presentation order."""

    picture: Picture
    pts_ns: int | None
    """In the medium's own time; None where it has none."""
    received_ns: int | None = None
    """Monotonic ns at which its first packet arrived, before it was decoded; None where the medium does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """Something that should have been a picture and could not be decoded; reading goes on."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecoded:
    """A frame that was left out because the machine could not keep up, see `shed`."""

    why: Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEnd:
    """How a medium ended."""

    cause: Cause
    detail: str


class Media(Protocol):
    """An open medium. Used by one thread."""

    @property
    def step_ns(self) -> int:
        """What a frame lasts where nothing better is known; above 0."""
        ...

    def read(self) -> Generator[Decoded | Damaged | Undecoded]:
        """Yield what is decoded until the medium ends; blocks while a stream is silent, up to its stall timeout.

        Raises:
            SourceError: Reading failed, with its cause; not at the end of the medium.
        """
        ...

    def skip_to_keyframe(self) -> None:
        """Leave out all of a live source up to its next keyframe, since nobody could look at it; called while reading.

        A medium without keyframes, or which is not live, goes on as it was.
        """
        ...

    def end(self) -> MediaEnd:
        """How the medium ended; called once `read` is exhausted."""
        ...

    def close(self) -> None:
        """Let go of files, sockets and decoder threads. May be called again."""
        ...
