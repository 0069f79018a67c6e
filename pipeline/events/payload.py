"""What the events say, typed: a sighting (one track of one camera) and a camera's state.

The pipeline fills these in; :meth:`to_event` writes them down. Times are Unix nanoseconds here and RFC 3339 in the
event, boxes and landmarks are pixels of the full frame, and numbers are rounded to what they are worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from pipeline.events.event import JSON, Event, camera_source, rfc3339
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE

CAMERA_STATE_TYPE: Final = "vidface.camera.state"

Point: TypeAlias = tuple[float, float]


class SightingStage(StrEnum):
    """Which of the four events of a sighting this is."""

    STARTED = "started"
    IDENTIFIED = "identified"
    REVISED = "revised"
    ENDED = "ended"

    @property
    def event_type(self) -> str:
        """The CloudEvents type, such as ``vidface.sighting.started``."""
        return f"vidface.sighting.{self.value}"


EVENT_TYPES: Final = (*(stage.event_type for stage in SightingStage), CAMERA_STATE_TYPE, OUTBOX_DROPPED_TYPE)


class Answer(StrEnum):
    """Who it is: somebody in the gallery, nobody in it, or not known yet."""

    PERSON = "person"
    STRANGER = "stranger"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """The frame that the box and the landmarks belong to.

    Attributes:
        index: Its number within the epoch, from 0.
        pts_ns: Media time since the epoch's first frame.
        size_wh: Width and height in pixels.
    """

    index: int
    pts_ns: int
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRef:
    """The identity of the answer.

    Attributes:
        id: The gallery's stable key.
        name: The name at the moment of the decision.
        score: Fused cosine similarity.
        margin: Lead over the runner-up in the same unit; None where the gallery has no second identity.
    """

    id: str
    name: str
    score: float
    margin: float | None

    def to_json(self) -> dict[str, JSON]:
        """Return the event's form."""
        margin = None if self.margin is None else _round(self.margin, 4)
        return {"id": self.id, "name": self.name, "score": _round(self.score, 4), "margin": margin}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The next best identity, for whoever judges the answer. Score as in :class:`IdentityRef`."""

    id: str
    name: str
    score: float

    def to_json(self) -> dict[str, JSON]:
        """Return the event's form."""
        return {"id": self.id, "name": self.name, "score": _round(self.score, 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousAnswer:
    """What a revision takes back."""

    answer: Answer
    identity: IdentityRef | None

    def __post_init__(self) -> None:
        _check_answer(self.answer, self.identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is known only at a sighting's end.

    Attributes:
        best_quality: Quality of its best shot, 0 to 1.
        frames_seen: Frames in which the face was there.
        duration_s: From first to last seen.
    """

    best_quality: float
    frames_seen: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SightingPayload:
    """One event of a sighting.

    Attributes:
        stage: Which of the four events.
        camera: The camera's id.
        epoch: The camera's connection, from 1.
        track: The track's number within the epoch.
        sequence: 1 for the sighting's first event, then 2, 3, ...
        camera_sequence: Counts the events of all sightings of this camera and epoch, from 1: a jump is a lost event.
        captured_ns: Capture time of the frame, Unix.
        decided_ns: When this was decided, Unix; the event's time.
        live: Whether the camera is live. Only then does the decision's age mean anything.
        first_seen_ns: Capture time of the track's first frame, Unix.
        last_seen_ns: Capture time of its latest frame, Unix.
        frame: The frame of the box and landmarks.
        box_xyxy: Pixels of the full frame.
        landmarks_xy: Left eye, right eye, nose, left and right corner of the mouth, as seen in the picture; pixels.
        detection_score: The detector's confidence, 0 to 1.
        quality: Of this shot, 0 to 1.
        answer: The decision.
        reason: Why, as a stable machine-readable code.
        identity: There if and only if the answer is a person.
        runner_up: The next best identity, if there is one.
        shots: Shots that were compared with the gallery.
        agreeing_shots: Those of them that alone give the same answer.
        detector: Name of the detection model.
        embedder: Name of the embedding model.
        gallery_version: The gallery that was searched.
        previous: There if and only if the stage is REVISED.
        ending: There if and only if the stage is ENDED.
    """

    stage: SightingStage
    camera: str
    epoch: int
    track: int
    sequence: int
    camera_sequence: int
    captured_ns: int
    decided_ns: int
    live: bool
    first_seen_ns: int
    last_seen_ns: int
    frame: FrameRef
    box_xyxy: tuple[float, float, float, float]
    landmarks_xy: tuple[Point, Point, Point, Point, Point]
    detection_score: float
    quality: float
    answer: Answer
    reason: str
    identity: IdentityRef | None
    runner_up: RunnerUp | None
    shots: int
    agreeing_shots: int
    detector: str
    embedder: str
    gallery_version: int
    previous: PreviousAnswer | None = None
    ending: Ending | None = None

    def __post_init__(self) -> None:
        _check_answer(self.answer, self.identity)
        if (self.previous is not None) != (self.stage is SightingStage.REVISED):
            raise ValueError(f"previous belongs to a revised sighting and to no other; the stage is {self.stage.value}")
        if (self.ending is not None) != (self.stage is SightingStage.ENDED):
            raise ValueError(f"ending belongs to an ended sighting and to no other; the stage is {self.stage.value}")

    @property
    def sighting(self) -> str:
        """The sighting's id: ``{camera}/{epoch}/{track}``."""
        return f"{self.camera}/{self.epoch}/{self.track}"

    @property
    def event_id(self) -> str:
        """The event's id: unique within its source, and the same each time it is sent."""
        return f"{self.sighting}/{self.sequence}"

    def to_event(self, *, site: str | None = None) -> Event:
        """Write it down.

        Args:
            site: A prefix for the source, where several sites share a topic.
        """
        data: dict[str, JSON] = {
            "camera": self.camera,
            "epoch": self.epoch,
            "track": self.track,
            "sighting": self.sighting,
            "sequence": self.sequence,
            "camera_sequence": self.camera_sequence,
            "captured_at": rfc3339(self.captured_ns),
            "decided_at": rfc3339(self.decided_ns),
            "age_ms": _round((self.decided_ns - self.captured_ns) / 1e6, 3) if self.live else None,
            "first_seen_at": rfc3339(self.first_seen_ns),
            "last_seen_at": rfc3339(self.last_seen_ns),
            "frame": {
                "index": int(self.frame.index),
                "pts_s": _round(self.frame.pts_ns / 1e9, 6),
                "width": int(self.frame.size_wh[0]),
                "height": int(self.frame.size_wh[1]),
            },
            "box": [_round(value, 2) for value in self.box_xyxy],
            "landmarks": [[_round(x, 2), _round(y, 2)] for x, y in self.landmarks_xy],
            "detection_score": _round(self.detection_score, 4),
            "quality": _round(self.quality, 4),
            "answer": self.answer.value,
            "reason": self.reason,
            "identity": None if self.identity is None else self.identity.to_json(),
            "runner_up": None if self.runner_up is None else self.runner_up.to_json(),
            "shots": int(self.shots),
            "agreeing_shots": int(self.agreeing_shots),
            "models": {"detector": self.detector, "embedder": self.embedder},
            "gallery_version": int(self.gallery_version),
        }
        data.update(self._of_this_stage())
        return Event(
            type=self.stage.event_type,
            source=camera_source(self.camera, site),
            id=self.event_id,
            subject=self.camera,
            time_ns=self.decided_ns,
            data=data,
            camera=self.camera,
        )

    def _of_this_stage(self) -> Mapping[str, JSON]:
        if self.previous is not None:
            identity = None if self.previous.identity is None else self.previous.identity.to_json()
            return {"previous": {"answer": self.previous.answer.value, "identity": identity}}
        if self.ending is not None:
            return {
                "best_quality": _round(self.ending.best_quality, 4),
                "frames_seen": int(self.ending.frames_seen),
                "duration_s": _round(self.ending.duration_s, 3),
            }
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatePayload:
    """A camera changed its state.

    Attributes:
        camera: The camera's id.
        epoch: The connection that this state belongs to or follows; 0 before the first.
        sequence: Counts the states of this camera and epoch, from 1.
        state: ``connecting``, ``live``, ``lost`` or ``ended``.
        previous_state: The one before; None for the first.
        cause: Why, as a stable machine-readable code.
        detail: One line for people, without credentials.
        at_ns: Unix time; the event's time.
    """

    camera: str
    epoch: int
    sequence: int
    state: str
    previous_state: str | None
    cause: str
    detail: str
    at_ns: int

    @property
    def event_id(self) -> str:
        """The event's id: unique within its source, and the same each time it is sent."""
        return f"{self.camera}/{self.epoch}/state/{self.sequence}"

    def to_event(self, *, site: str | None = None) -> Event:
        """Write it down.

        Args:
            site: A prefix for the source, where several sites share a topic.
        """
        return Event(
            type=CAMERA_STATE_TYPE,
            source=camera_source(self.camera, site),
            id=self.event_id,
            subject=self.camera,
            time_ns=self.at_ns,
            data={
                "camera": self.camera,
                "epoch": self.epoch,
                # A StrEnum is welcome, and plain text is what goes on.
                "state": str(self.state),
                "previous_state": None if self.previous_state is None else str(self.previous_state),
                "cause": self.cause,
                "detail": self.detail,
                "at": rfc3339(self.at_ns),
            },
            camera=self.camera,
        )


def _check_answer(answer: Answer, identity: IdentityRef | None) -> None:
    if (identity is not None) != (answer is Answer.PERSON):
        raise ValueError(f"an identity belongs to the answer 'person' and to no other; the answer is {answer.value!r}")


def _round(value: float, digits: int) -> float:
    # float() first: a numpy scalar rounds to a numpy scalar, which JSON does not know.
    return round(float(value), digits)
