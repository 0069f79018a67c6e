"""Time, injected. `SYSTEM_CLOCK` is the real one; `streams.fake.FakeClock` never sleeps."""

import threading
import time
from typing import Final, Protocol


class Clock(Protocol):
    """Two clocks and a sleep that can be cut short. Safe to use from several threads."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; comparable only within this process."""
        ...

    def unix_ns(self) -> int:
        """Nanoseconds since 1970, as the machine's wall clock has it."""
        ...

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        """Sleep until `interrupt` is set or `timeout_s` seconds have passed.

        Returns:
            True if `interrupt` is set, False if the time has passed.
        """
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """See `Clock.unix_ns`."""
        return time.time_ns()

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        """See `Clock.wait`."""
        return interrupt.wait(max(0.0, timeout_s))


SYSTEM_CLOCK: Final[Clock] = SystemClock()
