"""Variance-preserving schedules: alpha^2 + sigma^2 = 1, so that data of unit variance keeps it."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.core.schedule import NoiseSchedule


def squares(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha^2, sigma^2) at a log-SNR."""
    return torch.sigmoid(2 * log_snr), torch.sigmoid(-2 * log_snr)


class VariancePreserving(NoiseSchedule):
    """The family's norm, and sigma's slope from alpha's."""

    @abstractmethod
    def _alpha_slope(self, t: Tensor) -> Tensor:
        """d alpha/dt, float64."""

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        (alpha, sigma), slope = self._alpha_sigma(t), self._alpha_slope(t)
        return slope, -alpha * slope / sigma

    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = torch.hypot(alpha, sigma)
        return n, alpha / n, sigma / n


class Linear(VariancePreserving):
    """beta(t) linear, variance preserving: log alpha = -t^2 (beta_max - beta_min)/4 - t beta_min/2.

    Ho et al. 2020 (2006.11239, section 4) in the continuous form of Song et al. 2021 (2011.13456, eq. 33).
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 <= beta_min < beta_max:
            raise ValueError(f"beta_min {beta_min} and beta_max {beta_max} must satisfy 0 <= beta_min < beta_max")
        self.beta_min, self.slope = beta_min, beta_max - beta_min

    def log_alpha(self, t: Tensor) -> Tensor:
        """log alpha at t, float64."""
        return -t * (t * self.slope / 4 + self.beta_min / 2)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(t)
        return log_alpha.exp(), torch.sqrt(-torch.expm1(2 * log_alpha))

    def _alpha_slope(self, t: Tensor) -> Tensor:
        return -(self.beta_min + t * self.slope) / 2 * self.log_alpha(t).exp()

    def time(self, minus_log_alpha: Tensor) -> Tensor:
        """The t at which -log alpha has this value."""
        p = self.beta_min / 2
        return 2 * minus_log_alpha / (p + torch.sqrt(p * p + self.slope * minus_log_alpha))

    def _inverse(self, log_snr: Tensor) -> Tensor:
        # Bounded, because an infinite log-SNR would end in inf/inf instead of t = 1.
        return self.time(F.softplus(-2 * log_snr.clamp(min=-300.0)) / 2)


class Cosine(VariancePreserving):
    """alpha(t) = cos(a(t))/cos(a(0)), variance preserving, a linear in t from s/(1+s) pi/2 up.

    Nichol and Dhariwal 2021 (2102.09672, eq. 17). They bound the last beta by 0.999 so that alpha ends at
    4.9e-5 instead of 0; here the angle ends where log-SNR is `log_snr_min`, which is alpha = 4.5e-5.
    """

    def __init__(self, s: float = 0.008, log_snr_min: float = -10.0) -> None:
        if s < 0:
            raise ValueError(f"s {s} must not be negative")
        self.start = s / (1 + s) * math.pi / 2
        self.span = math.acos(math.cos(self.start) / math.sqrt(1 + math.exp(-2 * log_snr_min))) - self.start

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle, norm = self.start + t * self.span, math.cos(self.start)
        # 1 - cos^2(a)/cos^2(a0) without cancellation near t = 0.
        variance = torch.sin(t * self.span) * torch.sin(angle + self.start)
        return torch.cos(angle) / norm, torch.sqrt(variance) / norm

    def _alpha_slope(self, t: Tensor) -> Tensor:
        return -torch.sin(self.start + t * self.span) * self.span / math.cos(self.start)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        alpha2, sigma2 = squares(log_snr)
        cos, sin = math.cos(self.start), math.sin(self.start)
        angle = torch.atan2(torch.sqrt(sigma2 * cos**2 + sin**2), torch.sqrt(alpha2) * cos)
        return (angle - self.start) / self.span


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Sigmoid(VariancePreserving):
    """alpha^2 falls as a logistic function of t, cut out between `start` and `end` and stretched to [0, 1].

    sigma^2 = (S(x) - S(x0))/(S(x1) - S(x0)), S the logistic function, x0 = start/tau, x1 = end/tau, x linear in t.
    Jabri et al. 2023 (2212.11972, algorithm 1). They bound alpha^2 below by 1e-9; here x ends where log-SNR is
    `log_snr_min`, which is alpha^2 = 2e-9.
    """

    def __init__(self, start: float = -3.0, end: float = 3.0, tau: float = 1.0, log_snr_min: float = -10.0) -> None:
        if not (start < end and tau > 0):
            raise ValueError(f"start {start} must be below end {end}, and tau {tau} positive")
        self.x0, self.x1 = start / tau, end / tau
        self.rise = _logistic(self.x1) - _logistic(self.x0)
        last = _logistic(self.x0) + self.rise * _logistic(-2 * log_snr_min)
        self.span = math.log(last / (1 - last)) - self.x0

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # S(a) - S(b) = sinh((a - b)/2)/(2 cosh(a/2) cosh(b/2)): no cancellation near the ends.
        x = self.x0 + t * self.span
        scale = 2 * self.rise * torch.cosh(x / 2)
        alpha2 = torch.sinh((self.x1 - x) / 2) / (scale * math.cosh(self.x1 / 2))
        sigma2 = torch.sinh(t * self.span / 2) / (scale * math.cosh(self.x0 / 2))
        return torch.sqrt(alpha2), torch.sqrt(sigma2)

    def _alpha_slope(self, t: Tensor) -> Tensor:
        x = self.x0 + t * self.span
        return -torch.sigmoid(x) * torch.sigmoid(-x) * self.span / (2 * self.rise * self._alpha_sigma(t)[0])

    def _inverse(self, log_snr: Tensor) -> Tensor:
        # S(x) and 1 - S(x) each on its own, for the same reason.
        alpha2, sigma2 = squares(log_snr)
        below = _logistic(self.x0) + self.rise * sigma2
        above = _logistic(-self.x1) + self.rise * alpha2
        return (below.log() - above.log() - self.x0) / self.span
