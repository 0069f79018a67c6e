"""Training the detector on labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from weights.errors import BadTrainingData, WorkshopError
from weights.manifest import DEFAULT_DETECTOR, ModelSpec, load_manifest
from weights.workshop.augment import NONE, Augmentation, augment
from weights.workshop.fit import Validation, fit
from weights.workshop.labels import LabelledPicture
from weights.workshop.losses import NEGATIVES, Terms, detection_terms
from weights.workshop.pictures import Preparation, fill_bgr, read_picture
from weights.workshop.plan import OnStep, Plan, Trained
from weights.workshop.retinaface import STRIDES, RetinaFace
from weights.workshop.targets import POSITIVE_IOU, AnchorLayout, lay_anchors, targets_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTraining:
    """How a detector is trained.

    Attributes:
        plan: Length, rate, checkpoints.
        size_px: Side of the square that pictures are brought to; a multiple of 32.
        augmentation: How pictures vary.
        negatives: See `losses.detection_terms`.
        positive_iou: See `targets.match`.
        box_weight: Of the boxes' loss, where that of the class is 1.
        landmark_weight: Of the landmarks' loss.
        spec: Anchors, mean and colour order; by default those of the pulled detector.
    """

    plan: Plan
    size_px: int = 640
    augmentation: Augmentation = field(default_factory=Augmentation)
    negatives: int = NEGATIVES
    positive_iou: float = POSITIVE_IOU
    box_weight: float = 2.0
    landmark_weight: float = 1.0
    spec: ModelSpec = field(default_factory=lambda: load_manifest().model(DEFAULT_DETECTOR))

    def __post_init__(self) -> None:
        if self.size_px <= 0 or self.size_px % STRIDES[-1]:
            raise WorkshopError(f"size_px={self.size_px}: it must be a positive multiple of {STRIDES[-1]}")


class DetectorLearner(nn.Module):
    """A RetinaFace and its loss; see `fit.Learner`. Its batches are stacks of what `DetectorSamples.read` gives."""

    def __init__(self, network: RetinaFace, options: DetectorTraining) -> None:
        super().__init__()
        self.network = network
        self.prepare = Preparation(options.spec)
        self.negatives = options.negatives
        self.weights = {"class": 1.0, "box": options.box_weight, "landmark": options.landmark_weight}

    def forward(self, batch: Mapping[str, Tensor]) -> Terms:
        """The terms ``class``, ``box`` and ``landmark``."""
        return detection_terms(self.network(self.prepare(batch["pictures"])), batch, negatives=self.negatives)


class DetectorSamples:
    """Labelled pictures as the learner takes them."""

    def __init__(
        self, pictures: Sequence[LabelledPicture], options: DetectorTraining, augmentation: Augmentation | None = None
    ) -> None:
        self._pictures, self._options = pictures, options
        self._augmentation = augmentation or options.augmentation
        self._layout = AnchorLayout.of(options.spec)
        self._anchors = lay_anchors(self._layout, (options.size_px, options.size_px))
        self._fill = fill_bgr(options.spec)

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, row: int, rng: Generator) -> Mapping[str, Tensor]:
        """One variant of a picture: ``pictures`` ``(size, size, 3)`` uint8 BGR, and its targets."""
        sample, options = self._pictures[row], self._options
        picture, faces = augment(
            read_picture(sample.path),
            sample.faces,
            rng,
            options=self._augmentation,
            size_px=options.size_px,
            fill_bgr=self._fill,
        )
        targets = targets_of(faces, self._anchors, self._layout, options.positive_iou)
        return {"pictures": torch.from_numpy(picture), **targets}


def train_detector(
    model: RetinaFace,
    samples: Sequence[LabelledPicture],
    *,
    options: DetectorTraining,
    out_dir: Path,
    validation: Validation | None = None,
    on_step: OnStep | None = None,
    resume: bool = False,
) -> Trained:
    """Train a detector in place, from whatever weights it has.

    A folded network with the pulled weights wants a low rate, 1e-3 at most with AdamW; one with batch normalisation is
    what to train from nothing.

    Args:
        model: The network; at the end it has the weights of the checkpoint.
        samples: Labelled pictures.
        options: How.
        out_dir: See `fit.fit`.
        validation: See `fit.Validation`; `held_out_loss` measures on labelled pictures.
        on_step: See `plan.OnStep`.
        resume: See `fit.fit`.

    Raises:
        BadTrainingData: There are no pictures, or none has a face, or one can't be read.
        WorkshopError: See `fit.fit`.
    """
    if not any(len(sample.faces) for sample in samples):
        raise BadTrainingData(f"{len(samples)} pictures with no face among them: there is nothing to learn from")
    read = DetectorSamples(samples, options)
    learner = DetectorLearner(model, options)
    return fit(
        learner,
        len(samples),
        read.read,
        plan=options.plan,
        out_dir=out_dir,
        validation=validation,
        on_step=on_step,
        resume=resume,
    )


@torch.no_grad()
def held_out_loss(model: RetinaFace, samples: Sequence[LabelledPicture], options: DetectorTraining) -> float:
    """The loss on whole pictures, not augmented, each once; less is better, so `-held_out_loss` makes a validation.

    The network is measured in the mode that it is in.
    """
    learner = DetectorLearner(model, options).to(next(model.parameters()).device)
    read = DetectorSamples(samples, options, NONE)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row in range(len(read)):
        sample = read.read(row, np.random.default_rng(0))
        terms = learner({name: value[None].to(learner.prepare.mean.device) for name, value in sample.items()})
        for name, (total, count) in terms.items():
            sums[name] = sums.get(name, 0.0) + float(total)
            counts[name] = counts.get(name, 0) + int(count)
    return sum(weight * sums[name] / max(1, counts[name]) for name, weight in learner.weights.items())
