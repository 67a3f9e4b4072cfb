"""Embeddings of scalars: the noise level, positions, durations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOG_SNR_BOUND = 10.0


def sinusoidal(values: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sines and cosines of `values` (...,) at `dim/2` geometric frequencies: (..., dim). Vaswani et al. 2017, 3.5."""
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=values.device) / half)
    angles = values[..., None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotate(x: Tensor, positions: Tensor, max_period: float = 10_000.0) -> Tensor:
    """Rotary positions (Su et al. 2021, "RoFormer", equation 34): x (..., N, D), positions (N,) -> (..., N, D).

    Channel pair (i, i + D/2) is turned by positions * max_period^(-2i/D), so that the product of a query and a key
    depends on the distance between them only.
    """
    cos, sin = sinusoidal(positions, x.shape[-1], max_period).to(x.dtype).chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def masked_mean(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the sequence, (B, L, D) -> (B, D), of the tokens where `mask` (B, L) is True."""
    if mask is None:
        return tokens.mean(dim=1)
    share = mask.to(tokens)
    share = share / share.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bl,bld->bd", share, tokens)


class LogSNREmbedding(nn.Module):
    """lambda = log(alpha/sigma) of shape (B, ...) -> (B, ..., dim).

    lambda is infinite at the ends of some schedules, so it is bounded here and only here (FACTS section 1).
    """

    def __init__(self, dim: int, features: int = 128) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, log_snr: Tensor) -> Tensor:
        bounded = log_snr.clamp(-LOG_SNR_BOUND, LOG_SNR_BOUND)
        # 50 spreads [-10, 10] over the range the geometric frequencies were made for.
        return self.mlp(sinusoidal(50.0 * bounded, self.features).to(next(self.mlp.parameters()).dtype))


class FrameConditioned(nn.Module):
    """A network that is told of each frame its noise level and the mean prompt token, as one vector of `dim` channels.

    context_dim: width of prompt tokens, 0 for none.
    """

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.level_embedding = LogSNREmbedding(dim)
        self.prompt_embedding = nn.Linear(context_dim, dim) if context_dim else None

    def embed(
        self, log_snr: Tensor, frames: int, tokens: Tensor | None, tokens_mask: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """(B T, dim), of log_snr (B,) or (B, T), tokens (B, L, context_dim), tokens_mask (B, L) bool and what is
        added, extra (B, T, dim)."""
        vector = self.level_embedding(log_snr[:, None].expand(-1, frames) if log_snr.ndim == 1 else log_snr)
        if self.prompt_embedding is not None and tokens is not None:
            vector = vector + self.prompt_embedding(masked_mean(tokens, tokens_mask))[:, None]
        return (vector if extra is None else vector + extra).flatten(0, 1)
