"""The denoiser of point clouds: (N, 3) noisy points, some of them known -> (N, 3).

A point's coordinates are its content: there is no positional encoding and no order (Point-E: Nichol et al. 2022,
section 4.2). Sines and cosines of the coordinates are added as features because a plain projection blurs fine
structure (Tancik et al. 2020, "Fourier Features"). A flag tells known points from noisy ones (PVD: Zhou et al. 2021).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.modality import Condition, Spec
from multidiff.nn.attention import AdaptiveNorm, FeedForward
from multidiff.nn.embedding import LogSNREmbedding, masked_mean
from multidiff.nn.latent_transformer import LatentTransformer

TEXT_DIM = 384


class PointNetworkSpec(Spec):
    """Size of the two-stream transformer."""

    dim: int = Field(96, gt=0, description="width of a point")
    latent_dim: int = Field(192, gt=0, description="width of a latent")
    latents: int = Field(64, gt=0, description="number of latents")
    blocks: int = Field(4, gt=0, description="times the points are read and written")
    layers: int = Field(2, gt=0, description="self-attention layers on the latents in each block")
    heads: int = Field(4, gt=0)
    condition_dim: int = Field(128, gt=0, description="width of the vector of noise level and prompt")
    frequencies: int = Field(5, ge=0, description="octaves of Fourier features of a coordinate")
    learned_variance: bool = Field(False, description="also predict the reverse step's variance, for the hybrid loss")

    @model_validator(mode="after")
    def _divides(self) -> PointNetworkSpec:
        if self.dim % self.heads or self.latent_dim % self.heads:
            raise ValueError(
                f"dim {self.dim} and latent_dim {self.latent_dim} must be multiples of heads, {self.heads}"
            )
        return self


class PointNetwork(nn.Module):
    """forward(x (B, N, 3), log_snr (B,), condition) -> (B, N, 3), permutation-equivariant in the points.

    With spec.learned_variance two of these: the prediction and the variance's v.

    condition: `mask` (B, N, 1), 1 where a point of x is known and clean; `tokens` (B, L, 384) and `tokens_mask`
    (B, L), the prompt. Each may be absent.
    """

    octaves: Tensor

    def __init__(self, spec: PointNetworkSpec) -> None:
        super().__init__()
        self.width = spec.dim
        self.register_buffer("octaves", 2.0 ** torch.arange(spec.frequencies), persistent=False)
        self.embed = nn.Linear(3 + 6 * spec.frequencies + 1, spec.dim)
        self.mix_norm = AdaptiveNorm(spec.dim, spec.condition_dim)
        self.mix = FeedForward(spec.dim, expansion=2)
        self.log_snr = LogSNREmbedding(spec.condition_dim)
        self.prompt = nn.Linear(TEXT_DIM, spec.condition_dim)
        self.transformer = LatentTransformer(
            spec.dim,
            spec.latent_dim,
            spec.latents,
            spec.blocks,
            spec.layers,
            spec.heads,
            spec.condition_dim,
            TEXT_DIM,
        )
        self.norm = nn.LayerNorm(spec.dim)
        # Where almost nothing can be predicted, in nearly clean points, the output must be able to fall silent.
        self.modulation = nn.Linear(spec.condition_dim, 2 * spec.dim)
        self.output = nn.Linear(spec.dim, 6 if spec.learned_variance else 3)
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def fourier(self, x: Tensor, mask: Tensor) -> Tensor:
        """Coordinates, their Fourier features from a period of 4 units down, and the flag: (B, N, F)."""
        angles = (0.5 * math.pi * x[..., None] * self.octaves.to(x.dtype)).flatten(-2)
        return torch.cat([x, angles.sin(), angles.cos(), mask.to(x.dtype)], dim=-1)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out = self.output(self._hidden(x, log_snr, condition))
        return out if out.shape[-1] == 3 else (out[..., :3], out[..., 3:])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, dim): the mean over the points of what the output layer sees."""
        return self._hidden(x, log_snr, condition).mean(dim=1)

    def _hidden(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        mask = condition.get("mask", x.new_zeros(1)).expand(*x.shape[:-1], 1)
        level = self.log_snr(log_snr)
        tokens, tokens_mask = condition.get("tokens"), condition.get("tokens_mask")
        if tokens is not None:
            tokens = tokens.to(x.dtype)
            level = level + self.prompt(masked_mean(tokens, tokens_mask))
        h = self.embed(self.fourier(x, mask))
        # Which octaves carry a signal depends on the noise level, and what a point says on whether it is known.
        normed, gate = self.mix_norm(h, level)
        h = self.transformer(h + gate * self.mix(normed), level, tokens, tokens_mask)
        scale, shift = self.modulation(F.silu(level))[:, None, :].chunk(2, dim=-1)
        return self.norm(h) * (1 + scale) + shift
