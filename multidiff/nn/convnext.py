"""The ConvNeXt block, over time or over a plane."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm and a pointwise feed-forward with a residual: (B, D, ...) -> (B, D, ...).

    Liu et al. 2022, "A ConvNet for the 2020s", section 2; over one dimension as in Vocos (Siuzdak 2023), or over two.
    `scale` is the initial layer scale, about 1 over the number of blocks.
    """

    def __init__(self, dim: int, expansion: int, scale: float, kernel: int = 7, dims: Literal[1, 2] = 1) -> None:
        super().__init__()
        convolution = nn.Conv2d if dims == 2 else nn.Conv1d
        self.depthwise = convolution(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).movedim(1, -1))
        h = self.scale * self.narrow(F.gelu(self.widen(h)))
        return x + h.movedim(-1, 1)
