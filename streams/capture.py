"""When a live camera's frame was captured, as far as its packets tell. Pure: times are passed in.

A packet arrives some delay after its picture was taken: the camera's encoder, the network, a burst behind a hiccup.
What the sender says of the time of a picture (an RTCP sender report carried on by the RTP timestamps, or these alone)
is exact but on a clock of its own, which need not agree with ours: cameras believe that it is 1970. So the clocks'
difference is estimated: arrival minus sender's time is that difference plus the delay, and the least of it over a
while is the difference plus the least delay. Added to the sender's time it gives a capture time that is never behind
the arrival and has neither jitter nor bursts in it. What stays unknown is the least delay itself, which no
receiver can see without a common clock: ages are too small by it.

The first pictures of a connection come in a burst, read while the stream was opened: until the burst is over, nobody
can know that it is one, and these count as captured when they arrived.
"""

from dataclasses import dataclass
from typing import Final

from streams.timeline import NS_PER_S

_WINDOW_NS: Final = 15 * NS_PER_S
"""The least of this and the window before it counts: drifting clocks (100 ppm at worst) are 3 ms out by then."""
_STEP_NS: Final = NS_PER_S // 4
"""A larger change between a sender's two clocks from one packet to the next is one of them being set."""
_LONGEST_DELAY_NS: Final = 10 * NS_PER_S
"""A longer delay is not believed: the sender's clocks were set or paused. Buffers of cameras hold less."""
_REORDERED_NS: Final = NS_PER_S
"""Packets come in the order of decoding, so times go back by a few B-frames; by more if a clock was set."""


class CaptureClock:
    """One connection's estimate. Feed it every packet in the order of arrival; for one thread."""

    def __init__(self) -> None:
        """Start with no packet seen."""
        self._last: _Seen | None = None
        self._shift_ns = 0
        self._window_start_ns = 0
        self._least_ns: int | None = None
        self._least_before_ns: int | None = None
        self._steps = 0

    @property
    def steps(self) -> int:
        """How often the sender's clocks were found to have been set."""
        return self._steps

    def captured_ns(self, *, arrived_ns: int, pts_ns: int | None, sender_ns: int | None = None) -> int:
        """Capture time of a packet's picture.

        Args:
            arrived_ns: When it arrived, monotonic ns, never before that of the packet before it.
            pts_ns: Its media time, ns on any scale; None where it has none.
            sender_ns: Its time on the sender's own wall clock, ns; None before the first report, or without any.

        Returns:
            Monotonic ns, at most `arrived_ns`; equal to it where the packet says nothing.
        """
        if pts_ns is None:
            return arrived_ns
        claimed_ns = pts_ns if sender_ns is None else sender_ns
        last = self._last
        if last is not None:
            self._shift_ns += _to_take_out(last, arrived_ns, claimed_ns, pts_ns, is_reported=sender_ns is not None)
            is_set = abs((claimed_ns - last.claimed_ns) - (pts_ns - last.pts_ns)) > _STEP_NS
            self._steps += is_set and last.is_reported and sender_ns is not None
        line_ns = claimed_ns - self._shift_ns
        difference_ns = arrived_ns - line_ns
        went_back = last is not None and last.line_ns - line_ns > _REORDERED_NS
        if went_back or difference_ns - self._least(arrived_ns, difference_ns) > _LONGEST_DELAY_NS:
            self._steps += 1
            self._least_ns = self._least_before_ns = None
        self._last = _Seen(
            arrived_ns=arrived_ns,
            claimed_ns=claimed_ns,
            pts_ns=pts_ns,
            line_ns=line_ns,
            is_reported=sender_ns is not None,
        )
        return line_ns + self._least(arrived_ns, difference_ns)

    def _least(self, arrived_ns: int, difference_ns: int) -> int:
        """The least difference of this window and the one before, this packet's counted in."""
        if self._least_ns is None:
            self._window_start_ns = arrived_ns
            self._least_ns = difference_ns
        elif arrived_ns - self._window_start_ns > _WINDOW_NS:
            self._window_start_ns = arrived_ns
            self._least_before_ns, self._least_ns = self._least_ns, difference_ns
        else:
            self._least_ns = min(self._least_ns, difference_ns)
        return self._least_ns if self._least_before_ns is None else min(self._least_ns, self._least_before_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A packet, ns each: arrival, the sender's time, media time, and the time on the line that is never set."""

    arrived_ns: int
    claimed_ns: int
    pts_ns: int
    line_ns: int
    is_reported: bool


def _to_take_out(last: _Seen, arrived_ns: int, claimed_ns: int, pts_ns: int, *, is_reported: bool) -> int:
    """How much of a sender's step is no time that passed: a clock set, or media time taking over from reports."""
    claimed_step_ns, pts_step_ns = claimed_ns - last.claimed_ns, pts_ns - last.pts_ns
    excess_ns = claimed_step_ns - pts_step_ns
    if is_reported is not last.is_reported:
        return excess_ns
    if abs(excess_ns) <= _STEP_NS:
        return 0
    # One of the clocks was set; the one that agrees better with the time that passed here goes on.
    waited_ns = arrived_ns - last.arrived_ns
    return excess_ns if abs(pts_step_ns - waited_ns) <= abs(claimed_step_ns - waited_ns) else 0
