"""Why a door was opened, or was not: stable codes for programs, each with its meaning for people."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a decision. Only `ALLOWED` opens. In the order in which they are looked for."""

    ALLOWED = "allowed"
    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"
    CONTRADICTORY = "contradictory"
    UNKNOWN_CAMERA = "unknown_camera"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    TAKEN_BACK = "taken_back"
    GAP = "gap"
    ENDED = "ended"
    STRANGER = "stranger"
    UNDECIDED = "undecided"
    CLOCK_BACKWARDS = "clock_backwards"
    RECORDED = "recorded"
    FROM_THE_FUTURE = "from_the_future"
    STALE = "stale"
    NOT_PERMITTED = "not_permitted"
    OUTSIDE_HOURS = "outside_hours"
    HOLIDAY = "holiday"
    LOW_SCORE = "low_score"
    MARGIN_UNKNOWN = "margin_unknown"
    LOW_MARGIN = "low_margin"
    FEW_SHOTS = "few_shots"
    HOLD_OFF = "hold_off"
    FIRST_OF_TWO = "first_of_two"

    @property
    def is_passed_over(self) -> bool:
        """Whether nobody asked for anything: a face that was just found, or that is gone."""
        return self in {Reason.UNDECIDED, Reason.ENDED}

    @property
    def meaning(self) -> str:
        """What it means, for a legend."""
        return MEANINGS[self]


MEANINGS = {
    Reason.ALLOWED: "a rule of the door allows it",
    Reason.MALFORMED: "it cannot be read as an event",
    Reason.UNKNOWN_TYPE: "an event of a type that this version does not know",
    Reason.CONTRADICTORY: "the event says two things that cannot both be true",
    Reason.UNKNOWN_CAMERA: "no door has this camera",
    Reason.DUPLICATE: "the event was handled before",
    Reason.OUT_OF_ORDER: "a later event of the sighting was handled before",
    Reason.TAKEN_BACK: "the sighting named somebody and took it back",
    Reason.GAP: "the event before this revision was not seen",
    Reason.ENDED: "the face is gone",
    Reason.STRANGER: "nobody who is enrolled",
    Reason.UNDECIDED: "not named yet",
    Reason.CLOCK_BACKWARDS: "this machine's clock went backwards",
    Reason.RECORDED: "the picture is a recording's",
    Reason.FROM_THE_FUTURE: "the picture is from the future: two clocks disagree",
    Reason.STALE: "the picture is too old",
    Reason.NOT_PERMITTED: "no rule of the door names the person",
    Reason.OUTSIDE_HOURS: "outside the rule's hours",
    Reason.HOLIDAY: "within the rule's hours, but on a holiday",
    Reason.LOW_SCORE: "too little similarity",
    Reason.MARGIN_UNKNOWN: "nobody else is enrolled, so the lead is unknown",
    Reason.LOW_MARGIN: "too little lead over the next person",
    Reason.FEW_SHOTS: "too few shots agree",
    Reason.HOLD_OFF: "the door was opened for the person just now",
    Reason.FIRST_OF_TWO: "the door waits for a second person",
}
