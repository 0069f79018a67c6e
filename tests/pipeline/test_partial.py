"""Detecting only what changed, through the whole detection stage; the fake detector finds what it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis import DetectedFrame
from pipeline.change import ChangeOptions
from pipeline.detection import Detection
from pipeline.faces import U8Image
from pipeline.fake import FakeDetector, draw_fake_face
from pipeline.metrics import StageTimes
from streams.frame import Frame
from streams.picture import ArrayPicture
from tests.pipeline.made import meta_of
from tests.pipeline.stage import CANVAS

OPTIONS = ChangeOptions(whole_every_s=2.0)


class Stage:
    """A detection stage that is fed pictures of 640x360, and says what it detected of each."""

    def __init__(self, options: ChangeOptions | None = OPTIONS) -> None:
        self.detector = FakeDetector(CANVAS)
        self.times = StageTimes()
        self.detection = Detection(self.detector, self.times, changes=options)
        self._index = -1

    def frame(self, *faces_xywh: tuple[int, int, int, int], camera: str = "door", epoch: int = 1) -> Frame:
        self._index += 1
        return Frame(
            meta=meta_of(camera, self._index, epoch=epoch, size_wh=(640, 360)), picture=ArrayPicture(drawn(*faces_xywh))
        )

    def see(self, *faces_xywh: tuple[int, int, int, int], epoch: int = 1) -> list[tuple[int, ...]]:
        (detected,) = self.detection.detect([self.frame(*faces_xywh, epoch=epoch)])
        return boxes_of(detected)

    def detected(self, stage: str) -> int:
        times = self.times.snapshot()
        return times[stage].items if stage in times else 0


def drawn(*faces_xywh: tuple[int, int, int, int]) -> U8Image:
    picture = np.zeros((360, 640, 3), np.uint8)
    for person, face in enumerate(faces_xywh):
        draw_fake_face(picture, face, person)
    return picture


def boxes_of(detected: DetectedFrame) -> list[tuple[int, ...]]:
    """Rounded ``(x, y, width, height)`` of each face, from left to right."""
    return sorted(
        (round(x0), round(y0), round(x1 - x0), round(y1 - y0)) for x0, y0, x1, y1 in detected.faces.boxes_xyxy.tolist()
    )


STILL, MOVER = (500, 200, 60, 60), (50, 50, 60, 60)


def test_an_unchanged_picture_keeps_its_faces_and_is_not_detected() -> None:
    stage = Stage()
    for _ in range(5):
        assert stage.see(STILL) == [STILL]
    assert (stage.detected("detect"), stage.detected("detect parts")) == (1, 0)
    assert stage.detected("compare") == 5


def test_a_face_that_moves_is_detected_in_a_tile_beside_one_that_stays() -> None:
    stage = Stage()
    for step in range(10):
        mover = (50 + 6 * step, 50, 60, 60)
        assert stage.see(mover, STILL) == [mover, STILL]
    # The second picture is detected whole after all: only the edges of a face of one colour change when it moves, and
    # which face they belong to is not known yet.
    assert (stage.detected("detect"), stage.detected("detect parts")) == (2, 9)


def test_a_face_that_comes_and_one_that_goes() -> None:
    stage = Stage()
    assert stage.see(STILL) == [STILL]
    assert stage.see(MOVER, STILL) == [MOVER, STILL]
    assert stage.see(STILL) == [STILL]
    assert stage.see() == []
    assert stage.detected("detect") == 1


def test_the_whole_picture_is_detected_after_a_while() -> None:
    stage = Stage()
    for _ in range(101):  # 25 a second
        stage.see(STILL)
    assert stage.detected("detect") == 3


def test_a_new_connection_begins_anew() -> None:
    stage = Stage()
    stage.see(STILL)
    assert stage.see(STILL, epoch=2) == [STILL]
    assert stage.detected("detect") == 2


def test_a_slow_change_adds_up_until_it_is_seen() -> None:
    stage = Stage(ChangeOptions(levels=8.0, whole_every_s=1000.0))
    before = Frame(meta=meta_of(index=0, size_wh=(640, 360)), picture=ArrayPicture(drawn()))
    stage.detection.detect([before])
    seen = []
    for index in range(1, 60):
        picture = np.zeros((360, 640, 3), np.uint8)
        picture[100:200, 100:200] = 5 * index  # a face that fades in, never by eight levels at a time
        frame = Frame(meta=meta_of(index=index, size_wh=(640, 360)), picture=ArrayPicture(np.minimum(picture, 250)))
        seen.append(len(stage.detection.detect([frame])[0].faces))
        if 5 * index >= 250:
            break
    assert seen[-1] == 1


def test_a_large_face_whose_mouth_moves_is_not_lost() -> None:
    stage = Stage()
    picture = drawn((100, 60, 200, 220))
    for index in range(8):
        changed = picture.copy()
        changed[220:240, 180:220, 0] = 20 * index  # blue says who it is; green and red, that it is a face
        changed[220:240, 180:220, 1] = 255 - index * 5
        frame = Frame(meta=meta_of(index=index, size_wh=(640, 360)), picture=ArrayPicture(changed))
        assert boxes_of(stage.detection.detect([frame])[0]) == [(100, 60, 200, 220)]


def test_two_cameras_remember_apart_and_share_a_batch() -> None:
    stage = Stage()
    for step in range(4):
        frames = [stage.frame(STILL, camera="door"), stage.frame((50 + 6 * step, 50, 60, 60), camera="hall")]
        door, hall = stage.detection.detect(frames)
        assert (boxes_of(door), boxes_of(hall)) == ([STILL], [(50 + 6 * step, 50, 60, 60)])
    assert stage.detected("detect") == 3


@pytest.mark.parametrize("under_way", [1, 2])
def test_what_is_found_does_not_depend_on_how_many_are_under_way(under_way: int) -> None:
    stage, waiting, found = Stage(), [], []
    for step in range(20):
        waiting.append(stage.detection.begin([stage.frame((20 + 9 * step, 80, 60, 60), STILL)]))
        if len(waiting) == under_way:
            found += waiting.pop(0)()
    for finish in waiting:
        found += finish()
    assert [boxes_of(each) for each in found] == [[(20 + 9 * step, 80, 60, 60), STILL] for step in range(20)]


def test_without_it_every_picture_is_detected_whole() -> None:
    stage = Stage(None)
    for _ in range(3):
        assert stage.see(STILL) == [STILL]
    assert (stage.detected("detect"), stage.detected("compare")) == (3, 0)
