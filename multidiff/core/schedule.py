"""Noise schedules: how much data and how much noise there is at time t.

    x_t = alpha(t) x0 + sigma(t) eps,   t in [0, 1],   t = 0 is data, t = 1 is noise
    lambda(t) = log(alpha(t) / sigma(t))          half the log-SNR, called `log_snr` everywhere

Only alpha and sigma enter samplers and losses, so everything in the core works for every schedule:
variance-preserving ones (alpha^2 + sigma^2 = 1) and rectified flow (alpha = 1 - t, sigma = t) alike.

Everything is computed in float64 and cast to the dtype of the input last: in float32 the first sigma of
the linear schedule is off by 8e-5, in bfloat16 the first ten are 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.core.method import Method


def expand(v: Tensor, x: Tensor) -> Tensor:
    """v (B, ...) with ones appended to its shape until it broadcasts with x (B, *event); x's dtype and device."""
    return v.to(x).reshape(v.shape + (1,) * (x.ndim - v.ndim))


class NoiseSchedule(ABC):
    """alpha and sigma as functions of t, any shape in, the same shape and dtype out."""

    levels: int = 1000
    """How many equal parts of [0, 1] the index grids (leading, trailing, linspace) choose from."""

    @abstractmethod
    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t, all float64."""

    @abstractmethod
    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """d alpha/dt and d sigma/dt at t, all float64."""

    @abstractmethod
    def _inverse(self, log_snr: Tensor) -> Tensor:
        """t at a log-SNR, all float64, unbounded."""

    def alpha(self, t: Tensor) -> Tensor:
        """The share of data."""
        return self._alpha_sigma(t.double())[0].to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        return self._alpha_sigma(t.double())[1].to(t.dtype)

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha/dt, d sigma/dt); the latter may be infinite at t = 0."""
        alpha, sigma = self._derivatives(t.double())
        return alpha.to(t.dtype), sigma.to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda = log(alpha/sigma): +inf where sigma = 0, -inf where alpha = 0."""
        alpha, sigma = self._alpha_sigma(t.double())
        return (alpha.log() - sigma.log()).to(t.dtype)

    def inverse(self, log_snr: Tensor) -> Tensor:
        """The t in [0, 1] at which log_snr(t) has this value, or the nearest end."""
        return self._inverse(log_snr.double()).clamp(0.0, 1.0).to(log_snr.dtype)

    def diffuse(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma noise for x0, noise (B, *event) and t (B, ...)."""
        alpha, sigma = self._alpha_sigma(t.double())
        return expand(alpha, x0) * x0 + expand(sigma, x0) * noise


def _variance_preserving_inverse(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha^2, sigma^2) of a variance-preserving schedule at a log-SNR."""
    return torch.sigmoid(2 * log_snr), torch.sigmoid(-2 * log_snr)


class Linear(NoiseSchedule):
    """beta(t) linear, variance preserving: log alpha = -t^2 (beta_max - beta_min)/4 - t beta_min/2.

    Ho et al. 2020 (2006.11239, section 4) in the continuous form of Song et al. 2021 (2011.13456, eq. 33).
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 <= beta_min < beta_max:
            raise ValueError(f"beta_min {beta_min} and beta_max {beta_max} must satisfy 0 <= beta_min < beta_max")
        self.beta_min, self.slope = beta_min, beta_max - beta_min

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -t * (t * self.slope / 4 + self.beta_min / 2)

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self._log_alpha(t)
        return log_alpha.exp(), torch.sqrt(-torch.expm1(2 * log_alpha))

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self._alpha_sigma(t)
        half_beta = (self.beta_min + t * self.slope) / 2
        return -half_beta * alpha, half_beta * alpha**2 / sigma

    def _inverse(self, log_snr: Tensor) -> Tensor:
        # Bounded, because an infinite log-SNR would end in inf/inf instead of t = 1.
        minus_log_alpha = F.softplus(-2 * log_snr.clamp(min=-300.0)) / 2
        p = self.beta_min / 2
        return 2 * minus_log_alpha / (p + torch.sqrt(p * p + self.slope * minus_log_alpha))


class Cosine(NoiseSchedule):
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

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self._alpha_sigma(t)
        slope = -torch.sin(self.start + t * self.span) * self.span / math.cos(self.start)
        return slope, -alpha * slope / sigma

    def _inverse(self, log_snr: Tensor) -> Tensor:
        alpha2, sigma2 = _variance_preserving_inverse(log_snr)
        cos, sin = math.cos(self.start), math.sin(self.start)
        angle = torch.atan2(torch.sqrt(sigma2 * cos**2 + sin**2), torch.sqrt(alpha2) * cos)
        return (angle - self.start) / self.span


class RectifiedFlow(NoiseSchedule):
    """alpha = 1 - t, sigma = t: straight paths. Liu et al. 2022 (2209.03003), Lipman et al. 2022 (2210.02747)."""

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr)


class Tabulated(NoiseSchedule):
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
        rise = table[left + 1] - table[left]
        return table[left] + rise * (position - left), rise * self.levels

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha2, sigma2 = _variance_preserving_inverse(self._interpolated(t)[0])
        below = t * self.levels < 1
        sigma = torch.where(below, t * self.levels, 1.0) * torch.sqrt(sigma2)
        return torch.where(below, torch.sqrt(1 - sigma**2), torch.sqrt(alpha2)), sigma

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self._alpha_sigma(t)
        first = torch.sigmoid(-2 * self.table[0]).sqrt().to(t.device) * self.levels
        sigma_slope = torch.where(t * self.levels < 1, first, -sigma * alpha**2 * self._interpolated(t)[1])
        return -sigma * sigma_slope / alpha, sigma_slope

    def _inverse(self, log_snr: Tensor) -> Tensor:
        rising = -self.table.to(log_snr.device)
        right = torch.searchsorted(rising, -log_snr).clamp(1, self.levels - 1)
        share = (-log_snr - rising[right - 1]) / (rising[right] - rising[right - 1])
        sigma = torch.sigmoid(-2 * log_snr).sqrt()
        first = torch.sigmoid(2 * rising[0]).sqrt()
        return torch.where(-log_snr < rising[0], sigma / first, right + share) / self.levels


SCHEDULES: dict[str, Method] = {
    "linear": Method(Linear, "linear beta(t), variance preserving", "Ho et al. 2020, 2006.11239"),
    "cosine": Method(Cosine, "cosine alpha(t), variance preserving", "Nichol and Dhariwal 2021, 2102.09672"),
    "flow": Method(RectifiedFlow, "straight paths, alpha = 1 - t", "Liu et al. 2022, 2209.03003"),
    "tabulated": Method(Tabulated.linear, "a discrete chain's betas", "Ho et al. 2020, 2006.11239"),
}
