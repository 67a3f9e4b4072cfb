"""Convolutional blocks on folded frames: x (B*T, C, H, W) in channels_last, T = 1 for a picture.

Space and time are factorised (Ho et al. 2022, "Video Diffusion Models", section 3; Qiu et al. 2017, P3D):
a spatial 3x3 convolution sees one frame, a temporal 3x1 convolution sees one position. Both are Conv2d. In
channels_last the memory order of (B*T, C, H, W) is b t h w c, so folding time in or out is a view, and no
Conv3d runs, which on a CPU is five times slower for the temporal one.
"""

from __future__ import annotations

from typing import TypeVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with at most 32 groups, of 4 channels at least where that divides."""
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if (channels % g == 0 and channels >= 4 * g) or g == 1)
    return nn.GroupNorm(groups, channels)


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def zeroed(layer: Layer) -> Layer:
    """The layer with weight and bias 0, so that the branch it ends starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Two spatial convolutions with adaptive group norm (Dhariwal and Nichol 2021, section 3.1).

    x (N, C, H, W), condition (N, D) -> (N, outputs, H, W): GroupNorm(h) (1 + scale) + shift, with scale and
    shift linear in the condition.
    """

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.norm_in = group_norm(inputs)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(condition_dim, 2 * outputs)
        self.norm_out = group_norm(outputs)
        self.conv_out = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))
        return self.skip(x) + h


class TemporalConvolution(nn.Module):
    """A residual convolution over three neighbouring frames of each position; starts as the identity.

    x (B*T, C, H, W) -> the same shape. Equals a Conv3d with kernel (3, 1, 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.conv = zeroed(nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        height = x.shape[-2]
        h = rearrange(F.silu(self.norm(x)), "(b t) c h w -> b c t (h w)", t=frames)
        return x + rearrange(self.conv(h), "b c t (h w) -> (b t) c h w", h=height)


class Downsample(nn.Module):
    """Half the height and width, rounded up: a convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to (height, width), then a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.conv(F.interpolate(x, size, mode="nearest"))
