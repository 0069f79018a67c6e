"""How a long pull tells someone that it is alive.

The store calls, in the thread that asked for the weights: `start` once a file, `advance` any number of times,
`finish` once, also when the transfer failed. One that resumes begins with an `advance` of what was there.
A package client does not say how far it is: then `total_bytes` is None and `advance` is never called.
"""

from typing import Protocol


class Progress(Protocol):
    """Where a pull reports to. The methods must not block for long and must not raise."""

    def start(self, label: str, total_bytes: int | None) -> None:
        """A transfer begins; `total_bytes` is None where its size is unknown."""

    def advance(self, byte_count: int) -> None:
        """So many more bytes are here; negative when a transfer starts again from less."""

    def finish(self) -> None:
        """The transfer is over, well or badly."""


class Silent:
    """A `Progress` that tells nobody."""

    def start(self, label: str, total_bytes: int | None) -> None:
        """Say nothing."""

    def advance(self, byte_count: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""
