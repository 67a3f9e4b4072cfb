"""Exact samples and how far others lie from them."""

from __future__ import annotations

import torch
from torch import Tensor

from multidiff.core import MixtureDenoiser


def drawn(mixture: MixtureDenoiser, count: int, seed: int = 0) -> Tensor:
    """(count, *event) exact samples of a mixture."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.multinomial(mixture.weights, count, replacement=True, generator=generator)
    noise = torch.randn((count, *mixture.means.shape[1:]), generator=generator, dtype=mixture.means.dtype)
    return mixture.means[k] + mixture.stds[k].reshape(-1, *(1,) * (noise.ndim - 1)) * noise


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'| of two sets of points (N, D), unbiased: near 0, either side, for one law."""
    a, b = a.double(), b.double()

    def within(x: Tensor) -> Tensor:
        return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))

    return float(2 * torch.cdist(a, b).mean() - within(a) - within(b))


def given_first(mixture: MixtureDenoiser, y: float, std: float) -> MixtureDenoiser:
    """The exact law of a planar mixture's points, given y = first coordinate + std n, as components of two stds:
    returned are the means (K, 2), the stds (K, 2) and the weights (K,) in a mixture's fields."""
    variance = mixture.stds**2
    total = variance + std**2
    gain = variance / total
    means = torch.stack([mixture.means[:, 0] + gain * (y - mixture.means[:, 0]), mixture.means[:, 1]], dim=1)
    stds = torch.stack([(std * gain.sqrt()), mixture.stds], dim=1)
    log_weight = mixture.weights.log() - total.log() / 2 - (y - mixture.means[:, 0]) ** 2 / (2 * total)
    return MixtureDenoiser(mixture.schedule, means, stds, torch.softmax(log_weight, 0))
