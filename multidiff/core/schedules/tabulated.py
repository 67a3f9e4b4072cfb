"""Schedules of discrete chains, from their betas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multidiff.core.schedules.preserving import VariancePreserving, squares


class Tabulated(VariancePreserving):
    """A discrete variance-preserving schedule from its betas (N,): alpha_k^2 = prod_{i<=k} (1 - beta_i).

    Step k = 0 ... N-1 of the discrete chain is t = (k+1)/N; t = 0 is clean. Between steps the log-SNR is
    interpolated linearly; below the first one sigma falls linearly to 0.
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        table = torch.as_tensor(betas, dtype=torch.float64).cpu()
        if table.ndim != 1 or len(table) < 2 or not bool(((table > 0) & (table < 1)).all()):
            raise ValueError("betas must be two or more numbers between 0 and 1, the ends excluded")
        self.levels = len(table)
        log_alpha2 = torch.log1p(-table).cumsum(0)
        self.table = (log_alpha2 - torch.log(-torch.expm1(log_alpha2))) / 2
        """Log-SNR of the N steps, strictly falling."""

    @classmethod
    def linear(
        cls, steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, power: float = 1.0
    ) -> Tabulated:
        """betas^(1/power) equally spaced: 1 is DDPM's linear schedule, 2 Stable Diffusion's "scaled linear"."""
        ends = beta_start ** (1 / power), beta_end ** (1 / power)
        return cls(torch.linspace(*ends, steps, dtype=torch.float64) ** power)

    def _interpolated(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Log-SNR and its slope in t, for t >= 1/N."""
        table = self.table.to(t.device)
        position = (t * self.levels - 1).clamp(0, self.levels - 1)
        left = position.floor().long().clamp(max=self.levels - 2)
        start = table[left]
        rise = table[left + 1] - start
        return start + rise * (position - left), rise * self.levels

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha2, sigma2 = squares(self._interpolated(t)[0])
        step = t * self.levels
        below = step < 1
        sigma = torch.where(below, step, 1.0) * torch.sqrt(sigma2)
        return torch.where(below, torch.sqrt(1 - sigma**2), torch.sqrt(alpha2)), sigma

    def _alpha_slope(self, t: Tensor) -> Tensor:
        alpha, sigma = self._alpha_sigma(t)
        return -sigma * self._sigma_slope(t) / alpha

    def _sigma_slope(self, t: Tensor) -> Tensor:
        alpha, sigma = self._alpha_sigma(t)
        first = torch.sigmoid(-2 * self.table[0]).sqrt().to(t.device) * self.levels
        return torch.where(t * self.levels < 1, first, -sigma * alpha**2 * self._interpolated(t)[1])

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self._alpha_slope(t), self._sigma_slope(t)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        rising = -self.table.to(log_snr.device)
        right = torch.searchsorted(rising, -log_snr).clamp(1, self.levels - 1)
        share = (-log_snr - rising[right - 1]) / (rising[right] - rising[right - 1])
        sigma = torch.sigmoid(-2 * log_snr).sqrt()
        first = torch.sigmoid(2 * rising[0]).sqrt()
        return torch.where(-log_snr < rising[0], sigma / first, right + share) / self.levels


def scaled_linear(steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Tabulated:
    """Square roots of the betas equally spaced: Stable Diffusion's. Rombach et al. 2022 (2112.10752)."""
    return Tabulated.linear(steps, beta_start, beta_end, power=2.0)
