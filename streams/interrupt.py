"""Breaking into FFmpeg's blocking calls: a stop from another thread, and a deadline.

FFmpeg asks a callback, some ten times a second while it waits for a network, whether it should give up. PyAV's callback
compares the time with a timeout that is fixed when a call begins; it offers no way to say "stop now", so a camera that
accepts a connection and stays silent would hold its thread for the whole timeout, and a shutdown with it. Reading in
short slices instead is no way out: a slice that ends inside a packet loses it, and a camera that sends one frame a
second would never be heard.

What the callback does read anew each time is its clock. This module puts a clock in that place which is the usual
monotonic one, except in a thread that is inside `Interrupt.within` and has been stopped or has passed its deadline:
there the time leaps ahead at each reading, so that every timeout has passed. PyAV's own timeouts stay in force
behind it: were the clock not in its place in some future PyAV, a stop would take as long as they do, and nothing else
would change. A test holds that it works.

Not interruptible, because FFmpeg does not ask there: looking up a host name, and waiting for a Video4Linux device.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from av.container import core as _av_container_core

_LEAP_S = 1e6  # far above any timeout


class _Present(threading.local):
    """The interrupt that this thread is within, if any."""

    interrupt: "Interrupt | None" = None


_present = _Present()


class _InterruptibleTime:
    """Stands where PyAV's container module has the module `time`, of which it reads `monotonic` alone."""

    def monotonic(self) -> float:
        """Seconds of the monotonic clock, leaping ahead in a thread that should leave FFmpeg."""
        interrupt = _present.interrupt
        return time.monotonic() if interrupt is None else interrupt.reading()

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


# The module is compiled and its names are not for assigning, but its globals are an ordinary dictionary.
vars(_av_container_core)["time"] = _InterruptibleTime()


class Interrupt:
    """Lets a thread's FFmpeg calls be left early. `within` is for that one thread."""

    def __init__(self, stopped: threading.Event) -> None:
        """Watch an event.

        Args:
            stopped: Once set, by any thread, every call inside `within` returns at once with an error.
        """
        self._stopped = stopped
        self._deadline_s = float("inf")
        self._leapt_s = 0.0
        self._timed_out = False

    @property
    def timed_out(self) -> bool:
        """Whether the last `within` went past its limit, and not because of a stop."""
        return self._timed_out and not self._stopped.is_set()

    @contextmanager
    def within(self, limit_s: float) -> Iterator[None]:
        """Make FFmpeg calls of this thread interruptible, and let them take `limit_s` seconds together."""
        self._deadline_s = time.monotonic() + limit_s
        self._leapt_s = 0.0
        self._timed_out = False
        _present.interrupt = self
        try:
            yield
        finally:
            _present.interrupt = None

    def reading(self) -> float:
        """The time that FFmpeg's callback is told, in seconds."""
        now_s = time.monotonic()
        if now_s > self._deadline_s:
            self._timed_out = True
        if self._timed_out or self._stopped.is_set():
            # A fixed far time would not do: a call that begins after the stop would measure from there.
            self._leapt_s += _LEAP_S
        return now_s + self._leapt_s
