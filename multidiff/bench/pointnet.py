"""The design of diffusion-point-cloud: a plain DDPM whose points know each other only through a latent of their shape.

Luo and Hu 2021, "Diffusion Probabilistic Models for 3D Point Cloud Generation" (2103.01458), written from the paper and
its code's settings. A PointNet (Qi et al. 2017) reads a shape as a Gaussian of its latent z (section 4.3); a denoiser
treats each point by itself, given z and the noise level, in layers whose output is gated and shifted by them
("concatsquash"; Grathwohl et al. 2019, FFJORD); a normalising flow of affine couplings (Dinh et al. 2017, RealNVP) is
z's prior (section 4.2). With w the flow's noise for z the loss is (equations 13 and 14, simplified as in section 4.3)

    mean |eps - eps_theta(x_t, t, z)|^2 + KL_WEIGHT (log q(z|x) - log p(z)),    log p(z) = log N(w) + log |dw/dz|
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.core.schedules.tabulated import Tabulated

LEVELS, FIRST, LAST = 200, 1e-4, 0.05
"""Betas, equally spaced: those of the published auto-encoder. The code's 100 up to .02 for generation leave a third of
the data's variance in what sampling takes for noise."""
SCHEDULE = Tabulated.linear(LEVELS, FIRST, LAST)
LATENT = 256
ENCODER, HEAD = (3, 128, 128, 256, 512), (512, 256, 128)
DENOISER = (3, 128, 256, 512, 256, 128, 3)
COUPLINGS, HIDDEN = 14, 128
"""Published but for the width of the flow, there 256: so the whole has as many parameters as ours."""
KL_WEIGHT = 1e-3


class Encoder(nn.Module):
    """Points (B, N, 3) -> mean and log-variance of the latent, (B, LATENT) each."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(ENCODER))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in ENCODER[1:])
        self.mean, self.log_variance = (
            nn.Sequential(
                *(
                    layer
                    for widths in pairwise(HEAD)
                    for layer in (nn.Linear(*widths), nn.BatchNorm1d(widths[1]), nn.ReLU())
                ),
                nn.Linear(HEAD[-1], LATENT),
            )
            for _ in range(2)
        )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        h = points
        for i, (layer, norm) in enumerate(zip(self.points, self.norms, strict=True)):
            h = norm(layer(F.relu(h) if i else h).flatten(0, 1)).unflatten(0, points.shape[:2])
        h = h.amax(1)
        return self.mean(h), self.log_variance(h)


class ConcatSquash(nn.Module):
    """x (B, N, in), context (B, 1, C) -> (B, N, out): linear in x, times a gate and plus a shift of the context."""

    def __init__(self, before: int, after: int, context: int) -> None:
        super().__init__()
        self.linear = nn.Linear(before, after)
        self.gate, self.shift = nn.Linear(context, after), nn.Linear(context, after, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        found: Tensor = self.linear(x) * self.gate(context).sigmoid() + self.shift(context)
        return found


class PointwiseDenoiser(nn.Module):
    """forward(x (B, N, 3), beta (B,), z (B, LATENT)) -> the noise in x; each point by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConcatSquash(*widths, LATENT + 3) for widths in pairwise(DENOISER))

    def forward(self, x: Tensor, beta: Tensor, z: Tensor) -> Tensor:
        level = torch.stack([beta, beta.sin(), beta.cos()], dim=-1)
        context = torch.cat([level, z], dim=-1)[:, None]
        h = x
        for i, layer in enumerate(self.layers):
            h = layer(F.leaky_relu(h) if i else h, context)
        return x + h


class Coupling(nn.Module):
    """One half of z scaled and shifted by the other; `first`: which half is changed."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, half = first, LATENT // 2
        self.layers = nn.Sequential(
            nn.Linear(half, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LATENT)
        )

    def forward(self, z: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """z (B, LATENT) -> the coupled z, and the logarithm of its determinant, (B,)."""
        changed, kept = z.chunk(2, dim=-1) if self.first else z.chunk(2, dim=-1)[::-1]
        scale, shift = self.layers(kept).chunk(2, dim=-1)
        log_scale = F.logsigmoid(scale + 2)
        changed = (changed - shift) / log_scale.exp() if inverse else changed * log_scale.exp() + shift
        log_determinant = log_scale.sum(-1)
        halves = [changed, kept] if self.first else [kept, changed]
        return torch.cat(halves, dim=-1), -log_determinant if inverse else log_determinant


class PointNetDiffusion(nn.Module):
    """Encoder, flow and denoiser."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.denoiser = Encoder(), PointwiseDenoiser()
        self.flow = nn.ModuleList(Coupling(i % 2 == 0) for i in range(COUPLINGS))

    def loss(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Of each shape of a batch (B, N, 3), each of mean 0 and variance 1, as the published code takes them: (B,)."""
        eps, level = torch.randn(x0.shape, generator=generator), torch.randint(LEVELS, (len(x0),), generator=generator)
        t = (level.double() + 1) / LEVELS
        alpha, sigma = (part.to(x0.dtype)[:, None, None] for part in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
        mean, log_variance = self.encoder(x0)
        z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator)
        error = (self.noise(alpha * x0 + sigma * eps, level, z) - eps).square().mean((1, 2))
        entropy = 0.5 * (log_variance + 1 + math.log(2 * math.pi)).sum(-1)
        return error - KL_WEIGHT * (entropy + self.log_prior(z))

    def noise(self, x: Tensor, level: Tensor, z: Tensor) -> Tensor:
        """That in x (B, N, 3) of levels (B,), from 0 for the first, in shapes of latents z (B, LATENT)."""
        beta = FIRST + (LAST - FIRST) * level.to(x.dtype) / (LEVELS - 1)
        found: Tensor = self.denoiser(x, beta, z)
        return found

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) of z (B, LATENT): (B,)."""
        total = z.new_zeros(len(z))
        for coupling in self.flow:
            z, log_determinant = coupling(z)
            total = total + log_determinant
        return total - 0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def latent(self, w: Tensor) -> Tensor:
        """z (B, LATENT) of the prior for standard normal w (B, LATENT)."""
        for coupling in reversed(list(self.flow)):
            w, _ = coupling(w, inverse=True)
        return w
