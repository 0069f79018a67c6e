"""The sightings of one camera's epoch: which faces are there, which shots of them are wanted, what is decided.

Pure bookkeeping: no thread, no clock, no pixels, no search. The analysis stage tells it what was tracked, embeds the
shots that it asks for, holds the evidence against the gallery, and publishes the notices that come back.

A face is embedded little: when it is new, while its decision is open, when a clearly better shot appears, and now and
then to make sure that it is still the same face. Trackers swap faces when people cross; a shot that looks like nobody
seen under this track ends the sighting and begins another, so a name is never carried over to someone else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.events.payload import Answer
from pipeline.evidence import Evidence, Shot
from pipeline.faces import F32, Faces
from pipeline.identify import UNSEEN, Decision, IdentifyOptions, Standing, decide, revise
from pipeline.nms import iou_matrix
from pipeline.track import UNCONFIRMED
from streams.frame import FrameMeta

EPSILON_S = 1e-6
"""Frame times are rounded to nanoseconds: an interval that is a frame's length must not be missed by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SightingOptions:
    """When a face is embedded and when it is gone.

    Attributes:
        min_quality: Geometric quality below which a face is not embedded.
        min_face_px: Size below which it is not.
        capacity: Shots kept of one face.
        shot_gap_s: Least time between two shots, so that they are not the same picture twice.
        better_by: A shot is clearly better when its geometric quality is so many times the best one's.
        stranger_s: A stranger is embedded again after so long, while shots can still be better: a face that was
            turned away may turn to the camera.
        verify_s: A person who was named is embedded again after so long.
        verify_gap_s: And when it comes back after it was not seen for so long although it was looked for.
        verify_unseen_s: And when nobody looked for so long: the tracker had to guess where it went.
        crossing_iou: While two faces' boxes overlap by more than this, the tracker may swap them: both are verified.
        same_face: A shot less similar than this to the fused template looks like someone else.
        lost_s: A face not seen for so long is gone.
    """

    min_quality: float = 0.3
    min_face_px: float = 24.0
    capacity: int = 12
    shot_gap_s: float = 0.1
    better_by: float = 1.25
    stranger_s: float = 0.4
    verify_s: float = 2.0
    verify_gap_s: float = 0.3
    verify_unseen_s: float = 0.6
    crossing_iou: float = 0.05
    same_face: float = 0.35
    lost_s: float = 1.0


class NoticeKind(StrEnum):
    """What happened to a sighting."""

    STARTED = "started"
    IDENTIFIED = "identified"
    REVISED = "revised"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Glimpse:
    """One face in one frame.

    Attributes:
        meta: The frame.
        box_xyxy: ``(4,)`` float32 in full-frame pixels.
        landmarks_xy: ``(5, 2)`` float32 in full-frame pixels.
        score: The detector's confidence.
        quality: Geometric quality: size, pose and confidence; blur is known only of faces that were cut out.
    """

    meta: FrameMeta
    box_xyxy: F32
    landmarks_xy: F32
    score: float
    quality: float


@dataclass(slots=True, kw_only=True, eq=False)
class Sighting:
    """One face on one camera, from its first frame to its last."""

    number: int
    first: Glimpse
    last: Glimpse
    evidence: Evidence
    best_quality: float = 0.0
    best_geometric: float = 0.0
    frames_seen: int = 1
    decision: Decision = UNSEEN
    sequence: int = 0
    shot_pts_ns: int | None = None
    doubt: Shot | None = None
    sure: Glimpse | None = None  # the latest that a shot showed to be the same face
    verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Notice:
    """Something to publish about a sighting, as it stood then.

    Attributes:
        kind: What happened.
        number: The sighting's number in its epoch.
        sequence: Counts the sighting's notices from 1.
        first: Its first glimpse.
        last: Its latest glimpse.
        best_quality: Of its shots; 0 when it was never embedded.
        frames_seen: Frames in which it was detected.
        decision: The decision that holds.
        previous: For `REVISED` the one that held before.
    """

    kind: NoticeKind
    number: int
    sequence: int
    first: Glimpse
    last: Glimpse
    best_quality: float
    frames_seen: int
    decision: Decision
    previous: Decision | None = None


@dataclass(slots=True)
class Observed:
    """What one frame brought.

    Attributes:
        numbers: ``(N,)`` int64 sighting numbers, row by row; `UNCONFIRMED` where there is none.
        notices: What to publish, in order.
        wanted_rows: Rows of the faces whose shots are wanted.
    """

    numbers: NDArray[np.int64]
    notices: list[Notice] = field(default_factory=list)
    wanted_rows: list[int] = field(default_factory=list)


class CameraSightings:
    """The open sightings of one epoch of one camera. One thread uses it."""

    def __init__(self, options: SightingOptions, identify: IdentifyOptions) -> None:
        self._options = options
        self._identify = identify
        self._by_track: dict[int, Sighting] = {}
        self._count = 0
        self._looked_pts_ns = -1

    @property
    def open(self) -> tuple[Sighting, ...]:
        """The sightings that have not ended, oldest first."""
        return tuple(self._by_track.values())

    def observe(self, meta: FrameMeta, faces: Faces, track_ids: NDArray[np.int64], quality: F32) -> Observed:
        """Take in one frame's tracked faces.

        Args:
            meta: The frame, later than the last one.
            faces: N faces in full-frame pixels.
            track_ids: ``(N,)`` the tracker's ids.
            quality: ``(N,)`` geometric qualities.
        """
        observed = Observed(numbers=np.full(len(faces), UNCONFIRMED, np.int64))
        observed.notices += self._end_lost(meta.pts_ns)
        crossing = self._crossing(faces, track_ids)
        sizes_px = faces.sizes_px
        for row in np.flatnonzero(track_ids != UNCONFIRMED):
            track_id = int(track_ids[row])
            glimpse = Glimpse(
                meta=meta,
                box_xyxy=faces.boxes_xyxy[row],
                landmarks_xy=faces.landmarks_xy[row],
                score=float(faces.scores[row]),
                quality=float(quality[row]),
            )
            sighting = self._by_track.get(track_id)
            if sighting is None:
                sighting = self._begin(track_id, glimpse)
                observed.notices.append(self._notice(NoticeKind.STARTED, sighting))
            else:
                sighting.verify |= self._was_away(sighting, meta.pts_ns) or bool(crossing[row])
                sighting.last = glimpse
                sighting.frames_seen += 1
            observed.numbers[row] = sighting.number
            if self._wants_shot(sighting, float(sizes_px[row])):
                observed.wanted_rows.append(int(row))
        self._looked_pts_ns = meta.pts_ns
        return observed

    def _was_away(self, sighting: Sighting, pts_ns: int) -> bool:
        """Whether a face was unseen for so long that another's may have taken its place."""
        away_s = (pts_ns - sighting.last.meta.pts_ns) / 1e9
        missed = sighting.last.meta.pts_ns < self._looked_pts_ns
        return away_s >= (self._options.verify_gap_s if missed else self._options.verify_unseen_s)

    def follow(self, identify: IdentifyOptions) -> None:
        """Decide by another rule from now on."""
        self._identify = identify

    def sighting_of(self, track_id: int) -> Sighting:
        """The open sighting of a tracker's id.

        Raises:
            KeyError: There is none.
        """
        return self._by_track[track_id]

    def take_shot(self, track_id: int, shot: Shot) -> list[Notice]:
        """Add an embedded face to its sighting's evidence.

        Returns:
            The end of the old sighting and the start of a new one where the shot shows that the tracker went over to
            someone else; otherwise nothing.
        """
        sighting = self._by_track[track_id]
        shot = replace(shot, geometric=sighting.last.quality)
        sighting.shot_pts_ns = shot.pts_ns
        sighting.best_geometric = max(sighting.best_geometric, sighting.last.quality)
        sighting.verify = False
        if len(sighting.evidence) and float(sighting.evidence.fused() @ shot.template) < self._options.same_face:
            doubt = sighting.doubt
            if doubt is None or float(doubt.template @ shot.template) < self._options.same_face:
                sighting.doubt = shot  # one odd shot is a blur; two alike are someone else
                sighting.verify = True
                return []
            fresh = self._begin(track_id, sighting.last)
            sighting.last = sighting.sure or sighting.last  # since then it may have been the other's face
            ended = self._notice(NoticeKind.ENDED, sighting)
            for each in (doubt, shot):
                fresh.evidence.add(each)
            fresh.best_quality = fresh.evidence.best_quality
            fresh.best_geometric = fresh.last.quality
            fresh.shot_pts_ns = shot.pts_ns
            fresh.sure = fresh.last
            return [ended, self._notice(NoticeKind.STARTED, fresh)]
        sighting.doubt = None
        sighting.sure = sighting.last
        sighting.evidence.add(shot)
        sighting.best_quality = max(sighting.best_quality, shot.quality)
        return []

    def weigh(self, sighting: Sighting, standing: Standing) -> list[Notice]:
        """Decide a sighting anew from its evidence's standing; what changed is to be published."""
        before = sighting.decision
        incumbent = before.identity.id if before.identity else None
        sighting.decision = revise(before, decide(standing, self._identify, incumbent), self._identify)
        if sighting.decision.says_the_same(before):
            return []
        if before.answer is Answer.UNDECIDED and not self._was_decided(sighting):
            return [self._notice(NoticeKind.IDENTIFIED, sighting)]
        return [self._notice(NoticeKind.REVISED, sighting, previous=before)]

    def end_all(self) -> list[Notice]:
        """End every open sighting: the camera's epoch is over."""
        notices = [self._notice(NoticeKind.ENDED, sighting) for sighting in self._by_track.values()]
        self._by_track.clear()
        return notices

    def _crossing(self, faces: Faces, track_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """``(N,)`` whether each face's box overlaps another followed face's."""
        if len(faces) < 2:
            return np.zeros(len(faces), bool)
        overlaps = iou_matrix(faces.boxes_xyxy, faces.boxes_xyxy) > self._options.crossing_iou
        np.fill_diagonal(overlaps, val=False)
        followed = track_ids != UNCONFIRMED
        return np.asarray((overlaps & followed[None, :]).any(axis=1), np.bool_)

    @staticmethod
    def _was_decided(sighting: Sighting) -> bool:
        return sighting.sequence > 1  # after `started` every notice of an open sighting is a decision

    def _begin(self, track_id: int, glimpse: Glimpse) -> Sighting:
        self._count += 1
        sighting = Sighting(number=self._count, first=glimpse, last=glimpse, evidence=Evidence(self._options.capacity))
        self._by_track[track_id] = sighting
        return sighting

    def _end_lost(self, pts_ns: int) -> list[Notice]:
        lost = [
            track_id
            for track_id, sighting in self._by_track.items()
            if pts_ns - sighting.last.meta.pts_ns > self._options.lost_s * 1e9
        ]
        return [self._notice(NoticeKind.ENDED, self._by_track.pop(track_id)) for track_id in lost]

    def _wants_shot(self, sighting: Sighting, size_px: float) -> bool:
        options, quality = self._options, sighting.last.quality
        if quality < options.min_quality or size_px < options.min_face_px:
            return False
        if sighting.shot_pts_ns is None:
            return True
        since_s = (sighting.last.meta.pts_ns - sighting.shot_pts_ns) / 1e9
        if since_s < options.shot_gap_s - EPSILON_S:
            return False
        if sighting.verify or quality > sighting.best_geometric * options.better_by:
            return True
        waits = {Answer.UNDECIDED: options.shot_gap_s, Answer.STRANGER: options.stranger_s}
        wait_s = waits.get(sighting.decision.answer, options.verify_s)
        if not sighting.evidence.could_gain_from(quality):
            wait_s = options.verify_s
        return since_s >= wait_s - EPSILON_S

    @staticmethod
    def _notice(kind: NoticeKind, sighting: Sighting, previous: Decision | None = None) -> Notice:
        sighting.sequence += 1
        return Notice(
            kind=kind,
            number=sighting.number,
            sequence=sighting.sequence,
            first=sighting.first,
            last=sighting.last,
            best_quality=sighting.best_quality,
            frames_seen=sighting.frames_seen,
            decision=sighting.decision,
            previous=previous,
        )
