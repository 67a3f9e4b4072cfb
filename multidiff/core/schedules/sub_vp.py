"""The sub-VP schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from multidiff.core.schedule import NoiseSchedule
from multidiff.core.schedules.preserving import Linear


class SubVP(NoiseSchedule):
    """alpha of the linear schedule, sigma = 1 - alpha^2: less noise than variance preserving at every t.

    Song et al. 2021 (2011.13456, eq. 29). The variance of unit data stays below 1 between the ends.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.linear = Linear(beta_min, beta_max)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.linear.log_alpha(t)
        return log_alpha.exp(), -torch.expm1(2 * log_alpha)

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        slope = self.linear._alpha_slope(t)
        return slope, -2 * self.linear.log_alpha(t).exp() * slope

    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        root = torch.sqrt(sigma**2 + 4 * alpha**2)
        return (sigma + root) / 2, 2 * alpha / root, (1 + sigma / root) / 2

    def _inverse(self, log_snr: Tensor) -> Tensor:
        # alpha/(1 - alpha^2) = 1/(2 sinh(-log alpha)).
        return self.linear.time(torch.asinh(torch.exp(-log_snr.clamp(min=-300.0)) / 2))
