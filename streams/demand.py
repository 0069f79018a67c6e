"""Decoding a stream only while somebody wants its pictures: which packets go to the decoder, and when.

Pure but for a lock: time is passed in. A decoder can begin at a key frame only, and a camera sends one every second or
four. So while nobody wants pictures, the packets since the last key frame are kept, undecoded and bounded in bytes;
once somebody does, they are decoded in one go, which takes a tenth of the time they stand for, and the decoder has
caught up. It goes on for a while after the last wish, since a face that was looked at once is looked at again.

::

    want ──> packets since the last key frame, then each as it comes ──> nobody wanted for `linger_ns` ──> keep again

A decoder that paused in the middle of a group of pictures can go on where it was, as long as nothing was dropped: what
is kept then begins behind the last packet that was decoded, and anew with the next key frame.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar


class Packet(Protocol):
    """What is read off a packet; PyAV's has it."""

    @property
    def is_keyframe(self) -> bool:
        """Whether a decoder can begin here."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...


P = TypeVar("P", bound=Packet)


class Demand(Generic[P]):
    """See the module's text. `want` and the counts are for any thread, the rest for the one that reads packets."""

    def __init__(
        self,
        *,
        linger_ns: int,
        max_held_bytes: int,
        always: bool = False,
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        """Begin with nothing wanted.

        Args:
            linger_ns: Decoding goes on for so long after the last wish.
            max_held_bytes: Packets of more bytes together are not kept: then the next key frame must be waited for.
            always: Decode everything, wanted or not.
            on_pause: Called when decoding stops, by the thread that reads packets.
        """
        if linger_ns <= 0 or max_held_bytes <= 0:
            raise ValueError(f"linger_ns and max_held_bytes must be above 0, got {linger_ns} and {max_held_bytes}")
        self._linger_ns = linger_ns
        self._max_held_bytes = max_held_bytes
        self._always = always
        self._on_pause = on_pause
        self._lock = threading.Lock()
        self._until_ns: int | None = None
        self._held: list[P] = []
        self._held_bytes = 0
        self._continuous = False
        self._decoding = False
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """Packets that were thrown away undecoded."""
        return self._skipped

    @property
    def held(self) -> int:
        """Packets that are kept now, undecoded."""
        return len(self._held)

    def want(self, now_ns: int) -> None:
        """Somebody wants pictures from now on. Never waits for packets."""
        with self._lock:
            self._until_ns = max(self._until_ns or now_ns, now_ns + self._linger_ns)

    def restart(self) -> None:
        """A new connection: its decoder knows nothing of what came before."""
        self._throw_away()
        self._continuous = False
        self._decoding = False

    def admit(self, packet: P, now_ns: int) -> Sequence[P]:
        """Take the next packet of the stream; gives those to decode now, in their order."""
        if self._always:
            return (packet,)
        with self._lock:
            wanted = self._until_ns is not None and now_ns < self._until_ns
        if not wanted:
            if self._decoding:
                self._decoding = False
                if self._on_pause is not None:
                    self._on_pause()
            self._hold(packet)
            return ()
        if not self._decoding:
            self._hold(packet)
            if not self._continuous:
                return ()  # the next key frame is still to come
            self._decoding = True
            chosen, self._held, self._held_bytes = self._held, [], 0
            return chosen
        return (packet,)

    def _hold(self, packet: P) -> None:
        if packet.is_keyframe:
            self._throw_away()
            self._continuous = True
        if self._continuous and self._held_bytes + packet.size <= self._max_held_bytes:
            self._held.append(packet)
            self._held_bytes += packet.size
            return
        self._throw_away()
        self._continuous = False
        self._skipped += 1

    def _throw_away(self) -> None:
        self._skipped += len(self._held)
        self._held, self._held_bytes = [], 0
