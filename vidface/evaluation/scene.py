"""The whole pipeline on a clip with ground truth: who was identified, how fast, and whether anybody wrongly.

A sighting belongs to the person whose true box its boxes lie on in most of its frames. It is false if it was ever given
another person's name, or, being a stranger's or nobody's, any name at all; being revised later does not mend it,
because a door had already been opened.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.analysis import AnalysedFrame
from pipeline.faces import F32
from pipeline.nms import iou_matrix
from pipeline.track import UNCONFIRMED
from vidface.errors import BadInput

MATCH_IOU = 0.3
"""Least overlap of a detection and a true box: the truth's boxes are of whole heads or of faces, as it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruePerson:
    """One person of the ground truth.

    Attributes:
        name: Who it is.
        enrolled: Whether the gallery should know them.
        boxes: The box ``(left, top, right, bottom)`` in pixels by frame index, while the whole face is in the picture.
    """

    name: str
    enrolled: bool
    boxes: Mapping[int, tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The ground truth of a clip."""

    fps: float
    people: tuple[TruePerson, ...]


def read_truth(path: Path) -> Truth:
    """Read a ground truth file.

    Raises:
        BadInput: It can't be read or has another form.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        people = [
            TruePerson(
                name=str(track["name"]),
                enrolled=bool(track["enrolled"]),
                boxes={int(index): _box(box) for index, box in track["frames"].items()},
            )
            for track in document["tracks"]
        ]
        return Truth(fps=float(document["fps"]), people=tuple(people))
    except OSError as error:
        raise BadInput(f"{path}: the ground truth can't be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: not a ground truth file ({type(error).__name__}: {error}); "
            "vidface eval scene --help shows its form"
        ) from error


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom


@dataclass(slots=True)
class _Seen:
    """What is gathered of one sighting."""

    owners: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    named_at_s: dict[str, float] = field(default_factory=dict)


class SceneScore:
    """Gathers analysed frames and scores them against the truth. Give `observe` to the pipeline as its observer."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._sightings: dict[tuple[int, int], _Seen] = defaultdict(_Seen)
        self._first_detected_s: dict[str, float] = {}
        self._last_sighting: dict[str, tuple[int, int]] = {}
        self._switches = 0
        self._faces = 0
        self._hits = 0
        self._true_boxes = 0
        self._frames = 0
        self._pts_s: list[float] = []  # the first and the last

    def observe(self, analysed: AnalysedFrame) -> None:
        """Take in one frame."""
        meta = analysed.frame.meta
        time_s = meta.pts_ns / 1e9
        present = [person for person in self._truth.people if meta.index in person.boxes]
        owners = self._owners(analysed.faces.boxes_xyxy, present, meta.index)
        self._frames += 1
        self._pts_s = [*self._pts_s[:1], time_s]
        self._faces += len(analysed.faces)
        self._true_boxes += len(present)
        self._hits += sum(1 for owner in owners if owner)
        for row, owner in enumerate(owners):
            if owner:
                self._first_detected_s.setdefault(owner, time_s)
            number = int(analysed.numbers[row])
            if number == UNCONFIRMED:
                continue
            key = (meta.epoch, number)
            seen = self._sightings[key]
            if owner:
                seen.owners[owner] += 1
                last = self._last_sighting.get(owner)
                self._switches += last is not None and last != key
                self._last_sighting[owner] = key
            decision = analysed.decisions[row]
            if decision is not None and decision.identity is not None:
                name = decision.identity.name
                if name not in seen.named_at_s:
                    seen.named_at_s[name] = time_s

    @staticmethod
    def _owners(boxes: F32, present: Sequence[TruePerson], index: int) -> list[str | None]:
        """Whose true box each detection lies on: the best pairs first, each used once."""
        owners: list[str | None] = [None] * len(boxes)
        if not len(boxes) or not present:
            return owners
        overlaps = iou_matrix(boxes, np.array([person.boxes[index] for person in present], np.float32))
        for _ in range(min(overlaps.shape)):
            row, column = np.unravel_index(int(np.argmax(overlaps)), overlaps.shape)
            if overlaps[row, column] < MATCH_IOU:
                break
            owners[int(row)] = present[int(column)].name
            overlaps[row, :] = -1
            overlaps[:, column] = -1
        return owners

    def _detections_per_s(self) -> float | None:
        """Frames that were looked at, a second of the clip."""
        if len(self._pts_s) < 2 or self._pts_s[1] <= self._pts_s[0]:
            return None
        return round((self._frames - 1) / (self._pts_s[1] - self._pts_s[0]), 2)

    def result(self) -> dict[str, object]:
        """The figures, as `vidface eval scene --json` prints them."""
        enrolled = {person.name for person in self._truth.people if person.enrolled}
        strangers = {person.name for person in self._truth.people if not person.enrolled}
        identified_at: dict[str, float] = {}
        false: list[dict[str, object]] = []
        for (epoch, number), seen in sorted(self._sightings.items()):
            owner = seen.owners.most_common(1)[0][0] if seen.owners else None
            for name, time_s in seen.named_at_s.items():
                if name == owner and owner in enrolled:
                    identified_at[name] = min(time_s, identified_at.get(name, time_s))
                else:
                    false.append({"sighting": f"{epoch}/{number}", "truth": owner, "named": name, "at_s": time_s})
        waits = {name: time_s - self._first_detected_s[name] for name, time_s in identified_at.items()}
        return {
            "enrolled": len(enrolled),
            "identified": len(identified_at),
            "strangers": len(strangers),
            "false_identifications": len(false),
            "median_seconds_to_identify": round(float(np.median(list(waits.values()))), 3) if waits else None,
            "sightings": len(self._sightings),
            "id_switches": int(self._switches),
            "detection_recall": round(self._hits / self._true_boxes, 4) if self._true_boxes else None,
            "frames": self._frames,
            "detections_per_s": self._detections_per_s(),
            "seconds_to_identify": {name: round(wait, 3) for name, wait in sorted(waits.items())},
            "not_identified": sorted(enrolled - set(identified_at)),
            "false": false,
        }
