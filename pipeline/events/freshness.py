"""Whether an event may still be acted upon. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.events.payload import SightingPayload
from pipeline.events.read import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old a sighting may be when it is handled.

    A camera's state is never too old: what was said last still holds.

    Attributes:
        max_age_s: From the capture of its frame to the moment of handling; None for any age.
        max_skew_s: How far in the future its capture may lie. The clocks of two machines differ a little; if they
            differ by more, no age means anything.
        recordings: Whether sightings of recordings are taken. They have no age, so no age is asked of them.
    """

    max_age_s: float | None
    max_skew_s: float = 2.0
    recordings: bool = False

    def __post_init__(self) -> None:
        # "not >" also refuses NaN, with which every event would be fresh.
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise ValueError(f"max_age_s is {self.max_age_s}; it must be positive, or None for any age")
        if not self.max_skew_s >= 0:
            raise ValueError(f"max_skew_s is {self.max_skew_s}; it must not be negative")

    def refusal(self, payload: Payload, now_ns: int) -> str | None:
        """Return why the event must not be acted upon at that Unix time, or None."""
        if not isinstance(payload, SightingPayload):
            return None
        if not payload.live:
            return None if self.recordings else "it is of a recording, and recordings are not allowed here"
        if self.max_age_s is None:
            return None
        age_s = age_of_s(payload, now_ns)
        if age_s > self.max_age_s:
            return f"it was captured {age_s:.3f} s ago; at most {self.max_age_s:g} s are allowed"
        if age_s < -self.max_skew_s:
            return f"it was captured {-age_s:.3f} s in the future; set the clocks of both machines"
        return None


def age_of_s(payload: SightingPayload, now_ns: int) -> float:
    """Return the seconds from capture to a Unix time; less than zero where clocks differ."""
    return (now_ns - payload.captured_ns) / 1e9
