"""The denoiser of point clouds: (N, 3) noisy points, some of them known -> (N, 3).

A point's coordinates are its content: there is no positional encoding and no order (Point-E: Nichol et al. 2022,
section 4.2). Sines and cosines of the coordinates are added as features because a plain projection blurs fine
structure (Tancik et al. 2020, "Fourier Features"). A flag tells known points from noisy ones (PVD: Zhou et al. 2021).
Latents cannot hold where each of a thousand known points is: to make more of them (data.upsample) every point is told
the ways to those nearest to it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.errors import InputError
from multidiff.modality import Condition, Spec
from multidiff.nn.attention import AdaptiveNorm, FeedForward
from multidiff.nn.embedding import LogSNREmbedding, masked_mean
from multidiff.nn.latent_transformer import LatentTransformer

TEXT_DIM = 384
LONGEST = (0.003, 2.0)
"""Least and largest noise by which ways to known points are measured."""
SEARCHED = 8192
"""Points whose neighbours are searched for at once, to bound the memory."""


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
    neighbours: int = Field(
        0, ge=0, description="nearest known points that every point is told the way to; for upsampling 8 or more"
    )
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
    (B, L), the prompt; `chunk` (B,), how many unknown points are looked at at a time, where points are added to a whole
    shape. Each may be absent.
    """

    octaves: Tensor

    def __init__(self, spec: PointNetworkSpec) -> None:
        super().__init__()
        self.width = spec.dim
        self.register_buffer("octaves", 2.0 ** torch.arange(spec.frequencies), persistent=False)
        self.neighbours = spec.neighbours
        self.embed = nn.Linear(3 + 6 * spec.frequencies + 1 + 3 * spec.neighbours, spec.dim)
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

    def nearby(self, x: Tensor, log_snr: Tensor, mask: Tensor) -> Tensor:
        """The ways from each point to its nearest known ones, the nearest first: (B, N, 3 neighbours), 0 for none.

        A noisy point is taken for x / alpha of a variance-preserving schedule, whose noise is s = sigma / alpha; a
        way d is told as asinh(d / s), so that at any level what is as long as the noise is seen best.
        """
        is_known = mask[..., 0] > 0
        count = int(is_known.sum(1).max())
        k = min(self.neighbours, count)
        if not k:
            return x.new_zeros(*x.shape[:-1], 3 * self.neighbours)
        first = is_known.int().argsort(dim=1, descending=True, stable=True)[:, :count]
        absent = ~is_known.gather(1, first)
        known = x.gather(1, first[..., None].expand(-1, -1, 3))
        alpha = torch.sigmoid(2 * log_snr).sqrt().clamp(min=0.2).to(x.dtype)[:, None, None]
        place = torch.where(is_known[..., None], x, x / alpha)
        scale = torch.exp(-log_snr).clamp(*LONGEST).to(x.dtype)[:, None, None, None]
        ways = []
        for piece in place.split(SEARCHED, dim=1):
            with torch.no_grad():
                distance = torch.cdist(piece, known).masked_fill(absent[:, None], torch.inf)
                distance, index = distance.topk(k, dim=-1, largest=False)
            near = known.gather(1, index.flatten(1)[..., None].expand(-1, -1, 3)).unflatten(1, (-1, k))
            way = torch.asinh((near - piece[:, :, None]) / scale)
            ways.append(way.masked_fill(distance.isinf()[..., None], 0).flatten(-2))
        return F.pad(torch.cat(ways, dim=1), (0, 3 * (self.neighbours - k)))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out = self.output(self._hidden(x, log_snr, condition))
        return out if out.shape[-1] == 3 else (out[..., :3], out[..., 3:])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, dim): the mean over the points of what the output layer sees."""
        return self._hidden(x, log_snr, condition).mean(dim=1)

    def _hidden(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, N, dim); with `chunk` all known points, which are the first then, and so many of the others at a time."""
        mask = condition.get("mask", x.new_zeros(1)).expand(*x.shape[:-1], 1)
        if "chunk" not in condition:
            return self._at_once(x, log_snr, mask, condition)
        if not self.neighbours:
            raise InputError(
                "this model completes parts and adds no points to a whole; train one by recipe 'upsampler'"
            )
        count, chunk = int(mask[0].sum()), int(condition["chunk"][0])
        made: list[Tensor] = []
        for piece, flag in zip(x[:, count:].split(chunk, 1), mask[:, count:].split(chunk, 1), strict=True):
            both, flags = torch.cat([x[:, :count], piece], 1), torch.cat([mask[:, :count], flag], 1)
            hidden = self._at_once(both, log_snr, flags, condition)
            made.append(hidden[:, count:] if made else hidden)
        return torch.cat(made, dim=1)

    def _at_once(self, x: Tensor, log_snr: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        level = self.log_snr(log_snr)
        tokens, tokens_mask = condition.get("tokens"), condition.get("tokens_mask")
        if tokens is not None:
            tokens = tokens.to(x.dtype)
            level = level + self.prompt(masked_mean(tokens, tokens_mask))
        told = self.fourier(x, mask)
        if self.neighbours:
            told = torch.cat([told, self.nearby(x, log_snr, mask)], dim=-1)
        h = self.embed(told)
        # Which octaves carry a signal depends on the noise level, and what a point says on whether it is known.
        normed, gate = self.mix_norm(h, level)
        h = self.transformer(h + gate * self.mix(normed), level, tokens, tokens_mask)
        scale, shift = self.modulation(F.silu(level))[:, None, :].chunk(2, dim=-1)
        return self.norm(h) * (1 + scale) + shift
