"""The decision: who a track is, as a pure rule over its evidence.

A person is named only when the fused template is similar enough, clearly more so than to anyone else, and enough
single shots say the same. Someone is called a stranger only when enough good shots say that nobody enrolled comes
near. Everything else is undecided, and says why. A decision is revised only by stronger evidence or by a change of
the gallery: a door should neither open nor shut on one odd frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.events.payload import Answer
from pipeline.evidence import Candidate


class Reason(StrEnum):
    """Why the answer is what it is."""

    MATCHED = "matched"
    NOBODY_NEAR = "nobody_near"
    BELOW_THRESHOLD = "below_threshold"
    EMPTY_GALLERY = "empty_gallery"
    NO_SHOTS = "no_shots"
    FEW_SHOTS = "few_shots"
    LOW_QUALITY = "low_quality"
    NEAR_THRESHOLD = "near_threshold"
    SMALL_MARGIN = "small_margin"
    SHOTS_DISAGREE = "shots_disagree"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyOptions:
    """The rule's numbers; similarities are cosines.

    Attributes:
        threshold: Least similarity of the fused template for a match.
        margin: Least lead over the second most similar person.
        min_shots: Least shots before anybody is named.
        agree_slack: A shot agrees when its own best match is the same person at `threshold` less this.
        stranger_gap: Below `threshold` less this, nobody comes near.
        stranger_shots: Least good shots before that makes a stranger.
        patience_shots: With so many good shots, what is below the threshold at all is a stranger.
        good_quality: A shot of at least this quality is a good one: a poor one can't tell a stranger from a friend.
        hysteresis: The person who was named stays named down to `threshold` less this.
        revise_factor: Evidence must have grown by this factor to take a name away again.
    """

    threshold: float = 0.5
    margin: float = 0.08
    min_shots: int = 3
    agree_slack: float = 0.1
    stranger_gap: float = 0.1
    stranger_shots: int = 4
    patience_shots: int = 8
    good_quality: float = 0.45
    hysteresis: float = 0.05
    revise_factor: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A track's evidence held against the gallery.

    Attributes:
        best: The person most similar to the fused template; None in an empty gallery.
        runner_up: The second most similar person, if there are two.
        shot_bests: Each shot's own most similar person.
        qualities: Each shot's quality, in the same order.
        weight: How much evidence there is, see `Evidence.weight`.
        gallery_version: The gallery that was searched.
    """

    best: Candidate | None
    runner_up: Candidate | None
    shot_bests: tuple[Candidate | None, ...]
    qualities: tuple[float, ...]
    weight: float
    gallery_version: int

    @property
    def margin(self) -> float:
        """The best's lead; over a lone enrolled person it is the lead over no similarity at all."""
        if self.best is None:
            return 0.0
        return self.best.score - (self.runner_up.score if self.runner_up else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer for a track, with what it rests on.

    Attributes:
        answer: Person, stranger or undecided.
        reason: Why.
        identity: The person; None unless the answer is one.
        margin: The person's lead over the runner-up; 0 without one.
        runner_up: The second most similar person; for a stranger or undecided the most similar one.
        shots: How many shots were weighed.
        agreeing: How many of them agree with the person by themselves.
        weight: How much evidence there was.
        gallery_version: The gallery it was taken from.
    """

    answer: Answer
    reason: Reason
    identity: Candidate | None = None
    margin: float = 0.0
    runner_up: Candidate | None = None
    shots: int = 0
    agreeing: int = 0
    weight: float = 0.0
    gallery_version: int = 0

    def says_the_same(self, other: Decision) -> bool:
        """Whether both give the same answer and, if a person, the same id and name."""
        mine = (self.identity.id, self.identity.name) if self.identity else None
        theirs = (other.identity.id, other.identity.name) if other.identity else None
        return self.answer is other.answer and mine == theirs


UNSEEN = Decision(answer=Answer.UNDECIDED, reason=Reason.NO_SHOTS)
"""The decision on a track that has not been embedded."""


def decide(standing: Standing, options: IdentifyOptions, incumbent_id: str | None = None) -> Decision:
    """Weigh a track's evidence by itself.

    Args:
        standing: The evidence.
        options: The rule.
        incumbent_id: The person whom the track is named as now, who keeps the name down to the hysteresis.
    """
    best, shots = standing.best, len(standing.shot_bests)
    answer, reason, agreeing = Answer.UNDECIDED, Reason.NO_SHOTS, 0
    if best is not None and shots:
        slack = options.hysteresis if best.id == incumbent_id else 0.0
        threshold = options.threshold - slack
        agreeing = sum(
            1
            for shot in standing.shot_bests
            if shot is not None and shot.id == best.id and shot.score >= threshold - options.agree_slack
        )
        answer, reason = _weigh(standing, agreeing, threshold, options)
    elif shots:
        answer, reason = _weigh(standing, agreeing, options.threshold, options)
    person = answer is Answer.PERSON
    return Decision(
        answer=answer,
        reason=reason,
        identity=best if person else None,
        margin=standing.margin if person else 0.0,
        runner_up=standing.runner_up if person else best,
        shots=shots,
        agreeing=agreeing,
        weight=standing.weight,
        gallery_version=standing.gallery_version,
    )


def _weigh(standing: Standing, agreeing: int, threshold: float, options: IdentifyOptions) -> tuple[Answer, Reason]:
    best, shots = standing.best, len(standing.shot_bests)
    good = sum(1 for quality in standing.qualities if quality >= options.good_quality)
    if best is None:
        enough = good >= options.stranger_shots
        return (Answer.STRANGER, Reason.EMPTY_GALLERY) if enough else (Answer.UNDECIDED, Reason.FEW_SHOTS)
    if best.score < options.threshold - options.stranger_gap and good >= options.stranger_shots:
        return Answer.STRANGER, Reason.NOBODY_NEAR
    if best.score < threshold and good >= options.patience_shots:
        return Answer.STRANGER, Reason.BELOW_THRESHOLD
    if shots < options.min_shots:
        return Answer.UNDECIDED, Reason.FEW_SHOTS
    if best.score < threshold:
        return Answer.UNDECIDED, Reason.NEAR_THRESHOLD if good else Reason.LOW_QUALITY
    if standing.margin < options.margin:
        return Answer.UNDECIDED, Reason.SMALL_MARGIN
    if agreeing < options.min_shots:
        return Answer.UNDECIDED, Reason.SHOTS_DISAGREE
    return Answer.PERSON, Reason.MATCHED


def revise(current: Decision, proposed: Decision, options: IdentifyOptions) -> Decision:
    """The decision that holds from now on, given the one that held and a newly weighed one.

    A changed gallery always counts: who was removed may not stay named, and who was enrolled should be. Otherwise a
    name or a stranger's verdict is never withdrawn for want of evidence, and is replaced only by more of it.
    """
    if proposed.says_the_same(current) or current.answer is Answer.UNDECIDED:
        return proposed
    if proposed.gallery_version != current.gallery_version:
        return proposed
    if proposed.answer is Answer.UNDECIDED:
        return current
    needed = current.weight * (options.revise_factor if current.answer is Answer.PERSON else 1.0)
    return proposed if proposed.weight > needed else current
