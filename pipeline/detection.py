"""Frames to faces: scale into batches, detect what changed, and bring the faces back to full-frame pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import DetectedFrame
from pipeline.canvas import Canvas
from pipeline.change import ChangeOptions, Tile, tile_sides_px
from pipeline.faces import Faces
from pipeline.metrics import StageTimes
from pipeline.partial import Plan, Watch
from pipeline.retinaface import Detector
from streams.frame import Frame


class Detection:
    """Detects frames in batches. The detect thread uses it.

    Args:
        detector: Its canvas and fill colour are used.
        times: Where the time of the stages is summed: ``scale``, ``compare``, and ``detect``, ``detect parts``, which
            is the time that the detector was waited for. Items of the last two are frames detected whole and parts of
            frames; of ``compare`` frames.
        min_face_px: Faces whose shorter side is smaller, in full-frame pixels, are left out.
        changes: When a part of a picture is detected again; None to detect every picture whole.
    """

    def __init__(
        self,
        detector: Detector,
        times: StageTimes,
        *,
        min_face_px: float = 0.0,
        changes: ChangeOptions | None = None,
    ) -> None:
        self._detector = detector
        self._times = times
        self._min_face_px = min_face_px
        self._changes = changes
        canvas = detector.canvas
        sides = tile_sides_px(canvas) if changes is not None else ()
        self._tile_detectors = {side: detector.on(Canvas(width=side, height=side)) for side in sides}
        self._watches: dict[str, Watch] = {}

    @property
    def parallel(self) -> int:
        """How many batches may usefully be under way at once, and may be at most."""
        return self._detector.parallel

    def begin(self, frames: Sequence[Frame]) -> Callable[[], list[DetectedFrame]]:
        """Scale some frames and begin to detect their faces.

        Only the small picture of each frame is converted, straight from the decoder's planes.

        Args:
            frames: At most one of each camera, of any sizes; none is fine.

        Returns:
            What waits for the faces and returns them, in the order of `frames`. Called once, in the same thread, and in
            the order in which batches were begun.
        """
        if not frames:
            return list
        canvas = self._detector.canvas
        with self._times.measure("scale", len(frames)):
            batch = canvas.letterbox(
                [frame.picture.scaled_bgr(canvas.scaled_size_wh(frame.meta.size_wh)) for frame in frames],
                self._detector.fill_bgr,
            )
        plans = self._plans(frames, batch)
        whole = [place for place, plan in enumerate(plans) if plan.tiles is None]
        finish_whole = self._detector.submit(batch if len(whole) == len(frames) else batch[whole]) if whole else list
        finish_tiles = self._begin_tiles(
            [(place, tile) for place, plan in enumerate(plans) for tile in plan.tiles or ()], batch
        )

        def detected() -> list[DetectedFrame]:
            found: dict[int, list[Faces]] = defaultdict(list)
            if whole:
                with self._times.measure("detect", len(whole)):
                    found.update(zip(whole, ([faces] for faces in finish_whole()), strict=True))
            for place, faces in finish_tiles():
                found[place].append(faces)
            return [
                self._answer(place, frames[place], plans[place], found[place], batch) for place in range(len(frames))
            ]

        return detected

    def prepare(self, frame: Frame) -> None:
        """Have a frame's small picture made, in the calling thread, before `begin` asks for it. Any thread."""
        frame.picture.scaled_bgr(self._detector.canvas.scaled_size_wh(frame.meta.size_wh))

    def detect(self, frames: Sequence[Frame]) -> list[DetectedFrame]:
        """Detect the faces of some frames and wait for them; see `begin`."""
        return self.begin(frames)()

    def _plans(self, frames: Sequence[Frame], batch: NDArray[np.uint8]) -> list[Plan]:
        changes = self._changes
        if changes is None:
            return [Plan(number=0, tiles=None)] * len(frames)
        plans = []
        with self._times.measure("compare", len(frames)):
            for frame, small in zip(frames, batch, strict=True):
                camera = frame.meta.camera
                if camera not in self._watches:
                    self._watches[camera] = Watch(self._detector.canvas, changes, lag=self.parallel)
                plans.append(self._watches[camera].plan(frame.meta, small))
        return plans

    def _begin_tiles(
        self, tiles: Sequence[tuple[int, Tile]], batch: NDArray[np.uint8]
    ) -> Callable[[], list[tuple[int, Faces]]]:
        """Begin to detect tiles of the pictures at some places of a batch.

        Returns:
            What waits, and gives each tile's place and its faces in canvas pixels, in the order of `tiles`.
        """
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, (_place, tile) in enumerate(tiles):
            rows_of[tile.side_px].append(row)
        begun: list[tuple[list[int], Callable[[], list[Faces]]]] = []
        for side, rows in rows_of.items():
            pixels = np.stack([_cut(batch[tiles[row][0]], tiles[row][1]) for row in rows])
            begun.append((rows, self._tile_detectors[side].submit(pixels)))

        def finish() -> list[tuple[int, Faces]]:
            found: dict[int, Faces] = {}
            if begun:
                with self._times.measure("detect parts", len(tiles)):
                    for rows, finish_side in begun:
                        found.update(zip(rows, finish_side(), strict=True))
            return [(place, _moved(found[row], tile)) for row, (place, tile) in enumerate(tiles)]

        return finish

    def _answer(
        self, place: int, frame: Frame, plan: Plan, found: Sequence[Faces], batch: NDArray[np.uint8]
    ) -> DetectedFrame:
        watch = self._watches.get(frame.meta.camera)
        faces = watch.join(plan, found) if watch is not None else found[0]
        if watch is not None and faces is None:
            with self._times.measure("detect", 1):
                whole = self._detector.detect(batch[place : place + 1])
            faces = watch.join(Plan(number=plan.number, tiles=None), whole)
        assert faces is not None  # a whole picture is never refused
        in_picture = self._detector.canvas.to_picture(faces, frame.meta.size_wh)
        if self._min_face_px > 0:
            in_picture = in_picture[in_picture.sizes_px >= self._min_face_px]
        return DetectedFrame(frame=frame, faces=in_picture)


def _cut(small: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    return small[tile.y : tile.y + tile.side_px, tile.x : tile.x + tile.side_px]


def _moved(faces: Faces, tile: Tile) -> Faces:
    """Faces in a tile's pixels to canvas pixels."""
    if not len(faces):
        return faces
    corners = np.array([tile.x, tile.y, tile.x, tile.y], np.float32)
    return Faces(
        boxes_xyxy=faces.boxes_xyxy + corners, scores=faces.scores, landmarks_xy=faces.landmarks_xy + corners[:2]
    )
