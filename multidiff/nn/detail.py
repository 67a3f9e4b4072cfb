"""What is finer than a patch: a branch at full resolution beside a network that works on patches of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multidiff.nn.residual import zeroed

LOUDEST = 4.0
"""Log-SNR up to which the branch is amplified."""


class Detail(nn.Module):
    """Convolutions of few channels over single pixels, told what the network on patches made of them; starts at 0.

    A network on patches has hardly more channels than a patch has values, so it learns the drawing long before it can
    tell it from faint grain. Where sigma is small the prediction is of that grain, (x0 - x_t)/sigma, a small difference
    of large numbers: so what leaves the branch is amplified by sqrt(1 + SNR), which is 1/sigma where alpha^2 = 1 -
    sigma^2.

    forward(x (N, colours p^2, H, W), hidden (N, hidden, H, W), condition (N, D), log_snr (N,), frames) -> like x;
    N = B frames, and p, `patch`, the side of a patch. With `temporal`, each pixel also sees its neighbours in time.
    """

    def __init__(
        self, width: int, colours: int, patch: int, hidden: int, condition_dim: int, temporal: bool = True
    ) -> None:
        """width: of the branch; hidden: of the network it belongs to."""
        super().__init__()
        self.channels = colours * patch**2
        self.told = nn.Conv2d(hidden, width * patch**2, 1)
        self.seen = nn.Conv2d(colours, width, 3, padding=1)
        self.modulation = nn.Linear(condition_dim, 4 * width)
        self.time = nn.Conv2d(width, width, (3, 1), padding=(1, 0)) if temporal else None
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.exit = zeroed(nn.Conv2d(width, colours, 3, padding=1))
        self.pixels, self.patches = nn.PixelShuffle(patch), nn.PixelUnshuffle(patch)

    def forward(self, x: Tensor, hidden: Tensor, condition: Tensor, log_snr: Tensor, frames: int) -> Tensor:
        scale, shift, scale_2, shift_2 = self.modulation(condition)[:, :, None, None].chunk(4, dim=1)
        h = self.seen(self._fine(x)) + self._fine(self.told(hidden))
        h = F.silu(h * (1 + scale) + shift)
        if self.time is not None:
            height = h.shape[-2]
            folded = rearrange(h, "(b t) c h w -> b c t (h w)", t=frames)
            h = h + rearrange(self.time(folded), "b c t (h w) -> (b t) c h w", h=height)
        h = self.exit(F.silu(self.middle(h) * (1 + scale_2) + shift_2))
        gain = torch.sqrt(1 + torch.exp(2 * log_snr.clamp(max=LOUDEST)))
        return self.patches(h) * gain[:, None, None, None].to(h.dtype)

    def _fine(self, h: Tensor) -> Tensor:
        return self.pixels(h).contiguous(memory_format=torch.channels_last)
