from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.faces import Faces
from pipeline.track import UNCONFIRMED, ByteTracker, TrackOptions
from tests.pipeline.made import Box, faces_of, square

OPTIONS = TrackOptions(lost_s=1.0, min_hits=2)


def follow(tracker: ByteTracker, frames: Sequence[tuple[float, Sequence[Box]]]) -> list[list[int]]:
    """The ids of each frame, given as its time and its boxes."""
    return [tracker.update(faces_of(*boxes), time_s).tolist() for time_s, boxes in frames]


def test_a_face_is_confirmed_at_its_second_frame_and_keeps_its_id() -> None:
    frames = [(i / 25, [square(100 + 3 * i, 100)]) for i in range(10)]
    assert follow(ByteTracker(OPTIONS), frames) == [[UNCONFIRMED]] + [[1]] * 9


def test_two_cameras_know_nothing_of_each_other() -> None:
    def frames(start: float) -> list[tuple[float, list[Box]]]:
        return [(i / 25, [square(start + 2 * i, 50), square(start, 300)]) for i in range(6)]

    alone = follow(ByteTracker(OPTIONS), frames(10))
    one, other = ByteTracker(OPTIONS), ByteTracker(OPTIONS)
    interleaved = []
    for mine, theirs in zip(frames(10), frames(200), strict=True):
        interleaved += follow(one, [mine])
        follow(other, [theirs])
        follow(other, [(theirs[0] + 0.02, theirs[1])])
    assert interleaved == alone
    assert follow(ByteTracker(OPTIONS), frames(10)) == alone, "a new epoch counts from 1 again"


def test_ids_are_those_of_the_library_used_as_it_comes() -> None:
    """What we leave out and put in, for speed, changes no answer."""
    from supervision import Detections
    from trackers import ByteTrackTracker
    from trackers.utils.iou import BIoU

    options = TrackOptions()
    plain = ByteTrackTracker(
        lost_track_buffer=30,
        frame_rate=options.nominal_fps,
        track_activation_threshold=options.new_track_score,
        minimum_consecutive_frames=options.min_hits,
        minimum_iou_threshold=options.min_iou,
        high_conf_det_threshold=0.6,
        iou=BIoU(buffer_ratio=options.buffer_ratio),
    )
    ours = ByteTracker(options)
    chance = np.random.default_rng(7)
    middles, speeds = chance.uniform(50, 950, (8, 2)), chance.uniform(-6, 6, (8, 2))
    for number in range(200):
        middles += speeds
        seen = np.flatnonzero(chance.random(8) < 0.85)  # some are missed now and then
        found = middles[seen] + chance.normal(0, 1.5, (len(seen), 2))
        boxes = np.hstack([found - 20, found + 20]).astype(np.float32)
        scores = chance.uniform(0.3, 1.0, len(seen)).astype(np.float32)
        faces = Faces(boxes_xyxy=boxes, scores=scores, landmarks_xy=np.zeros((len(seen), 5, 2), np.float32))
        rows = Detections(xyxy=boxes.astype(np.float64), confidence=scores, data={"row": np.arange(len(seen))})
        tracked = plain.update(rows, timestamp=number / 10)
        expected = np.full(len(seen), UNCONFIRMED)
        assert tracked.tracker_id is not None
        for row, track in zip(tracked.data.get("row", ()), tracked.tracker_id, strict=True):
            if track >= 0:
                expected[row] = track + 1
        assert ours.update(faces, number / 10).tolist() == expected.tolist()
    assert expected.max() >= 8


@pytest.mark.parametrize(
    ("fps", "side", "speed_px_s"),
    [
        pytest.param(5, 30, 200, id="small-and-fast-at-5-fps"),
        pytest.param(5, 60, 300, id="medium-and-fast-at-5-fps"),
        pytest.param(2, 80, 150, id="slow-camera"),
        pytest.param(25, 30, 600, id="running-at-25-fps"),
    ],
)
def test_a_fast_face_keeps_its_id(fps: float, side: float, speed_px_s: float) -> None:
    frames = [(i / fps, [square(50 + i * speed_px_s / fps, 200, side)]) for i in range(12)]
    assert follow(ByteTracker(OPTIONS), frames)[1:] == [[1]] * 11


def test_two_faces_that_cross_keep_their_ids() -> None:
    tracker = ByteTracker(OPTIONS)
    ids = [
        tracker.update(faces_of(square(20 + 12 * i, 200), square(620 - 12 * i, 230)), i / 25).tolist()
        for i in range(50)
    ]
    assert ids[1:] == [[1, 2]] * 49


@pytest.mark.parametrize(
    ("gap_s", "id_after"),
    [pytest.param(0.6, [1], id="shorter-than-lost_s"), pytest.param(1.4, [UNCONFIRMED], id="longer-than-lost_s")],
)
def test_a_gap(gap_s: float, id_after: list[int]) -> None:
    tracker = ByteTracker(OPTIONS)
    follow(tracker, [(i / 25, [square(100, 100)]) for i in range(6)])
    empty = [(0.2 + t / 25, ()) for t in range(1, round(gap_s * 25))]
    assert follow(tracker, empty) == [[]] * len(empty)
    assert follow(tracker, [(0.2 + gap_s, [square(100, 100)])]) == [id_after]


def test_after_a_long_gap_the_id_is_a_new_one() -> None:
    tracker = ByteTracker(OPTIONS)
    follow(tracker, [(i / 25, [square(100, 100)]) for i in range(3)])
    assert follow(tracker, [(5 + i / 25, [square(100, 100)]) for i in range(3)]) == [[UNCONFIRMED], [2], [2]]


@pytest.mark.parametrize("times", [(0.0, 0.04, 0.04, 0.04), (10.0, 10.04, 3.0, 3.04)], ids=["equal", "backwards"])
def test_a_time_that_does_not_grow_loses_nobody(times: tuple[float, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert follow(ByteTracker(OPTIONS), [(time_s, [square(100, 100)]) for time_s in times])[-1] == [1]


def test_rows_keep_their_order() -> None:
    tracker = ByteTracker(OPTIONS)
    left, right = square(50, 50), square(400, 50)
    follow(tracker, [(0.0, [left, right]), (0.04, [left, right])])
    assert follow(tracker, [(0.08, [right, left]), (0.12, [left, right])]) == [[2, 1], [1, 2]]


def test_weak_detections_begin_no_track_but_carry_one_on() -> None:
    tracker = ByteTracker(OPTIONS)
    weak, strong = (faces_of(square(100, 100), scores=[score]) for score in (0.62, 0.95))
    assert [tracker.update(weak, i / 25).tolist() for i in range(4)] == [[UNCONFIRMED]] * 4
    assert [tracker.update(strong, 1 + i / 25).tolist() for i in range(2)] == [[UNCONFIRMED], [1]]
    assert tracker.update(weak, 1.08).tolist() == [1]


def test_no_faces_are_no_rows() -> None:
    answer = ByteTracker().update(Faces.empty(), 0.0)
    assert answer.shape == (0,)
    assert answer.dtype == np.int64


def test_ids_are_unique_within_a_frame() -> None:
    tracker = ByteTracker(OPTIONS)
    rng = np.random.default_rng(0)
    for i in range(20):
        boxes = [square(float(x), float(y), 40) for x, y in rng.uniform(0, 600, (8, 2))]
        confirmed = [track for track in tracker.update(faces_of(*boxes), i / 25).tolist() if track != UNCONFIRMED]
        assert len(confirmed) == len(set(confirmed))
