"""What was said about the demo's clip, read from its events and held against its ground truth. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from pipeline.events.event import Event
from pipeline.events.payload import Answer, SightingStage
from pipeline.faces import F32
from pipeline.nms import iou_matrix

Followed: TypeAlias = Mapping[int, Mapping[int, F32]]
"""By a sighting's number in its epoch, and by frame: the face's box, ``(4,)`` in pixels."""

_SAME_FACE_IOU: Final = 0.3
"""A found box and a true box that overlap so far are the same face; two faces of the clip never do."""

_SHORTEST_S: Final = 1.0
"""Who is in the picture for less need not be recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One sighting, as its events tell it. Times are seconds of the clip.

    Attributes:
        sighting: Its id.
        from_s: First seen.
        to_s: Last seen.
        answer: The last decision.
        name: The person; None unless the answer is one.
        score: The person's similarity, or that of whoever is nearest; None in an empty gallery.
        margin: The person's lead over the runner-up.
        shots: How many shots were weighed.
        decided_after_s: From first seen to the first decision; None without one.
        names_given: Every name that it had at some time.
        track: Which of the truth's tracks it is; None if none.
    """

    sighting: str
    from_s: float
    to_s: float
    answer: str
    name: str | None
    score: float | None
    margin: float | None
    shots: int
    decided_after_s: float | None
    names_given: tuple[str, ...]
    track: int | None


def sightings(events: Sequence[Event], truth: Mapping[str, Any], followed: Followed) -> tuple[Seen, ...]:
    """The sightings of one camera's epoch, by the time they began.

    Args:
        events: In the order in which they were published; those of other kinds are left out.
        truth: See `Scene.truth`.
        followed: Where each sighting's face was. The boxes of events are not enough: many are of a face that the
            picture's edge cuts, of which the truth says nothing.
    """
    stories: dict[str, list[Event]] = {}
    for event in events:
        if event.type.startswith("vidface.sighting."):
            stories.setdefault(str(event.data["sighting"]), []).append(event)
    seen = [_seen(sighting, story, truth, followed) for sighting, story in stories.items()]
    return tuple(sorted(seen, key=lambda each: (each.from_s, each.sighting)))


def problems(seen: Sequence[Seen], truth: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong, in words: somebody named who is not that person, a known person missed. Empty if all is well."""
    tracks = truth["tracks"]
    found = []
    for each in seen:
        actual = tracks[each.track]["name"] if each.track is not None else "nobody who is known to be there"
        found += [
            f"{actual} was named {name} ({clock(each.from_s)} to {clock(each.to_s)}, sighting {each.sighting})"
            for name in each.names_given
            if name != actual
        ]
    recognised = {each.track for each in seen if each.name is not None}
    for number, track in enumerate(tracks):
        times = [int(index) / truth["fps"] for index in track["frames"]]
        if track["enrolled"] and number not in recognised and times and times[-1] - times[0] >= _SHORTEST_S:
            found.append(f"{track['name']} was not recognised ({clock(times[0])} to {clock(times[-1])})")
    return tuple(found)


def clock(seconds: float) -> str:
    """``mm:ss``, to the second that has begun."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def _seen(sighting: str, story: Sequence[Event], truth: Mapping[str, Any], followed: Followed) -> Seen:
    # Any: an event's data is JSON, whose form the schemas hold, not the type checker.
    told: list[Any] = [event.data for event in story]
    last = told[-1]
    decided = [
        data["frame"]["pts_s"]
        for event, data in zip(story, told, strict=True)
        if event.type == SightingStage.IDENTIFIED.event_type
    ]
    from_s = max(0.0, last["frame"]["pts_s"] - last.get("duration_s", 0.0))
    identity = last["identity"] if last["answer"] == Answer.PERSON.value else None
    nearest = identity or last["runner_up"]
    names = [data["identity"]["name"] for data in told if data["identity"]]
    return Seen(
        sighting=sighting,
        from_s=round(from_s, 3),
        to_s=last["frame"]["pts_s"],
        answer=last["answer"],
        name=identity["name"] if identity else None,
        score=nearest["score"] if nearest else None,
        margin=identity["margin"] if identity else None,
        shots=last["shots"],
        decided_after_s=round(decided[0] - from_s, 3) if decided else None,
        names_given=tuple(dict.fromkeys(names)),
        track=_track(followed.get(last["track"], {}), truth),
    )


def _track(boxes: Mapping[int, F32], truth: Mapping[str, Any]) -> int | None:
    """The true track that most of a sighting's boxes lie on."""
    votes: Counter[int] = Counter()
    for index, box in boxes.items():
        key = str(index)
        there = [number for number, track in enumerate(truth["tracks"]) if key in track["frames"]]
        if there:
            true_boxes = np.array([truth["tracks"][number]["frames"][key] for number in there], np.float32)
            overlaps = iou_matrix(box[None], true_boxes)[0]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= _SAME_FACE_IOU:
                votes[there[best]] += 1
    return votes.most_common(1)[0][0] if votes else None
