"""Noise schedules: how much data and how much noise there is at time t.

    x_t = alpha(t) x0 + sigma(t) eps,   t in [0, 1],   t = 0 is data, t = 1 is noise
    lambda(t) = log(alpha(t) / sigma(t))          half the log-SNR, called `log_snr` everywhere

Only alpha and sigma enter samplers and losses, so everything in the core works for every schedule of every
family (`schedules`). A family is a norm n(alpha, sigma), homogeneous of degree 1, that is 1 along its paths:

    variance preserving sqrt(alpha^2 + sigma^2)      sub-VP (sigma + sqrt(sigma^2 + 4 alpha^2))/2
    variance exploding  alpha                        rectified flow alpha + sigma

so that any (alpha, sigma) divided by it is the member of the family with the same log-SNR.

Everything is computed in float64 and cast to the dtype of the input last: in float32 the first sigma of
the linear schedule is off by 8e-5, in bfloat16 the first ten are 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


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
    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """n and its derivatives by alpha and by sigma, all float64."""

    @abstractmethod
    def _inverse(self, log_snr: Tensor) -> Tensor:
        """t at a log-SNR, all float64, unbounded."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Both, for the price of one."""
        alpha, sigma = self._alpha_sigma(t.double())
        return alpha.to(t.dtype), sigma.to(t.dtype)

    def alpha(self, t: Tensor) -> Tensor:
        """The share of data."""
        return self.alpha_sigma(t)[0]

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise."""
        return self.alpha_sigma(t)[1]

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
