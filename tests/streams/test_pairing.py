"""Which picture of the main stream belongs to a moment, and the picture made of two."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from streams.frame import Picture, U8Image
from streams.paired_picture import CropCounts, PairedPicture, crop_as
from streams.pairing import Recent, Timed, nearest, show_alike
from streams.picture import ArrayPicture

MS = 1_000_000


def _grey(level: int, size_wh: tuple[int, int] = (64, 48)) -> ArrayPicture:
    return ArrayPicture(np.full((size_wh[1], size_wh[0], 3), level, np.uint8))


def _timed(*at_ms: int) -> list[Timed]:
    return [Timed(at_ns=at * MS, picture=_grey(0)) for at in at_ms]


@pytest.mark.parametrize(
    ("there_ms", "at_ms", "chosen_ms"),
    [
        pytest.param([0, 40, 80], 40, 40, id="the-same-moment"),
        pytest.param([0, 40, 80], 61, 80, id="the-next-is-nearer"),
        pytest.param([0, 40, 80], 59, 40, id="the-last-is-nearer"),
        pytest.param([0, 40], 20, 0, id="the-earlier-of-two"),
        pytest.param([40, 0], 20, 0, id="in-whatever-order"),
        pytest.param([0, 40], 190, 40, id="just-near-enough"),
        pytest.param([0, 40], 191, None, id="all-too-old"),
        pytest.param([400], 249, None, id="all-too-new"),
        pytest.param([], 0, None, id="none-there"),
    ],
)
def test_the_nearest_in_time(there_ms: Sequence[int], at_ms: int, chosen_ms: int | None) -> None:
    found = nearest(_timed(*there_ms), at_ms * MS, tolerance_ns=150 * MS)
    assert (None if found is None else found.at_ns // MS) == chosen_ms


def test_only_the_last_few_are_kept_and_an_early_choice_stays_one() -> None:
    recent = Recent(3, tolerance_ns=1000 * MS)
    pictures = _timed(0, 40, 80, 120, 160)
    for timed in pictures[:3]:
        recent.put(timed)
    early = recent.nearest(0)
    assert early is pictures[0]
    for timed in pictures[3:]:
        recent.put(timed)
    assert recent.nearest(0) is pictures[2]
    assert recent.nearest(0, early) is pictures[0]
    assert recent.nearest(150 * MS, early) is pictures[4]
    recent.clear()
    assert recent.nearest(0) is None


@pytest.mark.parametrize(
    ("main_wh", "sub_wh", "alike"),
    [
        ((1920, 1080), (640, 360), True),
        ((1920, 1080), (640, 352), True),
        ((1920, 1080), (640, 480), True),
        ((1920, 1080), (704, 576), True),
        ((2560, 1920), (640, 360), True),
        ((1920, 1080), (360, 640), False),
        ((1920, 1080), (480, 480), False),
        ((1080, 1920), (640, 360), False),
    ],
)
def test_shapes_that_can_show_the_same(main_wh: tuple[int, int], sub_wh: tuple[int, int], alike: bool) -> None:
    assert show_alike(main_wh, sub_wh) is alike


def _smooth(size_wh: tuple[int, int]) -> U8Image:
    noise = np.random.default_rng(3).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)


@pytest.mark.parametrize("size_wh", [(256, 192), (200, 190), (101, 67), (64, 48), (32, 24)])
@pytest.mark.parametrize("box", [(0, 0, 9, 7), (11, 5, 30, 21), (20, 10, 500, 500), (-5, -5, 8, 8)])
def test_a_crop_as_of_another_size_is_what_the_scaled_picture_has_there(
    size_wh: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    small = _smooth((64, 48))
    whole = cv2.resize(small, size_wh, interpolation=cv2.INTER_LINEAR)
    crop = crop_as(ArrayPicture(small), size_wh, box)
    x0, y0, x1, y1 = (max(0, at) for at in box)
    expected = whole[y0:y1, x0:x1]
    assert crop.shape == expected.shape
    if crop.size:
        difference = np.abs(crop.astype(int) - expected.astype(int))
        assert difference.max() <= 3  # OpenCV's warp and resize round their weights differently
        assert difference.mean() < 0.5


def _paired(main: Picture | None, size_wh: tuple[int, int] = (128, 96)) -> tuple[PairedPicture, CropCounts, list[int]]:
    counts, chosen = CropCounts(), [0]

    def choose() -> Picture | None:
        chosen[0] += 1
        return main

    return PairedPicture(_grey(50), size_wh=size_wh, choose=choose, counts=counts), counts, chosen


def test_faces_come_from_the_main_stream_and_the_small_picture_from_the_sub_stream() -> None:
    picture, counts, chosen = _paired(_grey(200, (128, 96)))
    assert picture.size_wh == (128, 96)
    assert (picture.scaled_bgr((32, 24)) == 50).all()
    assert chosen == [0]
    assert (picture.crop_bgr(100, 80, 140, 100) == 200).all()
    assert picture.crop_bgr(100, 80, 140, 100).shape == (16, 28, 3)
    assert picture.bgr().shape == (96, 128, 3)
    assert chosen == [1]
    assert counts.snapshot() == (3, 0)


def test_without_a_main_picture_the_sub_picture_is_enlarged_and_counted() -> None:
    picture, counts, chosen = _paired(None)
    assert picture.crop_bgr(100, 80, 140, 100).shape == (16, 28, 3)
    assert (picture.crop_bgr(0, 0, 20, 20) == 50).all()
    assert picture.bgr().shape == (96, 128, 3)
    assert picture.crop_bgr(200, 200, 210, 210).size == 0
    assert chosen == [1]
    assert counts.snapshot() == (0, 4)


def test_a_main_picture_of_another_size_is_cut_in_the_size_that_is_told() -> None:
    picture, counts, _ = _paired(_grey(200, (256, 144)))
    assert (picture.crop_bgr(100, 80, 140, 100) == 200).all()
    assert picture.crop_bgr(100, 80, 140, 100).shape == (16, 28, 3)
    assert picture.bgr().shape == (96, 128, 3)
    assert counts.snapshot() == (3, 0)


def test_many_threads_get_one_choice() -> None:
    picture, counts, chosen = _paired(_grey(200, (128, 96)))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: picture.crop_bgr(0, 0, 8, 8), range(64)))
    assert chosen == [1]
    assert counts.snapshot() == (64, 0)
