import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.errors import ShapeError
from pipeline.faces import Faces

SIZES = {
    "1080p": (1920, 1080),
    "portrait": (1080, 1920),
    "4:3": (1024, 768),
    "same": (640, 384),
    "smaller": (160, 120),
    "smaller-portrait": (97, 211),
    "strip": (3000, 40),
    "pillar": (40, 3000),
    "pixel": (1, 1),
}
sizes = pytest.mark.parametrize("size_wh", [pytest.param(size, id=name) for name, size in SIZES.items()])


def on_canvas(
    canvas: Canvas, points: np.ndarray[tuple[int, ...], np.dtype[np.float32]], size_wh: tuple[int, int]
) -> Faces:
    """What a detector would say of five points of a picture."""
    scaled = canvas.scaled_size_wh(size_wh)
    factor = np.array([scaled[0] / size_wh[0], scaled[1] / size_wh[1]], np.float32)
    landmarks = (points * factor)[None]
    box = np.concatenate([landmarks[0].min(axis=0), landmarks[0].max(axis=0)])[None]
    return Faces(boxes_xyxy=box, scores=np.ones(1, np.float32), landmarks_xy=landmarks)


@sizes
def test_points_come_back_to_where_they_were(size_wh: tuple[int, int]) -> None:
    fractions = np.array([[0.1, 0.2], [0.9, 0.3], [0.4, 0.5], [0.25, 0.95], [0.7, 0.8]], np.float32)
    points = fractions * np.array(size_wh, np.float32)
    back = DEFAULT_CANVAS.to_picture(on_canvas(DEFAULT_CANVAS, points, size_wh), size_wh)
    np.testing.assert_allclose(back.landmarks_xy[0], points, rtol=1e-5)
    np.testing.assert_allclose(back.boxes_xyxy[0], [*points.min(axis=0), *points.max(axis=0)], rtol=1e-5)


@sizes
def test_the_picture_fits_and_fills_one_side(size_wh: tuple[int, int]) -> None:
    width, height = DEFAULT_CANVAS.scaled_size_wh(size_wh)
    assert 1 <= width <= DEFAULT_CANVAS.width
    assert 1 <= height <= DEFAULT_CANVAS.height
    assert width == DEFAULT_CANVAS.width or height == DEFAULT_CANVAS.height


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 40), st.integers(1, 40))
def test_the_aspect_ratio_is_kept_to_half_a_pixel(width: int, height: int, columns: int, rows: int) -> None:
    canvas = Canvas(width=columns * 32, height=rows * 32)
    scale = canvas.scale_for((width, height))
    scaled = canvas.scaled_size_wh((width, height))
    assert abs(scaled[0] - max(1.0, width * scale)) <= 0.5 + 1e-6
    assert abs(scaled[1] - max(1.0, height * scale)) <= 0.5 + 1e-6


def test_width_and_height_are_not_interchangeable() -> None:
    assert DEFAULT_CANVAS.scaled_size_wh((1920, 1080)) == (640, 360)
    assert DEFAULT_CANVAS.scaled_size_wh((1080, 1920)) == (216, 384)
    assert DEFAULT_CANVAS.blank_batch(2, (1, 2, 3)).shape == (2, 384, 640, 3)


def test_the_blank_has_the_colour_in_its_order() -> None:
    batch = Canvas(width=64, height=32).blank_batch(2, (104, 117, 123))
    assert batch.dtype == np.uint8
    assert np.unique(batch.reshape(-1, 3), axis=0).tolist() == [[104, 117, 123]]


@pytest.mark.parametrize(
    ("width", "height", "named"),
    [
        pytest.param(600, 384, "width", id="width-no-multiple"),
        pytest.param(640, 380, "height", id="height-no-multiple"),
        pytest.param(0, 384, "width", id="nothing"),
        pytest.param(640, -32, "height", id="negative"),
    ],
)
def test_a_canvas_that_the_strides_do_not_divide_is_refused(width: int, height: int, named: str) -> None:
    with pytest.raises(ShapeError, match=f"the {named} must be a positive multiple of 32"):
        Canvas(width=width, height=height)
