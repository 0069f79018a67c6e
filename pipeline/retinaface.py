"""RetinaFace: a batch of canvases in, faces in canvas pixels out.

Which anchors, variances, mean and outputs a model has is read from its manifest entry, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.anchors import AnchorSpec, decode_boxes, decode_landmarks, lay_anchors
from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.change import tile_sides_px
from pipeline.engine import Engine, EngineOptions, open_engine
from pipeline.errors import ModelMismatch
from pipeline.faces import F32, Faces, require_shape
from pipeline.graph import Preprocessing
from pipeline.nms import suppress
from weights.manifest import ModelSpec, OutputForm

CANDIDATES = 2_000
"""At most so many anchors of one picture, best first, are compared with each other; a wall of faces needs fewer."""


CELL_VALUES = 15
"""What an anchor has in `OutputForm.CELLS`: a margin, a box of four and five landmarks of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """What counts as a face.

    Attributes:
        canvas: The size that pictures are scaled to; a larger one finds smaller faces at a higher cost.
        score_threshold: Faces below this confidence (0..1) are left out.
        nms_iou: Of two boxes that overlap more than this the weaker is left out.
        level_thresholds: In place of `score_threshold`, one for the anchors of each stride, finest first: small faces,
            which the finest finds, may be asked for more or less than large ones. None for the same of all.
    """

    canvas: Canvas = DEFAULT_CANVAS
    score_threshold: float = 0.6
    nms_iou: float = 0.4
    level_thresholds: tuple[float, ...] | None = None


class Detector(Protocol):
    """The seam of detection. One thread calls it at a time."""

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        ...

    @property
    def description(self) -> str:
        """The engine that runs it, such as ``openvino cpu bf16``."""
        ...

    @property
    def canvas(self) -> Canvas:
        """The canvas that `detect` takes."""
        ...

    @property
    def fill_bgr(self) -> tuple[int, int, int]:
        """The colour of the canvas beside a picture."""
        ...

    @property
    def parallel(self) -> int:
        """How many batches may usefully be under way at once."""
        ...

    def on(self, canvas: Canvas) -> Detector:
        """The same model on another canvas; both share the engine, its threads and its memory."""
        ...

    def submit(self, batch: NDArray[np.uint8]) -> Callable[[], list[Faces]]:
        """Begin to detect; what is returned waits and gives the faces. The batch may not be changed meanwhile."""
        ...

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        """Find faces.

        Args:
            batch: ``(B, canvas height, canvas width, 3)`` uint8 BGR.

        Returns:
            For each picture its faces in canvas pixels, best score first.
        """
        ...


class RetinaFace:
    """RetinaFace on any engine."""

    def __init__(self, engine: Engine, spec: ModelSpec, options: DetectorOptions | None = None) -> None:
        self._engine = engine
        self._spec = spec
        self._options = options or DetectorOptions()
        self._name = spec.name
        self._input = spec.input_name
        self._outputs = spec.outputs
        self._anchor_spec = anchor_spec(spec)
        self._mean = spec.mean
        self._rgb = spec.colour == "RGB"
        canvas = self._options.canvas
        self._anchors = lay_anchors(self._anchor_spec, (canvas.width, canvas.height))
        self._threshold: float | F32 = self._options.score_threshold
        if self._options.level_thresholds is not None:
            self._threshold = _anchor_thresholds(self._options.level_thresholds, self._anchor_spec, canvas)
        self._cells = spec.output_form is OutputForm.CELLS
        with np.errstate(divide="ignore"):  # a threshold of 0 or 1 is a margin without end
            self._margin = np.log(np.divide(self._threshold, np.subtract(1.0, self._threshold)))

    @classmethod
    def open(
        cls,
        path: Path,
        spec: ModelSpec,
        options: DetectorOptions | None = None,
        engine_options: EngineOptions | None = None,
        *,
        max_batch: int = 8,
        tiles: bool = False,
    ) -> RetinaFace:
        """Compile the model file for this machine; see `engine.open_engine` for what it raises.

        With `tiles` it is made ready for the tiles of its canvas as well, see `change.tile_sides_px`.
        """
        options = options or DetectorOptions()
        shape = (options.canvas.height, options.canvas.width, 3)
        sizes_hw = [shape[:2], *((side, side) for side in (tile_sides_px(options.canvas) if tiles else ()))]
        side = min(min(size) for size in sizes_hw)
        profile = ((1, side, side, 3), (max_batch, *shape), (max_batch, *shape))
        engine = open_engine(
            path,
            input_name=spec.input_name,
            output_names=spec.outputs,
            preprocessing=Preprocessing(mean=_three(spec.mean), scale=spec.scale),
            options=replace(engine_options or EngineOptions(), profile=profile, sizes_hw=tuple(sizes_hw)),
        )
        return cls(engine, spec, options)

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        return self._name

    @property
    def description(self) -> str:
        """The engine that runs it."""
        return self._engine.description

    @property
    def canvas(self) -> Canvas:
        """The canvas that `detect` takes."""
        return self._options.canvas

    @property
    def fill_bgr(self) -> tuple[int, int, int]:
        """The mean colour: zero after preprocessing, as convolutions pad."""
        blue, green, red = (round(value) for value in (self._mean[::-1] if self._rgb else self._mean))
        return blue, green, red

    @property
    def parallel(self) -> int:
        """How many batches may usefully be under way at once."""
        return self._engine.parallel

    def on(self, canvas: Canvas) -> RetinaFace:
        """See `Detector.on`."""
        return RetinaFace(self._engine, self._spec, replace(self._options, canvas=canvas))

    def submit(self, batch: NDArray[np.uint8]) -> Callable[[], list[Faces]]:
        """See `Detector.submit`."""
        canvas = self._options.canvas
        require_shape("detector batch", batch, (None, canvas.height, canvas.width, 3))
        pictures = np.ascontiguousarray(batch[..., ::-1]) if self._rgb else batch
        finish = self._engine.submit({self._input: pictures})

        def faces() -> list[Faces]:
            outputs = finish()
            if self._cells:
                return [self._decode_cells([outputs[name][i] for name in self._outputs]) for i in range(len(batch))]
            loc, conf, landmarks = (outputs[name] for name in self._outputs)
            require_shape("detector output loc", loc, (len(batch), len(self._anchors), 4))
            return [self._decode(loc[i], conf[i], landmarks[i]) for i in range(len(batch))]

        return faces

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        """See `Detector.detect`."""
        return self.submit(batch)()

    def _decode(self, loc: NDArray[Any], conf: NDArray[Any], landmarks: NDArray[Any]) -> Faces:
        """One picture's outputs to faces: only anchors above the threshold are decoded."""
        all_scores = conf[:, -1]  # of background and face, or of face alone
        rows = np.flatnonzero(all_scores >= self._threshold)
        if not len(rows):
            return Faces.empty()
        if len(rows) > CANDIDATES:
            rows = rows[np.argsort(-all_scores[rows], kind="stable")[:CANDIDATES]]
        return self._faces(rows, np.asarray(all_scores[rows], np.float32), loc[rows], landmarks[rows])

    def _decode_cells(self, levels: Sequence[NDArray[Any]]) -> Faces:
        """One picture's levels ``(rows, columns, anchors x CELL_VALUES)`` to faces; see `OutputForm.CELLS`.

        Margins are compared as they are: the logistic function is taken of what is above the threshold only.
        """
        anchors = [level.reshape(-1, CELL_VALUES) for level in levels]
        margins = np.concatenate([level[:, 0] for level in anchors])
        require_shape("detector output margins", margins, (len(self._anchors),))
        rows = np.flatnonzero(margins >= self._margin)
        if not len(rows):
            return Faces.empty()
        if len(rows) > CANDIDATES:
            rows = np.sort(rows[np.argsort(-margins[rows], kind="stable")[:CANDIDATES]])
        ends = np.cumsum([len(level) for level in anchors])
        cuts = np.searchsorted(rows, ends)
        parts, start = [], 0
        for level, end, cut in zip(anchors, ends, cuts, strict=True):
            parts.append(level[rows[start:cut] - (end - len(level))])
            start = cut
        values = np.concatenate(parts)
        scores = np.asarray(1 / (1 + np.exp(-values[:, 0])), np.float32)
        return self._faces(rows, scores, values[:, 1:5], values[:, 5:])

    def _faces(self, rows: NDArray[np.intp], scores: F32, loc: NDArray[Any], landmarks: NDArray[Any]) -> Faces:
        """Faces of some anchors, without those that a surer one overlaps."""
        anchors = self._anchors[rows]
        variances = self._anchor_spec.variances
        boxes = decode_boxes(loc, anchors, variances)
        kept = suppress(boxes, scores, self._options.nms_iou)
        points = decode_landmarks(landmarks[kept], anchors[kept], variances)
        return Faces(boxes_xyxy=boxes[kept], scores=scores[kept], landmarks_xy=points)


def anchor_spec(spec: ModelSpec) -> AnchorSpec:
    """The anchors that a manifest entry names.

    Raises:
        ModelMismatch: The entry is not a detector's.
    """
    if spec.task != "detect" or not spec.strides or len(spec.variances) != 2:
        raise ModelMismatch(f"{spec.name}: the manifest has no anchors for it; a detector is wanted")
    return AnchorSpec(
        strides=tuple(spec.strides),
        sizes_px=tuple(tuple(sizes) for sizes in spec.anchor_sizes),
        variances=(spec.variances[0], spec.variances[1]),
    )


def _anchor_thresholds(thresholds: Sequence[float], spec: AnchorSpec, canvas: Canvas) -> F32:
    """``(A,)`` float32: the threshold of each anchor's stride, in the order of `lay_anchors`.

    Raises:
        ModelMismatch: There is not one threshold for each stride.
    """
    if len(thresholds) != len(spec.strides):
        raise ModelMismatch(
            f"{len(thresholds)} thresholds by level are given, but the detector has {len(spec.strides)} levels, of the "
            f"strides {', '.join(map(str, spec.strides))}"
        )
    counts = [
        -(-canvas.width // stride) * -(-canvas.height // stride) * len(sizes)
        for stride, sizes in zip(spec.strides, spec.sizes_px, strict=True)
    ]
    return np.repeat(np.asarray(thresholds, np.float32), counts)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third
