"""Variance-exploding schedules: alpha = 1, the data stays as it is and noise is heaped upon it.

sigma(t)^2 = f(t)^2 - f(0)^2 for a level f that rises from sigma_min to sigma_max. Taking f(0)^2 off makes t = 0
clean, as everywhere in the core, and is exact: it is the variance that the SDE with level f adds from 0 to t.
With g = log(f(t)/sigma_min) it is sigma = sigma_min sqrt(e^(2 g) - 1).
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.core.schedule import NoiseSchedule


class Exploding(NoiseSchedule):
    """What both share, given g(t)."""

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"sigma_min {sigma_min} and sigma_max {sigma_max} must satisfy 0 < sigma_min < sigma_max")
        self.sigma_min, self.log_range = sigma_min, math.log(sigma_max / sigma_min)

    @abstractmethod
    def _growth(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """g and its slope in t."""

    @abstractmethod
    def _time(self, growth: Tensor) -> Tensor:
        """The t at which g has this value."""

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), self.sigma_min * torch.sqrt(torch.expm1(2 * self._growth(t)[0]))

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self._alpha_sigma(t)[1]
        return torch.zeros_like(t), (sigma + self.sigma_min**2 / sigma) * self._growth(t)[1]

    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return alpha, torch.ones_like(alpha), torch.zeros_like(sigma)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        return self._time(F.softplus(-2 * (log_snr + math.log(self.sigma_min)), threshold=40) / 2)


class VE(Exploding):
    """f geometric: sigma_min (sigma_max/sigma_min)^t. Song et al. 2021 (2011.13456, eq. 30)."""

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        super().__init__(sigma_min, sigma_max)

    def _growth(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t * self.log_range, torch.full_like(t, self.log_range)

    def _time(self, growth: Tensor) -> Tensor:
        return growth / self.log_range


class Karras(Exploding):
    """f^(1/rho) linear in t. Karras et al. 2022 (2206.00364, eq. 5), whose sigma_i are f at t = 1 - i/(N - 1).

    What it adds to VE: equal steps in t are their steps, so the index grids ("trailing") and uniform times of
    training follow their spacing. The rest of EDM is in other tables: parameterization, loss and times.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        super().__init__(sigma_min, sigma_max)
        if rho <= 0:
            raise ValueError(f"rho {rho} must be positive")
        self.rho, self.rise = rho, math.expm1(self.log_range / rho)

    def _growth(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.rho * torch.log1p(t * self.rise), self.rho * self.rise / (1 + t * self.rise)

    def _time(self, growth: Tensor) -> Tensor:
        return torch.expm1(growth / self.rho) / self.rise
