"""The demo's clip: a hall that people cross, rendered, with the ground truth of where everybody's face is.

The same seed, length and portraits give the same pictures. The truth has the form that `vidface eval scene` reads: a
track for each appearance, with a box for each frame in which the whole face is inside the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from pipeline.faces import F32, U8Image
from vidface.demo.cast import KNOWN_ROLES, STRANGER_ROLES, Portrait, Role
from vidface.video import VideoWriter

SIZE_WH: Final = (1920, 1080)
FPS: Final = 25

_LANES: Final = ((285.0, 128.0), (545.0, 150.0), (815.0, 172.0))
"""Where people walk: the height of their faces' centres, and of their faces; who is nearer is lower and larger."""

_CLIPPED_PX: Final = 2.0
"""A face this near to the picture's edge counts as cut by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One appearance: somebody crosses the hall.

    Attributes:
        role: Who.
        lane: Which of the lanes, from the farthest.
        start_s: When the portrait begins to enter.
        end_s: When it has left.
        rightwards: The direction.
        bob_px: How far the face goes up and down.
        zoom: By which part it grows and shrinks.
        sway_deg: How far it leans to either side.
        rate_hz: Steps a second.
        phase: Of the steps, in radians.
    """

    role: Role
    lane: int
    start_s: float
    end_s: float
    rightwards: bool
    bob_px: float
    zoom: float
    sway_deg: float
    rate_hz: float
    phase: float

    def pose(self, time_s: float, half_width_px: float) -> Pose | None:
        """Where the face is at a time; None before it comes and after it left."""
        if not self.start_s <= time_s < self.end_s:
            return None
        progress = (time_s - self.start_s) / (self.end_s - self.start_s)
        # Nobody walks like a machine: a little slower in the middle, where there is something to see.
        progress += 0.045 * math.sin(2 * math.pi * progress)
        path = -half_width_px + progress * (SIZE_WH[0] + 2 * half_width_px)
        angle = 2 * math.pi * self.rate_hz * (time_s - self.start_s) + self.phase
        centre_y, face_h = _LANES[self.lane]
        return Pose(
            x=path if self.rightwards else SIZE_WH[0] - path,
            y=centre_y + self.bob_px * math.sin(angle),
            face_h=face_h * (1 + self.zoom * math.sin(angle / 3 + self.phase)),
            roll_deg=self.sway_deg * math.sin(angle / 2),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """A face's centre in the picture, its height in pixels, and its lean in degrees, clockwise."""

    x: float
    y: float
    face_h: float
    roll_deg: float


def cast_walks(seconds: float, seed: int) -> tuple[Walk, ...]:
    """Who walks when and where, in a clip of this length.

    Neighbouring lanes walk against each other, so people cross at a distance. The known one comes twice, as two photos
    show him, and never meets himself.
    """
    rng = np.random.default_rng(seed)
    strangers = [STRANGER_ROLES[index] for index in rng.permutation(len(STRANGER_ROLES))]
    plan = (
        (KNOWN_ROLES[0], 1, 0.00, 0.46),
        (strangers[0], 0, 0.04, 0.50),
        (strangers[1], 2, 0.10, 0.54),
        (strangers[2], 1, 0.34, 0.66),
        (KNOWN_ROLES[1], 2, 0.52, 0.99),
        (strangers[3], 0, 0.47, 0.92),
        (strangers[4], 1, 0.62, 0.98),
    )
    return tuple(
        Walk(
            role=role,
            lane=lane,
            start_s=start * seconds,
            end_s=end * seconds,
            rightwards=lane != 1,
            bob_px=float(rng.uniform(4, 9)),
            zoom=float(rng.uniform(0.03, 0.07)),
            sway_deg=float(rng.uniform(1, 4)),
            rate_hz=float(rng.uniform(0.7, 1.1)),
            phase=float(rng.uniform(0, 2 * math.pi)),
        )
        for role, lane, start, end in plan
    )


class Scene:
    """The clip, frame by frame.

    Args:
        portraits: Everybody who plays.
        seconds: Its length.
        seed: Chooses the strangers, how people walk, and how the hall looks.
    """

    def __init__(self, portraits: Mapping[Role, Portrait], *, seconds: float, seed: int) -> None:
        self._portraits = portraits
        self._walks = cast_walks(seconds, seed)
        self._hall = _hall(seed)
        self.frame_count = round(seconds * FPS)

    def frame(self, index: int) -> U8Image:
        """Frame `index` from 0, ``(1080, 1920, 3)`` uint8 BGR."""
        canvas = self._hall.copy()
        for walk, pose in sorted(self._poses(index), key=lambda each: each[0].lane):
            _paste(canvas, self._portraits[walk.role], pose)
        return canvas

    def truth(self) -> dict[str, Any]:
        """The ground truth: size, rate, and for each appearance its boxes by frame."""
        boxes: list[dict[str, list[float]]] = [{} for _ in self._walks]
        for index in range(self.frame_count):
            for walk, pose in self._poses(index):
                box = _face_box(self._portraits[walk.role], pose)
                if box is not None:
                    boxes[self._walks.index(walk)][str(index)] = box
        return {
            "fps": FPS,
            "width": SIZE_WH[0],
            "height": SIZE_WH[1],
            "frames": self.frame_count,
            "tracks": [
                {"name": walk.role.name, "enrolled": walk.role.enrolled, "frames": frames}
                for walk, frames in zip(self._walks, boxes, strict=True)
            ],
        }

    def render(self, path: Path, *, on_frame: Callable[[], None] = lambda: None) -> None:
        """Write the clip.

        Args:
            path: An MP4 file.
            on_frame: Called after each frame.

        Raises:
            OSError: The file can't be written.
        """
        with VideoWriter(path, size_wh=SIZE_WH, fps=FPS) as writer:
            for index in range(self.frame_count):
                writer.write(self.frame(index))
                on_frame()

    def _poses(self, index: int) -> Iterator[tuple[Walk, Pose]]:
        for walk in self._walks:
            portrait = self._portraits[walk.role]
            half_width = portrait.bgr.shape[1] / 2 / portrait.face_wh[1] * _LANES[walk.lane][1] * (1 + walk.zoom)
            pose = walk.pose(index / FPS, half_width)
            if pose is not None:
                yield walk, pose


def _paste(canvas: U8Image, portrait: Portrait, pose: Pose) -> None:
    """Lay a portrait over the picture."""
    matrix = _to_picture(portrait, pose)
    height, width = portrait.bgr.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ matrix.T
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
    x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
    x1, y1 = min(canvas.shape[1], int(high[0])), min(canvas.shape[0], int(high[1]))
    if x0 >= x1 or y0 >= y1:
        return
    local = matrix - np.array([[0, 0, x0], [0, 0, y0]])
    bgr, alpha = (
        cv2.warpAffine(layer, local, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        for layer in (portrait.bgr, portrait.alpha[..., 0])
    )
    region = canvas[y0:y1, x0:x1]
    region[:] = np.clip(bgr + region * (1 - alpha[..., None]), 0, 255).round().astype(np.uint8)


def _to_picture(portrait: Portrait, pose: Pose) -> F32:
    """``(2, 3)`` from portrait pixels to picture pixels."""
    centre = portrait.centre_xy
    scale = pose.face_h / portrait.face_wh[1]
    matrix = np.asarray(
        cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), -pose.roll_deg, scale), np.float64
    )
    matrix[:, 2] += np.array([pose.x, pose.y]) - centre
    return np.asarray(matrix, np.float32)


def _face_box(portrait: Portrait, pose: Pose) -> list[float] | None:
    """The face's box in the picture, or None where the picture's edge cuts it. The lean is too small to matter."""
    face_w, face_h = portrait.face_wh
    half_w, half_h = face_w / face_h * pose.face_h / 2, pose.face_h / 2
    box = (pose.x - half_w, pose.y - half_h, pose.x + half_w, pose.y + half_h)
    inside = min(box[:2]) >= _CLIPPED_PX and box[2] <= SIZE_WH[0] - _CLIPPED_PX and box[3] <= SIZE_WH[1] - _CLIPPED_PX
    return [round(value, 1) for value in box] if inside else None


def _hall(seed: int) -> U8Image:
    """The background: a wall with lit panels and a floor, out of focus."""
    width, height = SIZE_WH
    rng = np.random.default_rng([seed, 1])
    horizon = 700
    wall = np.linspace(150, 118, horizon, dtype=np.float32)[:, None]
    floor = np.linspace(96, 134, height - horizon, dtype=np.float32)[:, None]
    grey = np.concatenate([wall, floor]) + np.zeros((1, width), np.float32)
    hall = grey[..., None] * np.array([1.0, 0.98, 0.94], np.float32)
    _panels(hall, horizon, rng)
    for beam in range(-24, 25):  # the joints between the floor's slabs, towards a vanishing point
        x = width // 2 + beam * 260
        cv2.line(hall, (width // 2 + beam * 70, horizon), (x, height), (86, 84, 80), 3, cv2.LINE_AA)
    for depth in (0.08, 0.24, 0.5, 0.9):
        y = horizon + round((height - horizon) * depth)
        cv2.line(hall, (0, y), (width, y), (86, 84, 80), 3, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(hall, (0, 0), 5)
    grain = rng.normal(0, 1.5, (height, width, 1))
    return np.clip(blurred + grain, 0, 255).astype(np.uint8)


def _panels(hall: F32, horizon: int, rng: np.random.Generator) -> None:
    tints: Sequence[tuple[float, float, float]] = ((176, 160, 132), (150, 152, 158), (132, 150, 160), (168, 166, 150))
    left = 60
    while left < SIZE_WH[0] - 140:
        right = min(left + int(rng.integers(150, 270)), SIZE_WH[0] - 40)
        tint = tints[int(rng.integers(len(tints)))]
        cv2.rectangle(hall, (left, 110), (right, horizon - 60), tint, cv2.FILLED)
        cv2.rectangle(hall, (left, 110), (right, 118), tuple(1.15 * c for c in tint), cv2.FILLED)
        left = right + int(rng.integers(60, 120))
    cv2.rectangle(hall, (0, horizon - 14), (SIZE_WH[0], horizon), (84, 82, 78), cv2.FILLED)
