"""The analysis stage by itself: no thread, and the clock stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis import GALLERY_LOOK_NS, AnalysedFrame, Analysis, DetectedFrame
from pipeline.canvas import Canvas
from pipeline.detection import Detection
from pipeline.events.payload import Answer
from pipeline.metrics import StageTimes
from pipeline.track import UNCONFIRMED
from streams.fake import FakeClock
from streams.frame import Frame
from streams.picture import ArrayPicture
from streams.state import CameraState, CameraStateName
from tests.pipeline.made import RECORDED_AT_NS, meta_of
from tests.pipeline.stage import CANVAS, SIZE_WH, Stage, Walk, enrol, kinds, names, remove, scene
from tests.schemas import assert_valid


class Bench:
    """An analysis that is fed frame by frame."""

    def __init__(self, folder: Path) -> None:
        self.analysed: list[AnalysedFrame] = []
        self.clock = FakeClock()
        self.stage = Stage(folder, {"door": (), "hall": ()}, observer=self.analysed.append, clock=self.clock)
        self.analysis: Analysis = self.stage.analysis()

    def detected(self, camera: str, index: int, *walks: Walk, epoch: int = 1) -> DetectedFrame:
        picture = scene(index + 1, *walks)[index]
        frame = Frame(meta=meta_of(camera, index, epoch=epoch, size_wh=SIZE_WH), picture=ArrayPicture(picture))
        return Detection(self.stage.detector, StageTimes()).detect([frame])[0]

    def watch(self, frames: range, *walks: Walk, camera: str = "door", epoch: int = 1) -> None:
        for index in frames:
            self.analysis.round([self.detected(camera, index, *walks, epoch=epoch)])

    def news(self) -> list[str]:
        """What was told since the last time, every event checked against its schema."""
        fresh = list(self.stage.events)
        self.stage.events.clear()
        for event in fresh:
            assert_valid(event)
        return [f"{kind} {name}" if name else kind for kind, name in zip(kinds(fresh), names(fresh), strict=True)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.analysis.close()


ADA, BOB = Walk(person=1), Walk(person=2, y=220)


def state(name: CameraStateName, epoch: int = 1, camera: str = "door") -> CameraState:
    return CameraState(camera=camera, epoch=epoch, name=name, cause="opened", detail="", at_ns=RECORDED_AT_NS)


def test_a_face_is_started_identified_and_ended(tmp_path: Path) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1, "Bob": 2})
    bench = Bench(tmp_path)
    bench.watch(range(12), ADA)
    assert bench.news() == ["started", "identified Ada"]
    bench.watch(range(12, 40))
    assert bench.news() == ["ended Ada"]
    bench.analysis.finish()
    assert bench.news() == []
    bench.analysis.close()


def test_with_an_empty_gallery_everyone_is_a_stranger(bench: Bench) -> None:
    bench.watch(range(12), ADA)
    assert bench.news() == ["started", "identified"]
    assert bench.analysed[-1].decisions[0] is not None
    assert bench.analysed[-1].decisions[0].answer is Answer.STRANGER


class TestGalleryChanges:
    """Enrolments and removals by another process, while a face is in view and no frame comes."""

    def test_who_is_enrolled_is_named_at_once(self, bench: Bench) -> None:
        bench.watch(range(12), ADA, BOB)
        assert bench.news() == ["started", "started", "identified", "identified"]
        enrol(bench.stage.gallery_path, {"Ada": 1})
        bench.analysis.follow_gallery()
        assert bench.news() == ["revised Ada"]

    def test_an_open_decision_is_identified(self, bench: Bench) -> None:
        bench.watch(range(5), ADA)  # two shots: too few for a stranger, enough for a name
        assert bench.news() == ["started"]
        enrol(bench.stage.gallery_path, {"Ada": 1})
        bench.analysis.follow_gallery()
        assert bench.news() == ["identified Ada"]

    def test_who_is_removed_does_not_stay_named(self, bench: Bench) -> None:
        enrol(bench.stage.gallery_path, {"Ada": 1, "Bob": 2})
        bench.watch(range(12), ADA)
        assert bench.news() == ["started", "identified Ada"]
        remove(bench.stage.gallery_path, "Ada")
        bench.analysis.follow_gallery()
        assert bench.news() == ["revised"]
        assert bench.analysis.has_open_sightings

    def test_the_event_names_the_gallery_that_it_was_decided_by(self, bench: Bench) -> None:
        bench.watch(range(12), ADA)
        enrol(bench.stage.gallery_path, {"Ada": 1})
        bench.analysis.follow_gallery()
        assert [event.data["gallery_version"] for event in bench.stage.events] == [0, 0, 1]

    def test_a_change_that_concerns_nobody_in_view_tells_nothing(self, bench: Bench) -> None:
        enrol(bench.stage.gallery_path, {"Ada": 1})
        bench.watch(range(12), ADA)
        bench.news()
        enrol(bench.stage.gallery_path, {"Eve": 7})
        bench.analysis.follow_gallery()
        bench.analysis.follow_gallery()
        assert bench.news() == []

    def test_frames_follow_too_as_soon_as_it_is_looked_at_again(self, bench: Bench) -> None:
        bench.watch(range(12), ADA)
        bench.news()
        enrol(bench.stage.gallery_path, {"Ada": 1})
        bench.watch(range(12, 13), ADA)
        assert bench.news() == []
        bench.clock.advance(GALLERY_LOOK_NS / 1e9)
        bench.watch(range(13, 14), ADA)
        assert bench.news() == ["revised Ada"]


def test_two_cameras_have_ids_of_their_own(bench: Bench) -> None:
    for index in range(12):
        bench.analysis.round([bench.detected("door", index, ADA), bench.detected("hall", index, BOB, ADA)])
    ids = [event.id for event in bench.stage.events]
    assert sorted(ids) == sorted(["door/1/1/1", "door/1/1/2", "hall/1/1/1", "hall/1/1/2", "hall/1/2/1", "hall/1/2/2"])


def test_a_rounds_faces_are_embedded_as_one_batch(bench: Bench) -> None:
    for index in range(3):
        bench.analysis.round([bench.detected("door", index, ADA), bench.detected("hall", index, BOB, ADA)])
    assert bench.stage.embedder.batches == [3], "confirmed at the second frame, all three at once"


def test_two_frames_of_one_camera_are_no_round(bench: Bench) -> None:
    with pytest.raises(ValueError, match="at most one frame of each camera"):
        bench.analysis.round([bench.detected("door", 0), bench.detected("door", 1)])


@pytest.mark.parametrize("name", [CameraStateName.LOST, CameraStateName.ENDED])
def test_a_camera_that_goes_away_ends_its_sightings_first(bench: Bench, name: CameraStateName) -> None:
    bench.watch(range(3), ADA)
    bench.watch(range(3), BOB, camera="hall")
    bench.news()
    bench.analysis.state(state(name))
    assert bench.news() == ["ended", f"state {name}"]
    assert bench.analysis.has_open_sightings, "the other camera's go on"


def test_a_new_epoch_begins_with_nobody(bench: Bench) -> None:
    bench.watch(range(3), ADA)
    bench.watch(range(3), ADA, epoch=2)
    assert [event.id for event in bench.stage.events] == ["door/1/1/1", "door/1/1/2", "door/2/1/1"]
    assert kinds(bench.stage.events) == ["started", "ended", "started"]


def test_what_the_observer_sees_stands_row_by_row(bench: Bench) -> None:
    enrol(bench.stage.gallery_path, {"Ada": 1, "Bob": 2})
    newcomer = Walk(person=3, x=300, y=20, speed=0, enters=11)
    bench.watch(range(12), ADA, BOB, newcomer)
    last = bench.analysed[-1]
    by_height = {int(box[1]): row for row, box in enumerate(last.faces.boxes_xyxy)}
    people = [decision.identity if decision else None for decision in last.decisions]
    found = {y: person.name if (person := people[row]) else None for y, row in by_height.items()}
    assert found == {20: None, 100: "Ada", 220: "Bob"}
    assert last.numbers[by_height[20]] == UNCONFIRMED
    assert last.decisions[by_height[20]] is None
    assert sorted(last.numbers[[by_height[100], by_height[220]]].tolist()) == [1, 2]


def test_a_swap_under_one_track_never_carries_the_name_over(bench: Bench) -> None:
    enrol(bench.stage.gallery_path, {"Ada": 1, "Bob": 2})
    bench.watch(range(12), Walk(person=1, speed=0))
    bench.watch(range(12, 90), Walk(person=2, speed=0))
    assert bench.news() == ["started", "identified Ada", "ended Ada", "started", "identified Bob"]
    bench.analysis.finish()
    assert bench.news() == ["ended Bob"]


def test_nothing_is_embedded_when_nobody_is_there(bench: Bench) -> None:
    bench.watch(range(5))
    assert bench.stage.embedder.batches == []
    assert not bench.analysis.has_open_sightings


class TestDetection:
    def test_frames_of_any_size_share_a_batch_and_come_back_in_their_own_pixels(self) -> None:
        bench_detector = Stage(Path(), {}).detector
        frames, boxes = [], {(1280, 720): (200, 150), (360, 640): (40, 300), (200, 120): (30, 20)}
        for size, (x, y) in boxes.items():
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            side = min(size) // 3
            picture[y : y + side, x : x + side] = (32, 255, 255)
            frames.append(Frame(meta=meta_of(size_wh=size), picture=ArrayPicture(picture)))
        found = Detection(bench_detector, StageTimes()).detect(frames)
        assert bench_detector.batches == [3]
        for each, (size, (x, y)) in zip(found, boxes.items(), strict=True):
            assert each.frame.meta.size_wh == size
            side = min(size) // 3
            tolerance = max(size[0] / CANVAS.width, size[1] / CANVAS.height) + 0.5
            np.testing.assert_allclose(each.faces.boxes_xyxy, [[x, y, x + side, y + side]], atol=tolerance)

    def test_small_faces_are_left_out_in_full_frame_pixels(self) -> None:
        picture = np.zeros((384, 1280, 3), np.uint8)
        picture[10:60, 10:60] = picture[200:300, 200:300] = (32, 255, 255)
        frame = Frame(meta=meta_of(size_wh=(1280, 384)), picture=ArrayPicture(picture))
        detector = Stage(Path(), {}).detector
        assert [
            len(Detection(detector, StageTimes(), min_face_px=px).detect([frame])[0].faces) for px in (0, 70, 120)
        ] == [
            2,
            1,
            0,
        ]

    def test_no_frames_cost_nothing(self) -> None:
        detector, times = Stage(Path(), {}).detector, StageTimes()
        assert Detection(detector, times).detect([]) == []
        assert detector.batches == []
        assert times.snapshot() == {}


def test_a_canvas_of_another_shape_is_used_as_it_is() -> None:
    stage = Stage(Path(), {})
    stage.detector.canvas = Canvas(width=320, height=320)
    picture = scene(1, Walk(person=1))[0]
    frame = Frame(meta=meta_of(size_wh=SIZE_WH), picture=ArrayPicture(picture))
    found = Detection(stage.detector, StageTimes()).detect([frame])[0].faces
    np.testing.assert_allclose(found.boxes_xyxy, [[40, 100, 140, 200]], atol=2.5)
