from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.canvas import Canvas
from pipeline.engine import Backend
from pipeline.errors import PhotoRefused
from pipeline.faces import Faces, U8Image
from pipeline.fake import FakeDetector, FakeEmbedder, draw_fake_face
from pipeline.photo import DescribedFaces, EnrolRule, PhotoReader, choose_face, load_photo
from tests.pipeline.conftest import DetectorOf, EmbedderOf, PhotoOf
from tests.pipeline.made import faces_of, square

RULE = EnrolRule(min_face_px=60, min_sharpness=12, min_quality=0.3, max_yaw_deg=35, dominance=2)


def described(faces: Faces, *, quality: float = 0.8, sharp: float = 200.0, yaw_deg: float = 0.0) -> DescribedFaces:
    count = len(faces)
    return DescribedFaces(
        faces=faces,
        templates=np.zeros((count, 16), np.float32),
        qualities=np.full(count, quality, np.float32),
        sharpness=np.full(count, sharp, np.float32),
        yaw_deg=np.full(count, yaw_deg, np.float32),
        photo_size_wh=(400, 300),
    )


LARGE = faces_of(square(100, 100, 120))
GROUP = faces_of(square(0, 0, 60), square(100, 100, 120), square(300, 0, 30))
HALF_OUTSIDE = faces_of(square(-40, 100, 120))
IN_THE_MIDDLE = faces_of(square(0, 0, 80), square(150, 100, 100))
IN_THE_CORNER = faces_of(square(0, 0, 110), square(150, 100, 100))


@pytest.mark.parametrize(
    ("photo", "code", "says"),
    [
        pytest.param(described(Faces.empty()), "no_face", "no face was found", id="nobody"),
        pytest.param(described(faces_of(square(0, 0, 100), square(200, 0, 80))), "several_faces", "2 faces", id="two"),
        pytest.param(described(faces_of(square(0, 0, 59))), "too_small", "59 pixels wide; at least 60", id="small"),
        pytest.param(described(IN_THE_CORNER), "several_faces", "2 faces", id="larger-but-in-the-corner"),
        pytest.param(described(LARGE, yaw_deg=36), "turned_away", "turned 36.0 degrees", id="turned-right"),
        pytest.param(described(LARGE, yaw_deg=-40), "turned_away", "turned 40.0 degrees", id="turned-left"),
        pytest.param(described(LARGE, sharp=11), "blurred", "sharpness 11; at least 12", id="blurred"),
        pytest.param(described(HALF_OUTSIDE), "cut_off", "of the face is in the photo", id="half-of-it"),
        pytest.param(described(LARGE, quality=0.29), "poor_quality", "0.29; at least 0.30", id="poor"),
    ],
)
def test_photos_that_are_refused(photo: DescribedFaces, code: str, says: str) -> None:
    with pytest.raises(PhotoRefused, match=rf"^ada\.jpg: .*{says}") as refused:
        choose_face("ada.jpg", photo, RULE)
    assert (refused.value.code, refused.value.photo) == (code, "ada.jpg")


@pytest.mark.parametrize(
    ("photo", "row"),
    [
        pytest.param(described(LARGE), 0, id="alone"),
        pytest.param(described(GROUP), 1, id="clearly-the-largest"),
        pytest.param(described(IN_THE_MIDDLE), 1, id="in-the-middle-and-larger"),
    ],
)
def test_the_face_that_a_photo_stands_for(photo: DescribedFaces, row: int) -> None:
    assert choose_face("ada.jpg", photo, RULE) == row


class TestLoading:
    def test_the_colour_order_is_bgr(self, tmp_path: Path) -> None:
        picture = np.zeros((20, 30, 3), np.uint8)
        picture[:] = (10, 120, 230)
        cv2.imwrite(str(tmp_path / "a.png"), picture)
        loaded = load_photo(tmp_path / "a.png")
        assert loaded.shape == (20, 30, 3)
        assert loaded[0, 0].tolist() == [10, 120, 230]

    @pytest.mark.parametrize(
        ("content", "says"),
        [pytest.param(b"", "damaged", id="empty"), pytest.param(b"not a picture", "damaged", id="text")],
    )
    def test_what_is_no_picture_is_refused(self, tmp_path: Path, content: bytes, says: str) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
        with pytest.raises(PhotoRefused, match=says) as refused:
            load_photo(path)
        assert refused.value.code == "unreadable"

    def test_what_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(PhotoRefused, match="No such file"):
            load_photo(tmp_path / "gone.jpg")


def photo_with(*people: int) -> U8Image:
    photo = np.zeros((300, 900, 3), np.uint8)
    for place, person in enumerate(people):
        draw_fake_face(photo, (40 + 220 * place, 80, 150, 150), person)
    return photo


def test_reading_keeps_photos_and_rows_together() -> None:
    embedder = FakeEmbedder()
    reader = PhotoReader(FakeDetector(Canvas(width=640, height=384)), embedder)
    photos = [photo_with(4), photo_with(), photo_with(2, 9, 5)]
    found = reader.describe(photos, reader.detect(photos))
    assert [len(each.faces) for each in found] == [1, 0, 3]
    for each, people in zip(found, [(4,), (), (2, 9, 5)], strict=True):
        wanted = [embedder.template_of(person)[0] for person in people]
        order = np.argsort(each.faces.boxes_xyxy[:, 0])
        np.testing.assert_allclose(each.templates[order], np.array(wanted).reshape(-1, embedder.dim), atol=1e-6)
        assert each.qualities.shape == each.sharpness.shape == each.yaw_deg.shape == (len(people),)


def test_no_photos() -> None:
    reader = PhotoReader(FakeDetector(Canvas(width=640, height=384)), FakeEmbedder())
    assert reader.detect([]) == []


def test_real_photos_are_told_apart(detector_of: DetectorOf, embedder_of: EmbedderOf, photo_of: PhotoOf) -> None:
    reader = PhotoReader(detector_of(), embedder_of(Backend.OPENVINO))
    templates = []
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"):
        found = reader.read(photo_of(name))
        templates.append(found.templates[choose_face(name, found, EnrolRule())])
    similar = np.stack(templates) @ np.stack(templates).T
    assert similar[0, 1] > 0.6
    assert max(similar[0, 2], similar[1, 2], similar[0, 3], similar[2, 3]) < 0.3
    with pytest.raises(PhotoRefused, match="none clearly dominates"):
        choose_face("t1.jpg", reader.read(photo_of("t1.jpg")), EnrolRule())
