"""What both architectures are made of, and batch normalisation folded into convolutions.

A network is in one of two forms. With `normalise` each convolution is followed by batch normalisation, as it is
trained from nothing; folded, each convolution has a bias instead, as it is deployed, pruned, quantised and distilled.
The pulled weights are folded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, normalisation, activation.

    Args:
        channels_in: Of the input.
        channels_out: Of the output.
        kernel: Side of the square kernel.
        stride: Of the kernel.
        padding: On all sides; or the pixels ``(left, right, top, bottom)``.
        groups: As in `torch.nn.Conv2d`.
        activation: The module after it; None for none.
        normalise: Batch normalisation, or else a bias.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int | tuple[int, int, int, int] | None = None,
        groups: int = 1,
        activation: nn.Module | None = None,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = kernel // 2
        self.pad = nn.ZeroPad2d(padding) if isinstance(padding, tuple) else nn.Identity()
        self.conv = nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride,
            0 if isinstance(padding, tuple) else padding,
            groups=groups,
            bias=not normalise,
        )
        self.norm = nn.BatchNorm2d(channels_out) if normalise else nn.Identity()
        self.activation = activation if activation is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels_in, H, W)`` to ``(B, channels_out, H', W')``."""
        return self.activation(self.norm(self.conv(self.pad(x))))


class DepthwiseSeparable(nn.Module):
    """A 3x3 convolution a channel, then a 1x1 convolution across channels, as in MobileNet v1."""

    def __init__(
        self, channels_in: int, channels_out: int, *, stride: int, slope: float, normalise: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            channels_in,
            channels_in,
            stride=stride,
            groups=channels_in,
            activation=nn.LeakyReLU(slope),
            normalise=normalise,
        )
        self.pointwise = ConvNorm(
            channels_in, channels_out, kernel=1, activation=nn.LeakyReLU(slope), normalise=normalise
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels_in, H, W)`` to ``(B, channels_out, H / stride, W / stride)``."""
        return self.pointwise(self.depthwise(x))


def fold_normalisation(model: nn.Module) -> nn.Module:
    """Fold each `BatchNorm2d` that follows a convolution into it, in place, and return the model in evaluation mode.

    ``y = (conv(x) - mean) / sqrt(var + eps) * gamma + beta`` is again a convolution: its weights times
    ``gamma / sqrt(var + eps)``, and a bias.
    """
    model.eval()
    for owner in list(model.modules()):
        previous: tuple[str, nn.Conv2d] | None = None
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.BatchNorm2d) and previous is not None:
                setattr(owner, previous[0], _folded(previous[1], child))
                setattr(owner, name, nn.Identity())
            previous = (name, child) if isinstance(child, nn.Conv2d) else None
    return model


@torch.no_grad()
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = conv.bias if conv.bias is not None else torch.zeros_like(norm.running_mean)
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        bias=True,
    )
    made.weight.copy_(conv.weight * factor[:, None, None, None])
    made.bias.copy_((bias - norm.running_mean) * factor + norm.bias)
    return made.to(conv.weight.device)
