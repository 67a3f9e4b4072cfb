"""Parts of the objective that learn while the network does: the loss to expect at each noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from multidiff.core.schedule import NoiseSchedule


class Uncertainty(nn.Module):
    """EDM's weight divided by a learned variance e^u(lambda); the loss gains u.

    The minimum over u is u = log of the loss at that level: all noise levels then count alike, whatever their scale.
    Karras et al. 2024 (2312.02696, eq. 14 and 16, appendix B): u is linear in random Fourier features of the noise
    level, -lambda/4. u is 0 at first. Its parameters are trained with the network's and not kept in the model.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, sigma_data: float = 1.0, features: int = 128) -> None:
        super().__init__()
        if sigma_data <= 0 or features < 1:
            raise ValueError(f"sigma_data {sigma_data} must be positive and features {features} at least 1")
        self.offset = sigma_data**-2
        # Quasi-random instead of random: the golden ratio spreads frequencies (normal) and phases evenly.
        places = torch.arange(1, features + 1, dtype=torch.float64)
        normal = torch.special.ndtri((places * (math.sqrt(5) - 1) / 2) % 1.0)
        self.register_buffer("frequencies", (2 * math.pi * normal).float())
        self.register_buffer("phases", (2 * math.pi * (places * math.sqrt(2) % 1.0)).float())
        self.linear = nn.Linear(features, 1, bias=False)
        nn.init.zeros_(self.linear.weight)

    def log_variance(self, log_snr: Tensor) -> Tensor:
        """u (B,) at log_snr (B,), bounded to [-20, 20] before it is used."""
        level = (-log_snr.clamp(-20.0, 20.0) / 4).to(self.linear.weight)
        waves = torch.cos(level[..., None] * self.frequencies + self.phases) * math.sqrt(2)
        result: Tensor = self.linear(waves)[..., 0]
        return result

    def own_loss(self, loss: Tensor, log_snr: Tensor) -> Tensor:
        """The same objective (B,) as a function of u alone, from its values (B,), for an optimiser of its own."""
        u = self.log_variance(log_snr)
        return (loss - u).detach() * torch.exp(u.detach() - u) + u

    def forward(self, log_snr: Tensor, factor: Tensor) -> Tensor:
        """The weight on x0, like every weighting."""
        return (torch.exp(2 * log_snr) + self.offset) * torch.exp(-self.log_variance(log_snr).to(log_snr))


class ImportanceTimes(nn.Module):
    """t drawn in proportion to the root mean square of the losses seen near it, and the losses corrected for that.

    Nichol and Dhariwal 2021 (2102.09672, section 3.3): less variance, the same expectation. [0, 1] is cut into `bins`,
    each with a running mean of L^2 of the given decay; a share `floor` of the draws stays uniform. It is a module for
    the sake of its state, which a training run keeps.
    """

    squares: Tensor
    """Running mean of L^2 of each bin, float64, NaN where none was seen."""

    def __init__(self, bins: int = 100, decay: float = 0.9, floor: float = 0.1) -> None:
        super().__init__()
        if bins < 1 or not 0 <= decay < 1 or not 0 < floor <= 1:
            raise ValueError(f"bins {bins} must be at least 1, decay {decay} in [0, 1) and floor {floor} in (0, 1]")
        self.decay, self.floor = decay, floor
        self.register_buffer("squares", torch.full((bins,), math.nan, dtype=torch.float64))

    @property
    def shares(self) -> Tensor:
        """The probability of each bin (bins,), float64; uniform until every bin was seen."""
        uniform = torch.full_like(self.squares, 1 / len(self.squares))
        roots = self.squares.sqrt()
        if not bool(roots.isfinite().all()) or not roots.sum() > 0:
            return uniform
        return (1 - self.floor) * roots / roots.sum() + self.floor * uniform

    def _bin(self, t: Tensor) -> Tensor:
        bins = len(self.squares)
        return (t.detach().cpu().double() * bins).ceil().long().clamp(1, bins) - 1

    def forward(self, u: Tensor, schedule: NoiseSchedule) -> Tensor:
        """t in (0, 1] (B,) float64 for u uniform in [0, 1)."""
        ends = torch.cat([torch.zeros(1, dtype=torch.float64), self.shares.cumsum(0)])
        place = (1 - u.detach().cpu().double()) * ends[-1]
        index = torch.searchsorted(ends[1:], place).clamp(max=len(self.squares) - 1)
        share = (place - ends[index]) / (ends[index + 1] - ends[index])
        return ((index + share) / len(self.squares)).to(u.device)

    def correction(self, t: Tensor) -> Tensor:
        """1/density at t (B,), float64: what a loss is multiplied by."""
        return 1 / (self.shares[self._bin(t)] * len(self.squares)).to(t.device)

    def update(self, t: Tensor, loss: Tensor) -> None:
        """Take note of losses (B,) at t (B,)."""
        index, squares = self._bin(t), loss.detach().cpu().double() ** 2
        count = torch.zeros_like(self.squares).index_add_(0, index, torch.ones_like(squares))
        mean = torch.zeros_like(self.squares).index_add_(0, index, squares) / count
        old = torch.where(self.squares.isfinite(), self.squares, mean)
        self.squares = torch.where(count > 0, self.decay * old + (1 - self.decay) * mean, self.squares)
