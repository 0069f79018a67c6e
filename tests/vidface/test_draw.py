from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ShapeError
from pipeline.events.payload import Answer
from pipeline.evidence import Candidate
from pipeline.faces import Faces, U8Image
from pipeline.identify import UNSEEN, Decision, Reason
from vidface.draw import (
    FOUND,
    PERSON,
    STRANGER,
    UNDECIDED,
    Bgr,
    Mark,
    decision_mark,
    detection_mark,
    draw_faces,
    drawable,
)


def face_at(*boxes: tuple[float, float, float, float]) -> Faces:
    boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    where = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    sizes = boxes_xyxy[:, None, 2:] - boxes_xyxy[:, None, :2]
    return Faces(
        boxes_xyxy=boxes_xyxy,
        scores=np.full(len(boxes_xyxy), 0.9, np.float32),
        landmarks_xy=np.asarray(boxes_xyxy[:, None, :2] + where * sizes, np.float32),
    )


def blank(width: int, height: int) -> U8Image:
    return np.full((height, width, 3), 20, np.uint8)


def changed(before: U8Image, after: U8Image) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.asarray((before != after).any(axis=2))


def near(pixel: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], colour: Bgr) -> bool:
    return bool(np.abs(pixel.astype(int) - np.array(colour)).max() <= 8)


def test_box_landmarks_and_label_are_where_they_belong() -> None:
    picture = blank(640, 480)
    drawn = draw_faces(picture, face_at((200, 150, 300, 290)), [Mark(text="Ann 0.72", colour_bgr=PERSON)])
    for x, y in ((200, 220), (300, 220), (250, 290)):
        assert near(drawn[y, x], PERSON)
    assert near(drawn[206, 230], (255, 255, 255))  # an eye
    touched = changed(picture, drawn)
    above = touched[:150, 200:260]
    assert above.any()
    assert (drawn[:150] == 255).all(axis=2).any()  # the label's letters
    assert not touched[300:].any()
    assert not touched[:, :190].any()


def test_the_picture_itself_is_not_changed() -> None:
    picture = blank(320, 240)
    picture.flags.writeable = False
    drawn = draw_faces(picture, face_at((50, 50, 120, 140)))
    assert (picture == 20).all()
    assert not np.shares_memory(drawn, picture)


def test_no_faces_no_change() -> None:
    picture = blank(64, 48)
    assert np.array_equal(draw_faces(picture, Faces.empty()), picture)


def test_a_mark_without_text_has_no_label() -> None:
    picture = blank(640, 480)
    drawn = draw_faces(picture, face_at((200, 150, 300, 290)), [Mark(colour_bgr=UNDECIDED)])
    assert not changed(picture, drawn)[:145].any()


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((-40, -60, 40, 60), id="top left"),
        pytest.param((600, 430, 700, 540), id="bottom right"),
        pytest.param((580, 2, 639, 60), id="label would leave on the right"),
        pytest.param((-10, -10, 650, 490), id="larger than the picture"),
        pytest.param((900, 900, 990, 990), id="wholly outside"),
        pytest.param((-1e9, 100, 1e9, 200), id="far outside"),
        pytest.param((float("nan"), 0, float("inf"), 50), id="no numbers"),
        pytest.param((100, 100, 100, 100), id="no size"),
    ],
)
def test_faces_at_and_beyond_the_edge(box: tuple[float, float, float, float]) -> None:
    picture = blank(640, 480)
    drawn = draw_faces(picture, face_at(box), [Mark(text="Somebody 0.81")])
    assert drawn.shape == picture.shape
    assert (drawn == 255).all(axis=2).any()  # the label is inside all the same


@pytest.mark.parametrize("size", [(1, 1), (8, 6), (40, 30), (31, 400), (6000, 4000)], ids=str)
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    width, height = size
    picture = blank(width, height)
    drawn = draw_faces(picture, face_at((0.2 * width, 0.3 * height, 0.6 * width, 0.8 * height)))
    assert drawn.shape == picture.shape
    assert changed(picture, drawn).any()


def test_lines_grow_with_the_picture() -> None:
    def thickness(scale: int) -> int:
        picture = blank(320 * scale, 240 * scale)
        drawn = draw_faces(picture, face_at((100 * scale, 80 * scale, 200 * scale, 200 * scale)), [Mark()])
        column = changed(picture, drawn)[:, 110 * scale]
        return int(column.sum())

    assert thickness(1) == 2  # top and bottom
    assert thickness(10) > 5 * thickness(1)


def test_a_label_wider_than_the_picture_is_made_smaller() -> None:
    picture = blank(400, 300)
    wide = draw_faces(picture, face_at((10, 200, 60, 260)), [Mark(text="W" * 40, colour_bgr=PERSON)])
    assert not near(wide[190, 399], (255, 255, 255))
    assert wide.shape == picture.shape


def test_one_mark_for_each_face() -> None:
    with pytest.raises(ShapeError, match="one for each of 2 faces, got 1"):
        draw_faces(blank(64, 64), face_at((1, 1, 9, 9), (20, 20, 30, 30)), [Mark()])


PERSON_DECISION = Decision(
    answer=Answer.PERSON, reason=Reason.MATCHED, identity=Candidate(id="0123456789ab", name="Ann Lee", score=0.724)
)


@pytest.mark.parametrize(
    ("decision", "text", "colour"),
    [
        pytest.param(PERSON_DECISION, "Ann Lee 0.72", PERSON, id="person"),
        pytest.param(Decision(answer=Answer.STRANGER, reason=Reason.NOBODY_NEAR), "stranger", STRANGER, id="stranger"),
        pytest.param(UNSEEN, "undecided", UNDECIDED, id="undecided"),
        pytest.param(None, "", UNDECIDED, id="not followed yet"),
    ],
)
def test_marks_of_decisions(decision: Decision | None, text: str, colour: Bgr) -> None:
    assert decision_mark(decision) == Mark(text=text, colour_bgr=colour)


def test_a_name_that_cannot_be_drawn_gives_way_to_the_id() -> None:
    nameless = Decision(
        answer=Answer.PERSON, reason=Reason.MATCHED, identity=Candidate(id="0123456789ab", name="\x1b\x07", score=0.5)
    )
    assert decision_mark(nameless).text == "id 01234567 0.50"


def test_mark_of_a_detection() -> None:
    assert detection_mark(0.987) == Mark(text="0.99", colour_bgr=FOUND)


@pytest.mark.parametrize(
    ("name", "ascii_only", "shown"),
    [
        pytest.param("José Žižek", True, "Jose Zizek", id="accents"),
        pytest.param("Bjørn Groß", True, "Bjorn Gross", id="letters that do not decompose"),
        pytest.param("Ольга K", True, "????? K", id="half readable"),
        pytest.param("王小明", True, "", id="nothing readable"),
        pytest.param("王小明", False, "王小明", id="fonts with outlines"),
        pytest.param("e\u0301", False, "é", id="composed"),
        pytest.param("a\x1b[31mb", False, "a?[31mb", id="control characters"),
        pytest.param("x" * 60, False, "x" * 37 + "...", id="long"),
    ],
)
def test_drawable_names(name: str, ascii_only: bool, shown: str) -> None:
    assert drawable(name, ascii_only=ascii_only) == shown


def test_half_a_surrogate_pair_is_drawn_somehow() -> None:
    picture = blank(200, 100)
    assert changed(picture, draw_faces(picture, face_at((50, 40, 90, 80)), [Mark(text="a\udc80b")])).any()
