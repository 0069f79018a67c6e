from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.events.payload import Answer
from pipeline.evidence import Candidate, Shot
from pipeline.faces import F32
from pipeline.identify import IdentifyOptions, Reason, Standing
from pipeline.sighting import CameraSightings, Notice, NoticeKind, Observed, Sighting, SightingOptions
from pipeline.track import UNCONFIRMED
from tests.pipeline.made import MS, Box, axis, candidate, faces_of, meta_of, shot_of, square, unit

OPTIONS = SightingOptions(
    min_quality=0.3,
    min_face_px=24,
    capacity=4,
    shot_gap_s=0.1,
    better_by=1.25,
    stranger_s=0.4,
    verify_s=2.0,
    verify_gap_s=0.3,
    crossing_iou=0.05,
    same_face=0.25,
    lost_s=1.0,
)
IDENTIFY = IdentifyOptions(min_shots=2, stranger_shots=2, patience_shots=8)


def camera(options: SightingOptions = OPTIONS) -> CameraSightings:
    return CameraSightings(options, IDENTIFY)


def see(
    sightings: CameraSightings,
    at_ms: int,
    *tracks: int,
    boxes: Sequence[Box] | None = None,
    quality: float = 0.6,
) -> Observed:
    """One frame with these tracks, side by side unless boxes are given."""
    boxes = boxes or [square(10 + 150 * place, 100) for place in range(len(tracks))]
    meta = meta_of(index=at_ms // 40, pts_ns=at_ms * MS)
    return sightings.observe(
        meta, faces_of(*boxes), np.array(tracks, np.int64), np.full(len(tracks), quality, np.float32)
    )


def standing_of(sighting: Sighting, best: Candidate | None, *, version: int = 1) -> Standing:
    shots = sighting.evidence.shots
    return Standing(
        best=best,
        runner_up=None,
        shot_bests=tuple(best for _ in shots),
        qualities=tuple(shot.quality for shot in shots),
        weight=sighting.evidence.weight,
        gallery_version=version,
    )


def shoot(
    sightings: CameraSightings,
    track: int,
    at_ms: int,
    template: F32,
    best: Candidate | None = None,
    *,
    quality: float = 0.8,
) -> list[Notice]:
    """Embed a track's face and decide."""
    notices = sightings.take_shot(track, Shot(template=template, quality=quality, pts_ns=at_ms * MS, best=best))
    sighting = sightings.sighting_of(track)
    return notices + sightings.weigh(sighting, standing_of(sighting, best))


def told(notices: Sequence[Notice]) -> list[tuple[str, int, int]]:
    """Kind, sighting number and sequence of each."""
    return [(notice.kind.value, notice.number, notice.sequence) for notice in notices]


ADA, BOB, NOBODY = candidate("Ada", 0.8), candidate("Bob", 0.8), candidate("Ada", 0.1)


class TestShotPolicy:
    """Which frames' faces are embedded."""

    def named(self, at_ms: int = 0, best: Candidate | None = ADA) -> CameraSightings:
        """A camera with one decided face, last embedded at this time with geometric quality 0.6."""
        sightings = camera()
        for ms in (at_ms - 100, at_ms):
            see(sightings, ms, 1)
            shoot(sightings, 1, ms, axis(0), best)
        assert sightings.sighting_of(1).decision.answer is not Answer.UNDECIDED
        return sightings

    def test_a_new_face_is_wanted_at_once(self) -> None:
        assert see(camera(), 0, 1).wanted_rows == [0]

    def test_an_unconfirmed_face_is_not(self) -> None:
        observed = see(camera(), 0, UNCONFIRMED)
        assert observed.wanted_rows == []
        assert observed.notices == []
        assert observed.numbers.tolist() == [UNCONFIRMED]

    @pytest.mark.parametrize(
        ("quality", "side", "wanted"),
        [
            pytest.param(0.3, 24, True, id="just-good-enough"),
            pytest.param(0.29, 100, False, id="too-poor"),
            pytest.param(0.9, 23.5, False, id="too-small"),
        ],
    )
    def test_poor_and_small_faces_are_not(self, quality: float, side: float, *, wanted: bool) -> None:
        observed = see(camera(), 0, 1, boxes=[square(10, 10, side)], quality=quality)
        assert bool(observed.wanted_rows) is wanted
        assert told(observed.notices) == [("started", 1, 1)], "seen it is all the same"

    @pytest.mark.parametrize(
        ("at_ms", "quality", "wanted"),
        [
            pytest.param(40, 0.99, False, id="too-soon-however-good"),
            pytest.param(160, 0.6, False, id="decided-and-no-better"),
            pytest.param(160, 0.74, False, id="hardly-better"),
            pytest.param(160, 0.76, True, id="clearly-better"),
            pytest.param(1960, 0.6, False, id="before-it-is-verified"),
            pytest.param(2000, 0.6, True, id="now-and-then-to-verify"),
            pytest.param(2000, 0.2, False, id="never-a-poor-one"),
        ],
    )
    def test_a_named_face(self, at_ms: int, quality: float, *, wanted: bool) -> None:
        sightings = self.named()
        for ms in range(40, at_ms, 40):
            assert see(sightings, ms, 1).wanted_rows == []
        assert bool(see(sightings, at_ms, 1, quality=quality).wanted_rows) is wanted

    @pytest.mark.parametrize(("at_ms", "wanted"), [(360, False), (400, True)])
    def test_a_stranger_is_looked_at_more_often(self, at_ms: int, *, wanted: bool) -> None:
        sightings = self.named(best=NOBODY)
        assert sightings.sighting_of(1).decision.answer is Answer.STRANGER
        for ms in range(40, at_ms, 40):
            assert see(sightings, ms, 1).wanted_rows == []
        assert bool(see(sightings, at_ms, 1).wanted_rows) is wanted

    @pytest.mark.parametrize(("at_ms", "wanted"), [(80, False), (100, True), (140, True)])
    def test_an_open_decision_asks_at_each_gap(self, at_ms: int, *, wanted: bool) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        shoot(sightings, 1, 0, axis(0), ADA)
        assert sightings.sighting_of(1).decision.answer is Answer.UNDECIDED
        assert bool(see(sightings, at_ms, 1).wanted_rows) is wanted

    def test_an_open_decision_with_better_shots_than_this_asks_seldom(self) -> None:
        sightings = camera()
        shots = 0
        for ms in range(0, 10_000, 40):
            if see(sightings, ms, 1).wanted_rows:
                shots += 1
                sightings.take_shot(1, shot_of(axis(0), ms * MS))
        assert OPTIONS.capacity < shots <= OPTIONS.capacity + 10 / OPTIONS.verify_s

    @pytest.mark.parametrize(("back_at_ms", "wanted"), [(280, False), (320, True), (900, True)])
    def test_a_face_that_comes_back_is_verified(self, back_at_ms: int, *, wanted: bool) -> None:
        sightings = self.named()
        see(sightings, 160)  # looked for, and not seen
        observed = see(sightings, back_at_ms, 1)
        assert bool(observed.wanted_rows) is wanted
        assert observed.notices == []

    @pytest.mark.parametrize(("next_at_ms", "wanted"), [(560, False), (740, True)])
    def test_a_face_that_nobody_looked_for_is_verified_after_longer(self, next_at_ms: int, *, wanted: bool) -> None:
        assert bool(see(self.named(), next_at_ms, 1).wanted_rows) is wanted

    def test_faces_that_cross_are_both_verified(self) -> None:
        sightings = camera()
        for ms in (0, 100):
            see(sightings, ms, 1, 2)
            shoot(sightings, 1, ms, axis(0), ADA)
            shoot(sightings, 2, ms, axis(1), BOB)
        apart = [square(100, 100), square(210, 100)]
        touching = [square(150, 100), square(210, 100)]
        assert see(sightings, 220, 1, 2, boxes=apart).wanted_rows == []
        assert see(sightings, 240, 1, 2, boxes=touching).wanted_rows == [0, 1]

    def test_an_unconfirmed_face_in_front_is_no_crossing(self) -> None:
        sightings = self.named()
        assert see(sightings, 240, 1, UNCONFIRMED, boxes=[square(100, 100), square(120, 100)]).wanted_rows == []

    def test_the_wish_to_verify_outlasts_poor_frames(self) -> None:
        sightings = self.named()
        see(sightings, 200)
        assert see(sightings, 400, 1, quality=0.1).wanted_rows == []
        assert see(sightings, 440, 1).wanted_rows == [0]


class TestNotices:
    def test_from_first_to_last_frame(self) -> None:
        sightings = camera()
        notices = see(sightings, 0, 1).notices
        notices += shoot(sightings, 1, 0, axis(0), ADA)
        notices += see(sightings, 100, 1).notices
        notices += shoot(sightings, 1, 100, axis(0), ADA)
        notices += see(sightings, 200).notices
        assert told(notices) == [("started", 1, 1), ("identified", 1, 2)]
        ended = see(sightings, 1140).notices
        assert told(ended) == [("ended", 1, 3)]
        assert ended[0].decision.identity == ADA
        assert ended[0].frames_seen == 2
        assert ended[0].best_quality == pytest.approx(0.8)
        assert ended[0].first.meta.pts_ns == 0
        assert ended[0].last.meta.pts_ns == 100 * MS
        assert sightings.open == ()

    @pytest.mark.parametrize(("gap_ms", "lost"), [(1000, False), (1040, True)])
    def test_a_face_is_lost_after_lost_s(self, gap_ms: int, *, lost: bool) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        assert told(see(sightings, gap_ms).notices) == ([("ended", 1, 2)] if lost else [])

    def test_a_track_id_that_comes_back_after_that_is_another_sighting(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        shoot(sightings, 1, 0, axis(0), ADA)
        observed = see(sightings, 2000, 1)
        assert told(observed.notices) == [("ended", 1, 2), ("started", 2, 1)]
        assert observed.numbers.tolist() == [2]
        assert sightings.sighting_of(1).decision.reason is Reason.NO_SHOTS

    def test_a_stranger_is_identified_as_one(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        notices = [notice for ms in (0, 100) for notice in shoot(sightings, 1, ms, axis(0), NOBODY)]
        assert told(notices) == [("identified", 1, 2)]
        assert notices[0].decision.answer is Answer.STRANGER

    def test_a_revision_names_what_it_takes_back(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        for ms in (0, 100):
            shoot(sightings, 1, ms, axis(0), NOBODY)
        notices = shoot(sightings, 1, 200, axis(0), ADA)
        assert told(notices) == [("revised", 1, 3)]
        assert notices[0].decision.identity == ADA
        assert notices[0].previous is not None
        assert notices[0].previous.answer is Answer.STRANGER

    def test_a_name_taken_back_and_given_again_is_revised_twice(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        for ms in (0, 100):
            shoot(sightings, 1, ms, axis(0), ADA)
        sighting = sightings.sighting_of(1)
        removed = sightings.weigh(sighting, standing_of(sighting, candidate("Bob", 0.45), version=2))
        back = sightings.weigh(sighting, standing_of(sighting, ADA, version=3))
        assert told(removed + back) == [("revised", 1, 3), ("revised", 1, 4)]
        assert removed[0].decision.answer is Answer.UNDECIDED

    def test_nothing_new_is_not_told(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        told_of = [shoot(sightings, 1, ms, axis(0), ADA) for ms in range(0, 600, 100)]
        assert [len(notices) for notices in told_of] == [0, 1, 0, 0, 0, 0]

    def test_a_new_rule_holds_from_then_on(self) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        for ms in (0, 100):
            shoot(sightings, 1, ms, axis(0), candidate("Ada", 0.45))
        assert sightings.sighting_of(1).decision.answer is Answer.UNDECIDED
        sightings.follow(IdentifyOptions(min_shots=2, threshold=0.4))
        assert told(shoot(sightings, 1, 200, axis(0), candidate("Ada", 0.45))) == [("identified", 1, 2)]

    def test_the_end_of_the_epoch_ends_all(self) -> None:
        sightings = camera()
        see(sightings, 0, 7, 9)
        assert told(sightings.end_all()) == [("ended", 1, 2), ("ended", 2, 2)]
        assert sightings.end_all() == []

    def test_the_numbers_are_the_same_each_time(self) -> None:
        def play() -> list[tuple[str, int, int]]:
            sightings = camera()
            notices: list[Notice] = []
            for ms in range(0, 3000, 40):
                tracks = [track for track in (4, 2, 9) if (ms // 40 + track) % 50 < 20]
                observed = see(sightings, ms, *tracks)
                notices += observed.notices
                for row in observed.wanted_rows:
                    notices += shoot(sightings, tracks[row], ms, axis(tracks[row] % 8), ADA)
            return told(notices + sightings.end_all())

        first = play()
        assert first == play()
        assert len(first) == len(set(first))
        for number in {number for _, number, _ in first}:
            sequences = [sequence for _, each, sequence in first if each == number]
            assert sequences == list(range(1, len(sequences) + 1))


class TestSwap:
    """The tracker goes over from one person to another."""

    def two_people(self) -> CameraSightings:
        sightings = camera()
        for ms in (0, 100, 200):
            see(sightings, ms, 1)
            shoot(sightings, 1, ms, axis(0), ADA)
        return sightings

    def test_ends_the_sighting_and_begins_another_without_the_name(self) -> None:
        sightings = self.two_people()
        see(sightings, 300, 1, boxes=[square(300, 100)])
        assert shoot(sightings, 1, 300, axis(1), BOB) == [], "one odd shot may be a blur"
        observed = see(sightings, 400, 1, boxes=[square(310, 100)])
        assert observed.wanted_rows == [0], "so another is wanted at once"
        ended, started = sightings.take_shot(1, shot_of(axis(1), 400 * MS, best=BOB))
        assert told([ended, started]) == [("ended", 1, 3), ("started", 2, 1)]
        assert ended.decision.identity == ADA
        assert started.decision.answer is Answer.UNDECIDED
        assert started.decision.identity is None
        fresh = sightings.sighting_of(1)
        assert fresh.number == 2
        assert [shot.pts_ns for shot in fresh.evidence.shots] == [300 * MS, 400 * MS], "the new face's alone"

    def test_the_old_sighting_ends_where_it_was_last_sure(self) -> None:
        sightings = self.two_people()
        for ms in (300, 400):
            see(sightings, ms, 1, boxes=[square(300, 100)])
            notices = shoot(sightings, 1, ms, axis(1), BOB)
        ended, started = notices[:2]
        assert ended.last.meta.pts_ns == 200 * MS
        assert ended.last.box_xyxy[0] == 10, "Ada's box, not Bob's"
        assert started.first.meta.pts_ns == 400 * MS
        assert started.first.box_xyxy[0] == 300

    def test_who_came_is_identified_by_what_was_seen_of_them(self) -> None:
        sightings = self.two_people()
        notices: list[Notice] = []
        for ms in (300, 400):
            see(sightings, ms, 1)
            notices += shoot(sightings, 1, ms, axis(1), BOB)
        assert told(notices) == [("ended", 1, 3), ("started", 2, 1), ("identified", 2, 2)]
        assert notices[-1].decision.identity == BOB

    def test_one_odd_shot_changes_nothing(self) -> None:
        sightings = self.two_people()
        for ms, template in ((300, axis(1)), (400, axis(0)), (500, axis(2)), (600, axis(0))):
            see(sightings, ms, 1)
            assert shoot(sightings, 1, ms, template, ADA) == []
        sighting = sightings.sighting_of(1)
        assert sighting.number == 1
        np.testing.assert_allclose(sighting.evidence.fused(), axis(0), atol=1e-6)

    def test_two_odd_shots_that_are_unlike_are_two_blurs(self) -> None:
        sightings = self.two_people()
        for ms, template in ((300, axis(1)), (400, axis(2)), (500, axis(3))):
            see(sightings, ms, 1)
            assert shoot(sightings, 1, ms, template, ADA) == []
        assert sightings.sighting_of(1).number == 1

    @pytest.mark.parametrize(("similarity", "same"), [(0.26, True), (0.24, False)])
    def test_same_face_is_a_similarity(self, similarity: float, *, same: bool) -> None:
        sightings = camera()
        see(sightings, 0, 1)
        sightings.take_shot(1, shot_of(axis(0), 0))
        other = unit(similarity, np.sqrt(1 - similarity**2), 0, 0, 0, 0, 0, 0)
        sightings.take_shot(1, shot_of(other, 100 * MS))
        assert (len(sightings.sighting_of(1).evidence) == 2) is same
        assert (sightings.sighting_of(1).doubt is None) is same


def test_numbers_stand_beside_their_faces() -> None:
    sightings = camera()
    see(sightings, 0, 5)
    observed = see(sightings, 40, UNCONFIRMED, 8, 5)
    assert observed.numbers.tolist() == [UNCONFIRMED, 2, 1]
    assert [notice.kind for notice in observed.notices] == [NoticeKind.STARTED]


def test_an_unknown_track_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        camera().sighting_of(1)
