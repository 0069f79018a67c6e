"""Everything that `streams` raises on purpose.

::

    StreamsError
    ├── SourceError (OSError)                a camera or recording could not be opened or read
    ├── SourceSpecError (ValueError)         a source is described in a way that cannot work
    ├── DecoderMissing (RuntimeError)        what should decode a camera is not here
    ├── PictureError (ValueError)            pixels that cannot be had: size, layout or colour space
    ├── IllegalTransitionError (RuntimeError)  a camera's state was moved where it cannot go
    ├── Closed (EOFError)                    the other end of a mailbox is gone
    └── MailboxTimeoutError (TimeoutError)   nothing came into a mailbox in time
"""


class StreamsError(Exception):
    """Root of every error of this package."""


class SourceError(StreamsError, OSError):
    """A camera or recording could not be opened, or reading it failed.

    Attributes:
        camera: Camera id.
        source: Address of the source, redacted: it never holds a user, a password or a token.
        cause: Machine code, one of `streams.state.Cause`.
        detail: One human line, what is wrong and what to do, redacted.
    """

    def __init__(self, *, camera: str, source: str, cause: str, detail: str) -> None:
        super().__init__(f"camera {camera!r}, source {source!r}: {detail} [{cause}]")
        self.camera = camera
        self.source = source
        self.cause = cause
        self.detail = detail

    def __str__(self) -> str:
        # OSError's own __str__ would look for an errno first.
        return str(self.args[0])


class SourceSpecError(StreamsError, ValueError):
    """A source's description contradicts itself or is out of range."""


class DecoderMissing(StreamsError, RuntimeError):
    """The decoder that was asked for is absent; there is no silent fallback."""


class PictureError(StreamsError, ValueError):
    """Pixels that cannot be had from this picture."""


class IllegalTransitionError(StreamsError, RuntimeError):
    """A camera's state was moved to one that cannot follow; always a bug of this package."""


class Closed(StreamsError, EOFError):
    """The mailbox is closed, and, when taking, empty."""


class MailboxTimeoutError(StreamsError, TimeoutError):
    """Nothing came into a mailbox in the time that was given."""
