"""Schedules made of schedules: more or less noise at every time, and an end without any data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multidiff.core.schedule import NoiseSchedule
from multidiff.core.schedules.preserving import VariancePreserving, squares


class Shifted(NoiseSchedule):
    """sigma/alpha multiplied by `shift` at every t: log-SNR moved by -log(shift), in the family of `base`.

    More elements with the same content need more noise to hide it: shift 2 for twice the resolution. Hoogeboom et
    al. 2023 (2301.11093, eq. 3); on rectified flow it is t -> shift t/(1 + (shift - 1) t), Esser et al. 2024
    (2403.03206, eq. 23).
    """

    def __init__(self, base: NoiseSchedule, shift: float) -> None:
        if not 0 < shift < float("inf"):
            raise ValueError(f"shift {shift} must be positive and finite")
        self.base, self.shift, self.levels = base, shift, base.levels

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.base._alpha_sigma(t)
        n, _, _ = self.base._norm(alpha, self.shift * sigma)
        return alpha / n, self.shift * sigma / n

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.base._alpha_sigma(t)
        alpha_slope, sigma_slope = self.base._derivatives(t)
        sigma, sigma_slope = self.shift * sigma, self.shift * sigma_slope
        n, by_alpha, by_sigma = self.base._norm(alpha, sigma)
        n_slope = by_alpha * alpha_slope + by_sigma * sigma_slope
        return (alpha_slope - alpha * n_slope / n) / n, (sigma_slope - sigma * n_slope / n) / n

    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.base._norm(alpha, sigma)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        return self.base._inverse(log_snr + math.log(self.shift))


class ZeroTerminalSNR(VariancePreserving):
    """A variance-preserving schedule whose alpha is moved and stretched to end at exactly 0.

    alpha = (base alpha - end)/(1 - end), end = base alpha at t = 1. Lin et al. 2023 (2305.08891, algorithm 1;
    theirs keeps alpha of the first level, ours alpha(0) = 1: 3e-5 apart on Stable Diffusion's table). At t = 1 nothing
    of x0 is left, so a prediction of the noise says nothing of it: `NetworkDenoiser` refuses it there.
    """

    def __init__(self, base: NoiseSchedule) -> None:
        if not isinstance(base, VariancePreserving):
            raise ValueError(
                f"{type(base).__name__} does not preserve variance; zero terminal SNR is for schedules that do "
                "(rectified flow ends without data anyway, a variance-exploding schedule never can)"
            )
        self.base, self.levels = base, base.levels
        self.end = float(base.alpha(torch.ones((), dtype=torch.float64)))

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        base_alpha, base_sigma = self.base._alpha_sigma(t)
        alpha = torch.where(t < 1, (base_alpha - self.end).clamp(min=0) / (1 - self.end), 0.0)
        # 1 - alpha^2 by way of 1 - base alpha = base sigma^2/(1 + base alpha), without cancellation near t = 0.
        return alpha, base_sigma * torch.sqrt((1 + alpha) / ((1 + base_alpha) * (1 - self.end)))

    def _alpha_slope(self, t: Tensor) -> Tensor:
        return self.base._derivatives(t)[0] / (1 - self.end)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        alpha2, sigma2 = squares(log_snr)
        alpha = torch.sqrt(alpha2)
        base_alpha = alpha + self.end * (sigma2 / (1 + alpha))
        base_sigma2 = (1 + base_alpha) * (1 - self.end) * sigma2 / (1 + alpha)
        return self.base._inverse(base_alpha.log() - base_sigma2.log() / 2)
