"""Events read back into what they say: the reverse of `payload`, for whoever consumes them.

Unknown fields are passed over, so that a consumer may be older than what it listens to; a field that is missing or of
another kind makes the event malformed. Times come back in whole milliseconds, as they were written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event, camera_source, unix_ns
from pipeline.events.payload import (
    CAMERA_STATE_TYPE,
    Answer,
    CameraStatePayload,
    Ending,
    FrameRef,
    IdentityRef,
    PreviousAnswer,
    RunnerUp,
    SightingPayload,
    SightingStage,
)
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE, DroppedPayload, DropReason, SinkDrop

Payload: TypeAlias = SightingPayload | CameraStatePayload | DroppedPayload

_STAGES = {stage.event_type: stage for stage in SightingStage}

_T = TypeVar("_T")
_P = TypeVar("_P", SightingPayload, CameraStatePayload)


def payload_of(event: Event) -> Payload | None:
    """What an event says; None of a type that this version does not know.

    Raises:
        EventMalformed: A field is missing, or not of its kind; or the event's own id or subject says otherwise.
    """
    try:
        if event.type == CAMERA_STATE_TYPE:
            return _consistent(event, _camera_state(event))
        if event.type == OUTBOX_DROPPED_TYPE:
            return _dropped(event)
        stage = _STAGES.get(event.type)
        return None if stage is None else _consistent(event, _sighting(event, stage))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EventMalformed):
            raise EventMalformed(f"event {event.id}: {error}") from error
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise EventMalformed(f"event {event.id} ({event.type}): {what}") from error


def _consistent(event: Event, payload: _P) -> _P:
    """Refuse an event whose key does not follow from what it says: it could pass for another one, or for a new one."""
    if payload.camera != event.camera:
        raise EventMalformed(f"its subject is {event.camera!r}, but its data are of the camera {payload.camera!r}")
    if not event.source.endswith(camera_source(payload.camera).removeprefix("/vidface")):
        raise EventMalformed(f"its source is {event.source!r}, but its data are of the camera {payload.camera!r}")
    if payload.event_id != event.id:
        raise EventMalformed(f"its data make it {payload.event_id!r}")
    return payload


def _sighting(event: Event, stage: SightingStage) -> SightingPayload:
    data: Mapping[str, Any] = event.data
    frame = _mapping(data, "frame")
    models = _mapping(data, "models")
    age = _number_or_none(data, "age_ms")
    x0, y0, x1, y1 = (_finite("box", value) for value in _list(data, "box"))
    first, second, third, fourth, fifth = (
        (_finite("landmarks", x), _finite("landmarks", y)) for x, y in _list(data, "landmarks")
    )
    runner_up = _mapping_or_none(data, "runner_up")
    return SightingPayload(
        stage=stage,
        camera=_of(data, "camera", str),
        epoch=_whole(data, "epoch"),
        track=_whole(data, "track"),
        sequence=_whole(data, "sequence"),
        camera_sequence=_whole(data, "camera_sequence"),
        captured_ns=_time(data, "captured_at"),
        decided_ns=_time(data, "decided_at"),
        live=age is not None,
        first_seen_ns=_time(data, "first_seen_at"),
        last_seen_ns=_time(data, "last_seen_at"),
        frame=FrameRef(
            index=_whole(frame, "index"),
            pts_ns=round(_number(frame, "pts_s") * 1e9),
            size_wh=(_whole(frame, "width"), _whole(frame, "height")),
        ),
        box_xyxy=(x0, y0, x1, y1),
        landmarks_xy=(first, second, third, fourth, fifth),
        detection_score=_number(data, "detection_score"),
        quality=_number(data, "quality"),
        answer=Answer(_of(data, "answer", str)),
        reason=_of(data, "reason", str),
        identity=_identity(data),
        runner_up=None
        if runner_up is None
        else RunnerUp(
            id=_of(runner_up, "id", str), name=_of(runner_up, "name", str), score=_number(runner_up, "score")
        ),
        shots=_whole(data, "shots"),
        agreeing_shots=_whole(data, "agreeing_shots"),
        detector=_of(models, "detector", str),
        embedder=_of(models, "embedder", str),
        gallery_version=_whole(data, "gallery_version"),
        previous=_previous(data) if stage is SightingStage.REVISED else None,
        ending=_ending(data) if stage is SightingStage.ENDED else None,
    )


def _camera_state(event: Event) -> CameraStatePayload:
    data: Mapping[str, Any] = event.data
    previous: object = data["previous_state"]
    return CameraStatePayload(
        camera=_of(data, "camera", str),
        epoch=_whole(data, "epoch"),
        sequence=int(event.id.rpartition("/")[2]),
        state=_of(data, "state", str),
        previous_state=None if previous is None else _of(data, "previous_state", str),
        cause=_of(data, "cause", str),
        detail=_of(data, "detail", str),
        at_ns=_time(data, "at"),
    )


def _dropped(event: Event) -> DroppedPayload:
    data: Mapping[str, Any] = event.data
    _, opening, sequence = event.id.split("/")
    return DroppedPayload(
        outbox=_of(data, "outbox", str),
        opening=int(opening),
        sequence=int(sequence),
        reason=DropReason(_of(data, "reason", str)),
        sinks=tuple(
            SinkDrop(
                sink=_of(said, "sink", str),
                dropped=_whole(said, "dropped"),
                first_sequence=_whole(said, "first_sequence"),
                last_sequence=_whole(said, "last_sequence"),
                first_ns=_time(said, "first_at"),
                last_ns=_time(said, "last_at"),
                total=_whole(said, "total"),
            )
            for said in _list(data, "sinks")
        ),
        at_ns=_time(data, "at"),
    )


def _identity(data: Mapping[str, Any]) -> IdentityRef | None:
    said = _mapping_or_none(data, "identity")
    if said is None:
        return None
    return IdentityRef(
        id=_of(said, "id", str),
        name=_of(said, "name", str),
        score=_number(said, "score"),
        margin=_number_or_none(said, "margin"),
    )


def _previous(data: Mapping[str, Any]) -> PreviousAnswer:
    said = _mapping(data, "previous")
    return PreviousAnswer(answer=Answer(_of(said, "answer", str)), identity=_identity(said))


def _ending(data: Mapping[str, Any]) -> Ending:
    return Ending(
        best_quality=_number(data, "best_quality"),
        frames_seen=_whole(data, "frames_seen"),
        duration_s=_number(data, "duration_s"),
    )


def _of(data: Mapping[str, Any], field: str, kind: type[_T]) -> _T:
    value = data[field]
    if not isinstance(value, kind):
        raise EventMalformed(f"{field} is {value!r}")
    return value


def _list(data: Mapping[str, Any], field: str) -> list[Any]:
    value = data[field]
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise EventMalformed(f"{field} is {value!r}")
    return list(value)


def _mapping(data: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = data[field]
    if not isinstance(value, Mapping):
        raise EventMalformed(f"{field} is {value!r}")
    return value


def _whole(data: Mapping[str, Any], field: str) -> int:
    value = data[field]
    if isinstance(value, bool) or not isinstance(value, int):
        raise EventMalformed(f"{field} is {value!r}, not a whole number")
    return value


def _number(data: Mapping[str, Any], field: str) -> float:
    value = data[field]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EventMalformed(f"{field} is {value!r}, not a number")
    return _finite(field, value)


def _finite(field: str, value: Any) -> float:
    """Refuse infinities and NaN: no comparison with a threshold would mean anything."""
    number = float(value)
    if not math.isfinite(number):
        raise EventMalformed(f"{field} is {value!r}, not a finite number")
    return number


def _number_or_none(data: Mapping[str, Any], field: str) -> float | None:
    return None if data[field] is None else _number(data, field)


def _mapping_or_none(data: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    return None if data[field] is None else _mapping(data, field)


def _time(data: Mapping[str, Any], field: str) -> int:
    return unix_ns(_of(data, field, str))
