"""MobileFaceNet: an aligned face to a template.

Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", 2018. Releases
differ in small ways from the paper and from each other; `MobileFaceNetShape` names those ways.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from weights.workshop.layers import ConvNorm

INPUT_PX = 112
"""Side of the aligned face."""

_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels, blocks, stride of the first) of each row of table 1 in the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileFaceNetShape:
    """What kind of MobileFaceNet.

    Attributes:
        embedding_dim: The length of a template.
        pointwise_stem: A 1x1 convolution after the stem's depthwise one, as in the pulled weights.
        pad_end: Where a stride of 2 meets an even side, the pixel of padding is at the right and the bottom (as
            TensorFlow pads) and not at the left and the top.
        linear_widths: Channels of 1x1 convolutions between the global depthwise one and the template.
        normalise: With batch normalisation, or folded; see `layers`.
    """

    embedding_dim: int = 192
    pointwise_stem: bool = True
    pad_end: bool = True
    linear_widths: tuple[int, ...] = (512,)
    normalise: bool = False

    @classmethod
    def of_paper(cls, embedding_dim: int = 128, *, normalise: bool = True) -> MobileFaceNetShape:
        """The network of table 1, which the public PyTorch releases share."""
        return cls(
            embedding_dim=embedding_dim, pointwise_stem=False, pad_end=False, linear_widths=(), normalise=normalise
        )


class MobileFaceNet(nn.Module):
    """The embedder, from prepared pixels to a template that is not yet of unit length."""

    def __init__(self, shape: MobileFaceNetShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or MobileFaceNetShape()
        normalise = shape.normalise
        halving = (0, 1, 0, 1) if shape.pad_end else 1
        self.stem = ConvNorm(3, 64, stride=2, padding=halving, activation=nn.PReLU(64), normalise=normalise)
        self.stem_depthwise = ConvNorm(64, 64, groups=64, activation=nn.PReLU(64), normalise=normalise)
        self.stem_pointwise = ConvNorm(64, 64, kernel=1, normalise=normalise) if shape.pointwise_stem else nn.Identity()
        blocks, before = [], 64
        for expansion, channels, count, first_stride in _STAGES:
            for number in range(count):
                stride = first_stride if number == 0 else 1
                blocks.append(
                    Bottleneck(
                        before,
                        channels,
                        expanded=expansion * before,
                        stride=stride,
                        padding=halving if stride == 2 else 1,
                        # In the paper a row's first block of stride 1 is residual as well.
                        residual=stride == 1 and before == channels,
                        normalise=normalise,
                    )
                )
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvNorm(before, 512, kernel=1, activation=nn.PReLU(512), normalise=normalise)
        self.pool = ConvNorm(512, 512, kernel=INPUT_PX // 16, padding=0, groups=512, normalise=normalise)
        linear, before = [], 512
        for width in (*shape.linear_widths, shape.embedding_dim):
            linear.append(ConvNorm(before, width, kernel=1, normalise=normalise))
            before = width
        self.linear = nn.Sequential(*linear)

    def forward(self, faces: Tensor) -> Tensor:
        """Describe faces.

        Args:
            faces: ``(B, 3, 112, 112)`` float32, prepared as the manifest says (RGB, less 127.5, over 128).

        Returns:
            ``(B, embedding_dim)``, not of unit length.
        """
        x = self.stem_pointwise(self.stem_depthwise(self.stem(faces)))
        return self.linear(self.pool(self.last(self.blocks(x)))).flatten(1)


class Bottleneck(nn.Module):
    """Wide in the middle: 1x1 up, 3x3 a channel, 1x1 down; residual where shapes allow (MobileNet v2)."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        *,
        expanded: int,
        stride: int,
        padding: int | tuple[int, int, int, int],
        residual: bool,
        normalise: bool,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.expand = ConvNorm(channels_in, expanded, kernel=1, activation=nn.PReLU(expanded), normalise=normalise)
        self.depthwise = ConvNorm(
            expanded,
            expanded,
            stride=stride,
            padding=padding,
            groups=expanded,
            activation=nn.PReLU(expanded),
            normalise=normalise,
        )
        self.project = ConvNorm(expanded, channels, kernel=1, normalise=normalise)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels_in, H, W)`` to ``(B, channels, H / stride, W / stride)``."""
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out
