"""Training the embedder on aligned faces of known people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from weights.errors import WorkshopError
from weights.manifest import DEFAULT_EMBEDDER, ModelSpec, load_manifest
from weights.workshop.arcface import MARGIN, SCALE, ArcFace
from weights.workshop.fit import Validation, fit
from weights.workshop.identities import Identities, read_face
from weights.workshop.losses import Terms
from weights.workshop.mobilefacenet import INPUT_PX, MobileFaceNet
from weights.workshop.pictures import Preparation
from weights.workshop.plan import OnStep, Plan, Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderTraining:
    """How an embedder is trained.

    Attributes:
        plan: Length, rate, checkpoints.
        margin: See `arcface.ArcFace`.
        scale: Likewise.
        flip: Probability of mirroring a face.
        spec: Mean and colour order; by default those of the pulled embedder.
    """

    plan: Plan
    margin: float = MARGIN
    scale: float = SCALE
    flip: float = 0.5
    spec: ModelSpec = field(default_factory=lambda: load_manifest().model(DEFAULT_EMBEDDER))

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise WorkshopError(f"flip={self.flip}: a probability from 0 to 1 is wanted")


class EmbedderLearner(nn.Module):
    """A MobileFaceNet, a head of ArcFace, and their loss; see `fit.Learner`."""

    def __init__(self, network: MobileFaceNet, people: int, options: EmbedderTraining) -> None:
        super().__init__()
        self.network = network
        self.head = ArcFace(network.shape.embedding_dim, people, margin=options.margin, scale=options.scale)
        self.prepare = Preparation(options.spec)
        self.weights = {"arcface": 1.0}

    def forward(self, batch: Mapping[str, Tensor]) -> Terms:
        """``arcface``, cross-entropy; ``accuracy``, faces nearest to their own person's centre, which is reported only.

        Args:
            batch: ``faces`` ``(B, 112, 112, 3)`` uint8 BGR, ``people`` ``(B,)`` int64.
        """
        people = batch["people"]
        templates = self.network(self.prepare(batch["faces"])).float()
        loss = functional.cross_entropy(self.head(templates, people), people, reduction="sum")
        with torch.no_grad():
            right = (self.head.cosines(templates).argmax(dim=1) == people).sum()
        count = torch.tensor(len(people), device=people.device)
        return {"arcface": (loss, count), "accuracy": (right, count)}


def train_embedder(
    model: MobileFaceNet,
    identities: Identities,
    *,
    options: EmbedderTraining,
    out_dir: Path,
    validation: Validation | None = None,
    on_step: OnStep | None = None,
    resume: bool = False,
) -> Trained:
    """Train an embedder in place, from whatever weights it has; the centres start anew.

    Args:
        model: The network; at the end it has the weights of the checkpoint.
        identities: Aligned faces by person.
        options: How.
        out_dir: See `fit.fit`.
        validation: See `fit.Validation`.
        on_step: See `plan.OnStep`.
        resume: See `fit.fit`.

    Raises:
        BadTrainingData: A picture can't be read.
        WorkshopError: See `fit.fit`.
    """
    # The centres are drawn here, before the loop has its seed.
    torch.manual_seed(options.plan.seed)
    learner = EmbedderLearner(model, len(identities.names), options)

    def read(row: int, rng: Generator) -> Mapping[str, Tensor]:
        face = read_face(identities.paths[row], INPUT_PX, rng, flip=options.flip)
        return {"faces": torch.from_numpy(face), "people": torch.tensor(identities.people[row])}

    return fit(
        learner,
        len(identities),
        read,
        plan=options.plan,
        out_dir=out_dir,
        validation=validation,
        on_step=on_step,
        resume=resume,
    )
