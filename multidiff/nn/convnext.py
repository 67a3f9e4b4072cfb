"""The ConvNeXt block over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm and a pointwise feed-forward with a residual: (B, D, T) -> (B, D, T).

    Liu et al. 2022, "A ConvNet for the 2020s", section 2; in one dimension as in Vocos (Siuzdak 2023).
    `scale` is the initial layer scale, about 1 over the number of blocks.
    """

    def __init__(self, dim: int, expansion: int, scale: float, kernel: int = 7) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).transpose(1, 2))
        h = self.scale * self.narrow(F.gelu(self.widen(h)))
        return x + h.transpose(1, 2)
