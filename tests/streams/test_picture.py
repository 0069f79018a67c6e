import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.errors import PictureError
from streams.frame import Picture, U8Image
from streams.picture import ArrayPicture, DecodedPicture, UprightPicture, _bgr_from_yuv, _plane
from tests.media.clips import numbered

SIZE_WH = (322, 242)
COLORSPACES = {"untagged": 2, "bt709": 1, "bt601": 5, "smpte170m": 6, "bt2020": 9}
PLANAR_FORMATS = ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"]
RANGES = {"untagged": 0, "limited": 1, "full": 2}


def _scene(size_wh: tuple[int, int]) -> U8Image:
    """Colours of every kind, as smooth as a photo: chroma at half size is then no loss."""
    noise = np.random.default_rng(7).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9).astype(np.float32)
    low, high = smooth.min(), smooth.max()
    return np.asarray((smooth - low) * (255.0 / (high - low)), np.uint8)


def _decoded(
    pixel_format: str, *, size_wh: tuple[int, int] = SIZE_WH, colorspace: int = 2, color_range: int = 0
) -> DecodedPicture:
    frame = av.VideoFrame.from_ndarray(_scene(size_wh), format="bgr24").reformat(format=pixel_format, threads=1)
    # The planes are then read as the tags say, whatever they were made with: both ways must read them alike.
    frame.colorspace = colorspace
    frame.color_range = color_range
    return DecodedPicture(frame)


def _mean_difference(a: U8Image, b: U8Image) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())


@pytest.mark.parametrize("color_range", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("colorspace", COLORSPACES.values(), ids=COLORSPACES)
@pytest.mark.parametrize("pixel_format", PLANAR_FORMATS)
def test_a_crop_from_the_planes_is_what_the_whole_picture_has_there(
    pixel_format: str, colorspace: int, color_range: int
) -> None:
    picture = _decoded(pixel_format, colorspace=colorspace, color_range=color_range)
    crop = picture.crop_bgr(101, 50, 252, 201)
    assert picture._full is None  # it was cut, not taken from a whole conversion
    whole = picture._frame.reformat(format="bgr24", threads=1).to_ndarray()
    assert _mean_difference(crop, np.asarray(whole[50:201, 101:252], np.uint8)) < 2.0


def _by_the_formula(picture: DecodedPicture, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Every sample converted in floating point at the full size, then averaged."""
    frame = picture._frame
    width, height = picture.size_wh
    planar = frame.reformat(format="yuv420p", threads=1) if frame.format.name == "nv12" else frame
    planes = [_plane(planar, index)[:rows, :columns] for index, (rows, columns) in enumerate(_plane_sizes(planar))]
    yuv = np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST) for each in planes], axis=2)
    full_range = frame.format.name.startswith("yuvj") or frame.color_range == 2
    matrix = _bgr_from_yuv(frame.colorspace, full_range=full_range)
    small = cv2.resize(yuv.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small @ matrix[:, :3].T + matrix[:, 3], 0, 255), np.float32)


def _plane_sizes(frame: av.VideoFrame) -> list[tuple[int, int]]:
    return [(plane.height, plane.width) for plane in frame.planes]


@pytest.mark.parametrize("color_range", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("colorspace", COLORSPACES.values(), ids=COLORSPACES)
@pytest.mark.parametrize("pixel_format", PLANAR_FORMATS)
def test_colours_are_right_at_every_size(pixel_format: str, colorspace: int, color_range: int) -> None:
    picture = _decoded(pixel_format, colorspace=colorspace, color_range=color_range)
    for size_wh in ((161, 121), (80, 60), SIZE_WH):
        difference = picture.scaled_bgr(size_wh) - _by_the_formula(picture, size_wh)
        assert np.abs(difference).mean() < 0.8
        assert np.abs(difference.mean(axis=(0, 1))).max() < 0.8  # no colour is darker or lighter as a whole


def test_the_range_and_the_colour_space_make_a_difference() -> None:
    plain = _decoded("yuv420p").crop_bgr(0, 0, 200, 200)
    assert _mean_difference(plain, _decoded("yuv420p", color_range=2).crop_bgr(0, 0, 200, 200)) > 3
    assert _mean_difference(plain, _decoded("yuv420p", colorspace=1).crop_bgr(0, 0, 200, 200)) > 2


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["yuv420p", "nv12", "yuv422p", "yuv444p", "gray", "bgra", "yuv420p10le"]),
    st.sampled_from([(97, 61), (96, 60), (1, 1), (2, 3)]),
    st.tuples(*(st.integers(-20, 120),) * 4),
)
def test_any_rectangle_is_clipped_and_cut(
    pixel_format: str, size_wh: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    crop = _decoded(pixel_format, size_wh=size_wh).crop_bgr(*box)
    whole = _decoded(pixel_format, size_wh=size_wh).bgr()
    x0, y0, x1, y1 = (max(0, at) for at in box)
    expected = whole[y0:y1, x0:x1]
    assert crop.dtype == np.uint8
    assert crop.size == expected.size
    if expected.size:
        assert crop.shape == expected.shape
        assert _mean_difference(crop, expected) < 6  # tiny pictures have no smooth chroma


@pytest.mark.parametrize("size_wh", [(640, 360), (640, 384), (161, 120), (96, 54)])
def test_scaling_averages_and_does_not_shift(size_wh: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (540, 960, 3), dtype=np.uint8)
    scene = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    frame = av.VideoFrame.from_ndarray(scene, format="bgr24").reformat(format="yuv420p", threads=1)
    picture = DecodedPicture(frame)
    expected = cv2.resize(picture.bgr(), size_wh, interpolation=cv2.INTER_AREA)
    scaled = DecodedPicture(frame).scaled_bgr(size_wh)
    assert scaled.shape == (size_wh[1], size_wh[0], 3)
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (expected, scaled)]
    (shift_x, shift_y), _ = cv2.phaseCorrelate(grey[0], grey[1])
    assert abs(shift_x) < 0.15
    assert abs(shift_y) < 0.15
    assert float(np.abs(grey[0] - grey[1]).mean()) < 2


@pytest.mark.parametrize(
    "make",
    [ArrayPicture, lambda bgr: DecodedPicture(av.VideoFrame.from_ndarray(bgr, format="bgr24"))],
    ids=["array", "decoded"],
)
def test_colours_stay_in_their_order(make: type[ArrayPicture]) -> None:
    bgr = np.zeros((64, 96, 3), np.uint8)
    bgr[...] = (250, 120, 10)
    picture = make(bgr)
    assert picture.size_wh == (96, 64)
    for image in (picture.bgr(), picture.scaled_bgr((32, 32)), picture.crop_bgr(3, 5, 40, 60)):
        assert np.abs(image.astype(int) - (250, 120, 10)).max() <= 1


def test_an_array_of_another_kind_is_refused() -> None:
    with pytest.raises(PictureError, match=r"\(H, W, 3\) uint8"):
        ArrayPicture(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        ArrayPicture(np.zeros((4, 4, 3), np.float32))


def test_a_picture_without_pixels_is_refused() -> None:
    for picture in (ArrayPicture(numbered(1)), _decoded("yuv420p")):
        with pytest.raises(PictureError, match="at least 1x1"):
            picture.scaled_bgr((0, 10))


def test_a_colour_space_that_cannot_be_converted_is_refused() -> None:
    with pytest.raises(PictureError, match="colour space 8"):
        _decoded("yuv420p", colorspace=8)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_picture_is_made_upright(quarter_turns: int) -> None:
    recorded = _scene((97, 61))
    upright = np.rot90(recorded, quarter_turns)
    picture: Picture = UprightPicture(ArrayPicture(recorded), quarter_turns=quarter_turns)
    assert picture.size_wh == (upright.shape[1], upright.shape[0])
    assert np.array_equal(picture.bgr(), upright)
    assert np.array_equal(picture.crop_bgr(5, 7, 31, 52), upright[7:52, 5:31])
    assert np.array_equal(picture.crop_bgr(-5, -7, 11, 200), upright[0:200, 0:11])
    scaled = picture.scaled_bgr((picture.size_wh[0] // 2, picture.size_wh[1] // 2))
    assert scaled.shape == (upright.shape[0] // 2, upright.shape[1] // 2, 3)


def test_many_threads_share_pictures() -> None:
    pictures = [_decoded("yuv420p", colorspace=1) for _ in range(4)]
    small = _decoded("yuv420p", colorspace=1).scaled_bgr((160, 90))
    crop = _decoded("yuv420p", colorspace=1).crop_bgr(20, 30, 170, 180)
    together = threading.Barrier(4)

    def work(which: int) -> bool:
        together.wait()
        same = True
        for turn in range(40):
            picture = pictures[(which + turn) % 4]
            if which % 2:
                same &= np.array_equal(picture.scaled_bgr((160, 90)), small)
            else:
                same &= np.array_equal(picture.crop_bgr(20, 30, 170, 180), crop)
        return same

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_no_scaling_thread_is_started() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    picture = _decoded("yuv420p", size_wh=(1280, 720))
    picture.crop_bgr(0, 0, 10, 10)
    before = threads()
    picture.scaled_bgr((640, 360))
    picture.bgr()
    assert threads() == before
