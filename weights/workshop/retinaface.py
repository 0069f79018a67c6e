"""RetinaFace: three levels of a feature pyramid, a context module on each, and heads for class, box and landmarks.

Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019; the context modules are those of
Najibi et al., "SSH: Single Stage Headless Face Detector", 2017; the pyramid that of Lin et al., "Feature Pyramid
Networks for Object Detection", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from weights.workshop.layers import ConvNorm, DepthwiseSeparable

STRIDES = (8, 16, 32)
"""Pixels a cell of each level."""

ANCHORS_PER_CELL = 2
LANDMARKS = 5

_QUARTER_MOBILENET = (
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)),
    ((256, 2), (256, 1)),
)
"""(channels, stride) of the separable convolutions up to each level, after a stem of 8 channels and stride 2."""

_RESNET50_CHANNELS = (512, 1024, 2048)


class Backbone(StrEnum):
    """What makes the features."""

    MOBILENET = "mobilenet0.25"
    RESNET50 = "resnet50"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetinaFaceShape:
    """What kind of RetinaFace.

    Attributes:
        backbone: What makes the features.
        channels: Of the pyramid and the context modules, a multiple of 4; None for what goes with the backbone.
        normalise: With batch normalisation, or folded; see `layers`.
    """

    backbone: Backbone = Backbone.MOBILENET
    channels: int | None = None
    normalise: bool = False

    @property
    def pyramid_channels(self) -> int:
        """Channels of the pyramid: 64 for the small backbone, 256 for the large one, unless said otherwise."""
        return self.channels or (64 if self.backbone is Backbone.MOBILENET else 256)


class RetinaFace(nn.Module):
    """The detector, from prepared pixels to raw outputs; anchors and decoding are in `pipeline.anchors`."""

    def __init__(self, shape: RetinaFaceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or RetinaFaceShape()
        channels = shape.pyramid_channels
        # The published networks are leaky where they are narrow.
        slope = 0.1 if channels <= 64 else 0.0
        self.backbone: nn.Module
        if shape.backbone is Backbone.MOBILENET:
            self.backbone = QuarterMobileNet(normalise=shape.normalise)
            widths: Sequence[int] = [level[-1][0] for level in _QUARTER_MOBILENET]
        else:
            self.backbone = ResNet50()
            widths = _RESNET50_CHANNELS
        self.pyramid = Pyramid(widths, channels, slope=slope, normalise=shape.normalise)
        self.context = nn.ModuleList(
            Context(channels, channels, slope=slope, normalise=shape.normalise) for _ in STRIDES
        )
        self.class_head, self.box_head, self.landmark_head = (
            nn.ModuleList(nn.Conv2d(channels, ANCHORS_PER_CELL * values, 1) for _ in STRIDES)
            for values in (2, 4, 2 * LANDMARKS)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find faces.

        Args:
            pictures: ``(B, 3, H, W)`` float32, prepared as the manifest says (BGR less the mean). Sides are multiples
                of 32, or the levels would not fit each other.

        Returns:
            ``(B, A, 4)`` boxes and ``(B, A, 10)`` landmarks as codes of the anchors, between them ``(B, A, 2)`` logits
            of background and face: boxes, logits, landmarks. Anchors by stride, row, column, size.
        """
        levels = [context(x) for context, x in zip(self.context, self.pyramid(self.backbone(pictures)), strict=True)]
        boxes, logits, landmarks = (
            torch.cat(
                [
                    head(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)
                    for head, x in zip(heads, levels, strict=True)
                ],
                dim=1,
            )
            for heads, values in ((self.box_head, 4), (self.class_head, 2), (self.landmark_head, 2 * LANDMARKS))
        )
        return boxes, logits, landmarks


class Scored(nn.Module):
    """A RetinaFace as it is deployed: probabilities in place of logits."""

    def __init__(self, model: RetinaFace) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `RetinaFace.forward`; boxes, ``(B, A, 2)`` probabilities of background and face, landmarks."""
        boxes, logits, landmarks = self.model(pictures)
        return boxes, logits.softmax(dim=-1), landmarks


class Cells(nn.Module):
    """A RetinaFace as it is deployed where each millisecond counts: the same answers in fewer steps.

    The three heads of a level become one convolution, and in place of two logits there is their difference, which the
    convolution's weights take in. What it gives is the output: with softmax, joined levels and outputs apart, a pruned
    int8 detector took a half longer.
    """

    def __init__(self, model: RetinaFace) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(
            _joined(*heads) for heads in zip(model.class_head, model.box_head, model.landmark_head, strict=True)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """See `RetinaFace.forward`.

        Returns:
            For each stride ``(B, rows, columns, anchors x 15)``: of each anchor the margin between the logits of face
            and background, the box, the landmarks. The manifest calls this form ``cells``.
        """
        model = self.model
        levels = [context(x) for context, x in zip(model.context, model.pyramid(model.backbone(pictures)), strict=True)]
        return tuple(head(x).permute(0, 2, 3, 1) for head, x in zip(self.heads, levels, strict=True))


@torch.no_grad()
def _joined(classes: nn.Conv2d, boxes: nn.Conv2d, landmarks: nn.Conv2d) -> nn.Conv2d:
    """One convolution with, for each anchor of a cell, the margin, the box and the landmarks."""

    def by_anchor(values: Tensor) -> Tensor:
        return values.reshape(ANCHORS_PER_CELL, -1, *values.shape[1:])

    weights, biases = [], []
    for head in (classes, boxes, landmarks):
        weight, bias = by_anchor(head.weight), by_anchor(head.bias)
        if head is classes:
            weight, bias = weight[:, 1:] - weight[:, :1], bias[:, 1:] - bias[:, :1]
        weights.append(weight)
        biases.append(bias)
    weight, bias = torch.cat(weights, dim=1).flatten(0, 1), torch.cat(biases, dim=1).flatten(0, 1)
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made.to(weight.device)


class QuarterMobileNet(nn.Module):
    """MobileNet v1 (Howard et al., 2017) at a quarter of its width, without its classifier."""

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8, stride=2, activation=nn.LeakyReLU(0.1), normalise=normalise)
        self.levels = nn.ModuleList()
        before = 8
        for level in _QUARTER_MOBILENET:
            blocks = []
            for channels, stride in level:
                blocks.append(DepthwiseSeparable(before, channels, stride=stride, slope=0.1, normalise=normalise))
                before = channels
            self.levels.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to the features at the strides 8, 16 and 32."""
        features = []
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class ResNet50(nn.Module):
    """torchvision's ResNet50 without its classifier; random weights until a checkpoint is loaded."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)`` to the features at the strides 8, 16 and 32."""
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        features = []
        for layer in (self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class Pyramid(nn.Module):
    """Features of three levels brought to one width, each with what the coarser one knows."""

    def __init__(self, widths: Sequence[int], channels: int, *, slope: float, normalise: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            ConvNorm(width, channels, kernel=1, activation=nn.LeakyReLU(slope), normalise=normalise) for width in widths
        )
        self.merge = nn.ModuleList(
            ConvNorm(channels, channels, activation=nn.LeakyReLU(slope), normalise=normalise) for _ in widths[1:]
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features of each level, finest first, to as many of one width."""
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, features, strict=True))
        middle = self.merge[1](middle + functional.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge[0](fine + functional.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return [fine, middle, coarse]


class Context(nn.Module):
    """Three views of a level side by side, as wide as one, two and three 3x3 convolutions see."""

    def __init__(self, channels_in: int, channels: int, *, slope: float, normalise: bool) -> None:
        super().__init__()
        quarter = channels // 4
        self.near = ConvNorm(channels_in, channels // 2, normalise=normalise)
        self.shared = ConvNorm(channels_in, quarter, activation=nn.LeakyReLU(slope), normalise=normalise)
        self.wide = ConvNorm(quarter, quarter, normalise=normalise)
        self.wider_before = ConvNorm(quarter, quarter, activation=nn.LeakyReLU(slope), normalise=normalise)
        self.wider = ConvNorm(quarter, quarter, normalise=normalise)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels_in, H, W)`` to ``(B, channels, H, W)``."""
        shared = self.shared(x)
        views = (self.near(x), self.wide(shared), self.wider(self.wider_before(shared)))
        return functional.relu(torch.cat(views, dim=1))
