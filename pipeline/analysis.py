"""From detected faces to published facts: follow, choose shots, align and embed, search, decide, tell.

One thread runs it, in rounds of at most one frame of each camera. Within a round the shots of all cameras are embedded
as one batch and searched as one; a camera's next frame is looked at only when the last one's decisions are taken. So
what is decided about a recording depends on its frames alone, never on how threads happened to run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.gallery import Gallery
from index.matches import Matches
from pipeline.align import align_faces, stack_aligned
from pipeline.evidence import Candidate, Shot
from pipeline.faces import F32, Faces
from pipeline.identify import Decision, IdentifyOptions, Standing
from pipeline.metrics import Ages, StageTimes
from pipeline.mobilefacenet import Embedder
from pipeline.quality import full_quality, geometric_quality, sharpness
from pipeline.refine import refine_faces
from pipeline.report import Reporter
from pipeline.retinaface import Detector
from pipeline.sighting import CameraSightings, Notice, Sighting, SightingOptions
from pipeline.track import UNCONFIRMED, Tracker
from streams.clock import SYSTEM_CLOCK, Clock
from streams.frame import Frame
from streams.state import CameraState, CameraStateName

MIN_QUALITY = 1e-3
"""A shot that was taken weighs something: a weighted mean needs weights over zero."""

GALLERY_LOOK_NS: Final = 50_000_000
"""While frames come, the gallery is looked at so often: it asks SQLite and the file system, and not for each frame."""

RUNNERS_UP = 2
"""How many people a search returns: the best and who comes next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectedFrame:
    """A frame with its faces, in full-frame pixels."""

    frame: Frame
    faces: Faces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysedFrame:
    """A frame with all that is known of its faces; for those who draw or score, not for events.

    Attributes:
        frame: The frame.
        faces: N faces in full-frame pixels.
        numbers: ``(N,)`` int64 sighting numbers; `UNCONFIRMED` where there is none yet.
        decisions: N decisions that hold after this frame; None for unconfirmed faces.
    """

    frame: Frame
    faces: Faces
    numbers: NDArray[np.int64]
    decisions: tuple[Decision | None, ...]


@dataclass(slots=True)
class _Epoch:
    """What is known of a camera's present connection."""

    number: int
    tracker: Tracker
    sightings: CameraSightings


@dataclass(slots=True)
class _Looked:
    """One frame of the round on its way through the stages."""

    detected: DetectedFrame
    epoch: _Epoch
    track_ids: NDArray[np.int64]
    wanted_rows: list[int]
    notices: list[Notice]


class Analysis:
    """See the module's text. One thread uses it.

    Args:
        embedder: Describes aligned faces.
        refiner: Finds landmarks again close up before a face is embedded, see `refine`; None to go without.
        gallery: Who is known; opened in this thread.
        reporter: Publishes notices and states.
        new_tracker: Makes a tracker for each epoch of each camera.
        sighting_options: When faces are embedded and when they are gone.
        identify_options: Gives the decision's rule for a gallery of so many people; asked again when it changes.
        times: Where stage times are summed.
        observer: Told of every analysed frame; for drawing and scoring.
        ages: Where the ages of live cameras' frames are counted.
        live_cameras: Whose frames have an age.
        clock: The time.
    """

    def __init__(
        self,
        *,
        embedder: Embedder,
        refiner: Detector | None = None,
        gallery: Gallery,
        reporter: Reporter,
        new_tracker: Callable[[], Tracker],
        sighting_options: SightingOptions,
        identify_options: Callable[[int], IdentifyOptions],
        times: StageTimes,
        observer: Callable[[AnalysedFrame], None] | None = None,
        ages: Ages | None = None,
        live_cameras: frozenset[str] = frozenset(),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._embedder = embedder
        self._refiner = refiner
        self._gallery = gallery
        self._reporter = reporter
        self._new_tracker = new_tracker
        self._sighting_options = sighting_options
        self._options_for = identify_options
        self._identify = identify_options(gallery.identity_count)
        self._times = times
        self._observer = observer
        self._ages = ages
        self._live = live_cameras
        self._clock = clock
        self._epochs: dict[str, _Epoch] = {}
        self._looked_at_gallery_ns = -GALLERY_LOOK_NS

    def state(self, state: CameraState) -> None:
        """Take in a camera's change of state: a lost or ended camera's sightings end."""
        if state.name in (CameraStateName.LOST, CameraStateName.ENDED):
            self._close_epoch(state.camera)
        self._reporter.camera_state(state)

    def round(self, detected: Sequence[DetectedFrame]) -> None:
        """Analyse one frame of each of some cameras and publish what changed.

        Raises:
            ValueError: Two frames are of the same camera.
            PipelineError: A model failed.
            EventsError: The outbox could not take an event.
        """
        if len({each.frame.meta.camera for each in detected}) != len(detected):
            raise ValueError("a round takes at most one frame of each camera")
        if self._clock.monotonic_ns() - self._looked_at_gallery_ns >= GALLERY_LOOK_NS:
            self.follow_gallery()
        with self._times.measure("track", len(detected)):
            looked = [self._look(each) for each in detected]
        self._decide(self._take_shots(looked))
        with self._times.measure("events", sum(len(each.notices) for each in looked)):
            for each in looked:
                self._reporter.notices(each.detected.frame.meta.camera, each.epoch.number, each.notices)
        if self._ages is not None:
            now_ns = self._clock.monotonic_ns()
            for meta in (each.detected.frame.meta for each in looked):
                if meta.camera in self._live:
                    self._ages.add(meta.camera, (now_ns - meta.received_ns) / 1e9)
        if self._observer is not None:
            for each in looked:
                self._observer(self._analysed(each))

    def follow_gallery(self) -> None:
        """See whether another process changed the gallery; if so every open sighting is decided anew, at once."""
        self._looked_at_gallery_ns = self._clock.monotonic_ns()
        if not self._gallery.refresh():
            return
        self._identify = self._options_for(self._gallery.identity_count)
        for camera, epoch in self._epochs.items():
            epoch.sightings.follow(self._identify)
            notices: list[Notice] = []
            for sighting in epoch.sightings.open:
                if len(sighting.evidence):
                    self._match_again(sighting)
                    standing = self._standings([sighting])[0]
                    notices += epoch.sightings.weigh(sighting, standing)
            self._reporter.notices(camera, epoch.number, notices)

    def finish(self) -> None:
        """End every open sighting: nothing more will come."""
        for camera in list(self._epochs):
            self._close_epoch(camera)

    def close(self) -> None:
        """Close the gallery. Nothing may be called after it."""
        self._gallery.close()

    @property
    def has_open_sightings(self) -> bool:
        """Whether a change of the gallery could change an answer."""
        return any(epoch.sightings.open for epoch in self._epochs.values())

    def _close_epoch(self, camera: str) -> None:
        epoch = self._epochs.pop(camera, None)
        if epoch is not None:
            self._reporter.notices(camera, epoch.number, epoch.sightings.end_all())

    def _epoch_of(self, frame: Frame) -> _Epoch:
        meta = frame.meta
        epoch = self._epochs.get(meta.camera)
        if epoch is None or epoch.number != meta.epoch:
            self._close_epoch(meta.camera)
            epoch = _Epoch(meta.epoch, self._new_tracker(), CameraSightings(self._sighting_options, self._identify))
            self._epochs[meta.camera] = epoch
        return epoch

    def _look(self, detected: DetectedFrame) -> _Looked:
        """Follow the faces of one frame and see which shots are wanted."""
        meta, faces = detected.frame.meta, detected.faces
        epoch = self._epoch_of(detected.frame)
        track_ids = epoch.tracker.update(faces, meta.pts_ns / 1e9)
        geometric = geometric_quality(faces, meta.size_wh)
        observed = epoch.sightings.observe(meta, faces, track_ids, geometric)
        return _Looked(detected, epoch, track_ids, observed.wanted_rows, observed.notices)

    def _take_shots(self, looked: Sequence[_Looked]) -> list[tuple[_Looked, Sighting]]:
        """Cut out, embed and search the wanted faces of all frames; the sightings whose evidence changed."""
        wanted = [each for each in looked if each.wanted_rows]
        if not wanted:
            return []
        total = sum(len(each.wanted_rows) for each in wanted)
        pictures = [(each.detected.frame.picture, each.detected.faces[each.wanted_rows]) for each in wanted]
        if self._refiner is not None:
            with self._times.measure("refine", total):
                refined = refine_faces(self._refiner, pictures)
            pictures = [(picture, faces) for (picture, _), faces in zip(pictures, refined, strict=True)]
        with self._times.measure("align", total):
            aligned = stack_aligned([align_faces(picture, faces.landmarks_xy) for picture, faces in pictures])
            geometric = np.concatenate([geometric_quality(faces, picture.size_wh) for picture, faces in pictures])
            qualities = full_quality(geometric, sharpness(aligned))
        with self._times.measure("embed", total):
            templates = self._embedder.embed(aligned)
        with self._times.measure("search", total):
            bests = [candidates[0] for candidates in self._search(templates, k=1)]
        changed: list[tuple[_Looked, Sighting]] = []
        place = 0
        for each in wanted:
            sightings = each.epoch.sightings
            for row in each.wanted_rows:
                track_id = int(each.track_ids[row])
                shot = Shot(
                    template=templates[place],
                    quality=max(float(qualities[place]), MIN_QUALITY),
                    pts_ns=each.detected.frame.meta.pts_ns,
                    best=bests[place],
                )
                each.notices += sightings.take_shot(track_id, shot)
                changed.append((each, sightings.sighting_of(track_id)))
                place += 1
        return changed

    def _decide(self, changed: Sequence[tuple[_Looked, Sighting]]) -> None:
        """Weigh every sighting whose evidence changed."""
        if not changed:
            return
        with self._times.measure("search", 0):
            standings = self._standings([sighting for _each, sighting in changed])
        for (each, sighting), standing in zip(changed, standings, strict=True):
            each.notices += each.epoch.sightings.weigh(sighting, standing)

    def _standings(self, sightings: Sequence[Sighting]) -> list[Standing]:
        """Hold the fused templates of some sightings, each with evidence, against the gallery in one search."""
        fused = np.stack([sighting.evidence.fused() for sighting in sightings])
        return [
            Standing(
                best=best,
                runner_up=runner_up,
                shot_bests=tuple(shot.best for shot in sighting.evidence.shots),
                qualities=tuple(shot.quality for shot in sighting.evidence.shots),
                weight=sighting.evidence.weight,
                gallery_version=self._gallery.version,
            )
            for sighting, (best, runner_up) in zip(sightings, self._search(fused, k=RUNNERS_UP), strict=True)
        ]

    def _match_again(self, sighting: Sighting) -> None:
        shots = sighting.evidence.shots
        found = self._search(np.stack([shot.template for shot in shots]), k=1)
        sighting.evidence.replace_shots(
            [replace(shot, best=candidates[0]) for shot, candidates in zip(shots, found, strict=True)]
        )

    def _search(self, templates: F32, k: int) -> list[list[Candidate | None]]:
        """For each row its best `k` people, None where there are not so many."""
        matches = self._gallery.search(templates, k)
        return [candidates(matches, row) for row in range(len(templates))]

    def _analysed(self, each: _Looked) -> AnalysedFrame:
        numbers = np.full(len(each.track_ids), UNCONFIRMED, np.int64)
        decisions: list[Decision | None] = [None] * len(each.track_ids)
        for row in np.flatnonzero(each.track_ids != UNCONFIRMED):
            sighting = each.epoch.sightings.sighting_of(int(each.track_ids[row]))
            numbers[row], decisions[row] = sighting.number, sighting.decision
        return AnalysedFrame(
            frame=each.detected.frame, faces=each.detected.faces, numbers=numbers, decisions=tuple(decisions)
        )


def candidates(matches: Matches, row: int) -> list[Candidate | None]:
    """One probe's matches as candidates, best first."""
    found: list[Candidate | None] = []
    for place, score in zip(matches.identity_index[row], matches.scores[row], strict=True):
        if place < 0:
            found.append(None)
        else:
            identity = matches.identities[place]
            found.append(Candidate(id=identity.id, name=identity.name, score=float(score)))
    return found
