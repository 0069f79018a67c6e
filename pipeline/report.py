"""From what happened to events: notices and camera states, written down and put into the outbox.

An event counts as emitted when `emit` has returned: by then it is in the outbox, see `pipeline.events.outbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.events.event import Event
from pipeline.events.payload import (
    CameraStatePayload,
    Ending,
    FrameRef,
    IdentityRef,
    PreviousAnswer,
    RunnerUp,
    SightingPayload,
    SightingStage,
)
from pipeline.evidence import Candidate
from pipeline.identify import Decision
from pipeline.sighting import Notice, NoticeKind
from streams.clock import SYSTEM_CLOCK, Clock
from streams.state import CameraState

_STAGES: Mapping[NoticeKind, SightingStage] = {
    NoticeKind.STARTED: SightingStage.STARTED,
    NoticeKind.IDENTIFIED: SightingStage.IDENTIFIED,
    NoticeKind.REVISED: SightingStage.REVISED,
    NoticeKind.ENDED: SightingStage.ENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What every sighting event names.

    Attributes:
        detector: The detection model.
        embedder: The embedding model.
        site: The place's name, a prefix of every event's source; None for none.
    """

    detector: str
    embedder: str
    site: str | None = None


class Reporter:
    """Writes events and hands them on, in order. One thread uses it.

    Args:
        provenance: What every event names.
        live_cameras: The cameras that are live: only their decisions have an age.
        gallery_version: Tells the version of the gallery at the moment, for events before any search.
        next_state_number: Numbers a camera's states; never the same twice, not after a restart either, because an
            event's id is what consumers deduplicate by.
        emit: Takes events that happened together; it returns when they are safe, and raises if they can't be.
        clock: The time of a decision.
    """

    def __init__(
        self,
        *,
        provenance: Provenance,
        live_cameras: frozenset[str],
        gallery_version: Callable[[], int],
        next_state_number: Callable[[str], int],
        emit: Callable[[Sequence[Event]], object],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._provenance = provenance
        self._live = live_cameras
        self._gallery_version = gallery_version
        self._next_state_number = next_state_number
        self._emit = emit
        self._clock = clock
        self._last_states: dict[str, CameraState] = {}
        self._told: dict[str, tuple[int, int]] = {}  # camera to its epoch, and the sighting events told of it

    def camera_state(self, state: CameraState) -> None:
        """Publish a camera's change of state."""
        previous = self._last_states.get(state.camera)
        self._last_states[state.camera] = state
        payload = CameraStatePayload(
            camera=state.camera,
            epoch=state.epoch,
            sequence=self._next_state_number(state.camera),
            state=state.name,
            previous_state=previous.name if previous else None,
            cause=state.cause,
            detail=state.detail,
            at_ns=state.at_ns,
        )
        self._emit([payload.to_event(site=self._provenance.site)])

    def notices(self, camera: str, epoch: int, notices: Sequence[Notice]) -> None:
        """Publish what happened to sightings of one camera's epoch, in this order."""
        if notices:
            now_ns = self._clock.unix_ns()
            self._emit([self._sighting_event(camera, epoch, notice, now_ns) for notice in notices])

    def _sighting_event(self, camera: str, epoch: int, notice: Notice, now_ns: int) -> Event:
        last, decision = notice.last, notice.decision
        left, top, right, bottom = (float(value) for value in last.box_xyxy)
        points = [(float(x), float(y)) for x, y in last.landmarks_xy]
        ended = notice.kind is NoticeKind.ENDED
        payload = SightingPayload(
            stage=_STAGES[notice.kind],
            camera=camera,
            epoch=epoch,
            track=notice.number,
            sequence=notice.sequence,
            camera_sequence=self._next_camera_sequence(camera, epoch),
            captured_ns=last.meta.captured_ns,
            decided_ns=now_ns,
            live=camera in self._live,
            first_seen_ns=notice.first.meta.captured_ns,
            last_seen_ns=last.meta.captured_ns,
            frame=FrameRef(index=last.meta.index, pts_ns=last.meta.pts_ns, size_wh=last.meta.size_wh),
            box_xyxy=(left, top, right, bottom),
            landmarks_xy=(points[0], points[1], points[2], points[3], points[4]),
            detection_score=last.score,
            quality=last.quality,
            answer=decision.answer,
            reason=decision.reason.value,
            identity=_identity_ref(decision),
            runner_up=_runner_up(decision.runner_up),
            shots=decision.shots,
            agreeing_shots=decision.agreeing,
            detector=self._provenance.detector,
            embedder=self._provenance.embedder,
            gallery_version=decision.gallery_version if decision.shots else self._gallery_version(),
            previous=(
                PreviousAnswer(answer=notice.previous.answer, identity=_identity_ref(notice.previous))
                if notice.previous is not None
                else None
            ),
            ending=(
                Ending(
                    best_quality=notice.best_quality,
                    frames_seen=notice.frames_seen,
                    duration_s=(last.meta.pts_ns - notice.first.meta.pts_ns) / 1e9,
                )
                if ended
                else None
            ),
        )
        return payload.to_event(site=self._provenance.site)

    def _next_camera_sequence(self, camera: str, epoch: int) -> int:
        """Number a sighting event. An epoch never comes back once another one has begun, so one count is enough."""
        before, count = self._told.get(camera, (epoch, 0))
        count = count + 1 if before == epoch else 1
        self._told[camera] = (epoch, count)
        return count


def _identity_ref(decision: Decision) -> IdentityRef | None:
    person = decision.identity
    if person is None:
        return None
    margin = decision.margin if decision.runner_up is not None else None
    return IdentityRef(id=person.id, name=person.name, score=person.score, margin=margin)


def _runner_up(candidate: Candidate | None) -> RunnerUp | None:
    return RunnerUp(id=candidate.id, name=candidate.name, score=candidate.score) if candidate else None
