"""What of a picture has changed, and the tiles that cover it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.change import ALIGN_PX, MARGIN_PX, ChangeOptions, Rect, changed_parts, cover, grow_to_faces, tile_sides_px
from pipeline.faces import F32

SIZE_WH = (640, 384)


def luma(*bright: Rect, value: int = 120) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.full((SIZE_WH[1], SIZE_WH[0]), 80, np.uint8)
    for x0, y0, x1, y1 in bright:
        picture[y0:y1, x0:x1] = value
    return picture


def boxes(*rects: Rect) -> F32:
    return np.array(rects, np.float32).reshape(-1, 4)


class TestChangedParts:
    def test_nothing_changed(self) -> None:
        assert changed_parts(luma(), luma(), 3.0) == []

    def test_a_change_is_found_with_a_cell_around_it(self) -> None:
        assert changed_parts(luma(), luma((80, 80, 160, 120)), 3.0) == [(72, 72, 168, 128)]

    def test_where_something_was_has_changed_too(self) -> None:
        parts = changed_parts(luma((80, 80, 120, 120)), luma((400, 200, 440, 240)), 3.0)
        assert sorted(parts) == [(72, 72, 128, 128), (392, 192, 448, 248)]

    def test_at_the_edge_it_stays_inside(self) -> None:
        assert changed_parts(luma(), luma((0, 0, 16, 16)), 3.0) == [(0, 0, 24, 24)]

    @pytest.mark.parametrize(("levels", "found"), [(3.0, 1), (5.0, 0)])
    def test_levels_are_the_mean_of_a_cell(self, levels: float, found: int) -> None:
        half_a_cell_by_eight = luma((80, 80, 84, 88), value=88)
        assert len(changed_parts(luma(), half_a_cell_by_eight, levels)) == found


class TestGrowing:
    def test_a_part_grows_to_hold_a_face_that_it_touches(self) -> None:
        mouth, face = (100, 150, 140, 170), (80, 60, 160, 180)
        assert grow_to_faces([mouth], boxes(face), SIZE_WH) == [(80, 60, 160, 180)]

    def test_a_face_elsewhere_is_let_be(self) -> None:
        assert grow_to_faces([(0, 0, 50, 50)], boxes((300, 300, 350, 350)), SIZE_WH) == [(0, 0, 50, 50)]

    def test_growing_over_one_face_it_may_touch_the_next(self) -> None:
        first, second = (40, 40, 100, 100), (90, 60, 150, 120)
        assert grow_to_faces([(30, 30, 50, 50)], boxes(first, second), SIZE_WH) == [(30, 30, 150, 120)]

    def test_parts_that_come_to_overlap_are_one(self) -> None:
        face = (40, 40, 200, 100)
        assert grow_to_faces([(30, 50, 50, 60), (190, 50, 210, 60)], boxes(face), SIZE_WH) == [(30, 40, 210, 100)]

    def test_a_box_past_the_edge_is_cut(self) -> None:
        assert grow_to_faces([(0, 0, 20, 20)], boxes((-30, -10, 60, 50)), SIZE_WH) == [(0, 0, 60, 50)]


class TestCovering:
    def test_each_part_gets_the_smallest_tile_with_its_margin(self) -> None:
        tiles = cover([(100, 100, 180, 170), (400, 100, 540, 230)], DEFAULT_CANVAS)
        assert tiles is not None
        assert sorted(tile.side_px for tile in tiles) == [128, 192]

    def test_near_ones_share_a_tile(self) -> None:
        tiles = cover([(100, 100, 140, 140), (150, 110, 170, 130)], DEFAULT_CANVAS)
        assert tiles is not None
        assert [len(tile.cores) for tile in tiles] == [2]

    def test_what_fits_no_tile_is_the_whole_picture(self) -> None:
        assert cover([(0, 0, 320, 40)], DEFAULT_CANVAS) is None

    def test_too_many_tiles_are_the_whole_picture(self) -> None:
        parts = [(x, y, x + 60, y + 60) for x in range(0, 640, 120) for y in range(0, 320, 110)]
        assert cover(parts, DEFAULT_CANVAS) is None

    def test_a_small_canvas_has_no_tiles(self) -> None:
        canvas = Canvas(width=64, height=64)
        assert tile_sides_px(canvas) == ()
        assert cover([(0, 0, 8, 8)], canvas) is None

    @given(
        st.lists(
            st.tuples(st.integers(0, 70), st.integers(0, 40), st.integers(1, 24), st.integers(1, 24)),
            min_size=1,
            max_size=6,
        )
    )
    @settings(deadline=None)
    def test_every_part_lies_in_a_tile_with_its_margin(self, cells: list[tuple[int, int, int, int]]) -> None:
        parts = [(8 * x, 8 * y, min(640, 8 * (x + w)), min(384, 8 * (y + h))) for x, y, w, h in cells]
        tiles = cover(parts, DEFAULT_CANVAS)
        if tiles is None:
            return
        assert sorted(core for tile in tiles for core in tile.cores) == sorted(parts)
        for tile in tiles:
            right, bottom = tile.x + tile.side_px, tile.y + tile.side_px
            assert tile.x % ALIGN_PX == tile.y % ALIGN_PX == 0
            assert 0 <= tile.x < right <= 640
            assert 0 <= tile.y < bottom <= 384
            for x0, y0, x1, y1 in tile.cores:
                assert tile.x <= max(0, x0 - MARGIN_PX)
                assert tile.y <= max(0, y0 - MARGIN_PX)
                assert right >= min(640, x1 + MARGIN_PX)
                assert bottom >= min(384, y1 + MARGIN_PX)


def test_options_are_over_zero() -> None:
    with pytest.raises(ValueError, match="over 0"):
        ChangeOptions(levels=0)
