"""What a network predicts: one (a, b) table.

    prediction = a x0 + b eps

    data      ( 1,            0)
    noise     ( 0,            1)              Ho et al. 2020
    velocity  (-sigma,        alpha)          Salimans and Ho 2022 (2202.00512, section 4)
    flow      ( alpha',       sigma')         dx/dt; rectified flow: eps - x0
    score     ( 0,           -1/sigma)        Song et al. 2021
    edm       ( sigma/(s r), -alpha s/r)      Karras et al. 2022 (2206.00364, table 1), s = sigma_data,
                                              r = sqrt(alpha^2 s^2 + sigma^2); input scaled by c_in = 1/r

With x_t = alpha x0 + sigma eps every conversion follows:

    x0  = (sigma prediction - b x_t) / (a sigma - b alpha)
    |prediction error|^2 = ((a sigma - b alpha)/sigma)^2 |x0 error|^2

(with s = 1 and a variance-preserving schedule EDM's network output is -v).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.method import Method
from multidiff.core.schedule import NoiseSchedule, expand

Coefficients = Callable[[NoiseSchedule, Tensor], tuple[Tensor, Tensor]]


def _unscaled(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    return torch.ones_like(t)


@dataclass(frozen=True)
class Parameterization:
    """One row of the table. t is (B, ...), tensors are (B, *event)."""

    name: str
    coefficients: Coefficients
    """(schedule, t) -> (a, b)."""
    input_scale: Callable[[NoiseSchedule, Tensor], Tensor] = _unscaled
    """(schedule, t) -> what x_t is multiplied by before the network sees it."""

    def scaled(self, schedule: NoiseSchedule, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t as the network sees it; x_t itself where nothing scales it."""
        return x_t if self.input_scale is _unscaled else expand(self.input_scale(schedule, t.double()), x_t) * x_t

    def target(self, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should have predicted."""
        a, b = self.coefficients(schedule, t.double())
        return expand(a, x0) * x0 + expand(b, x0) * noise

    def x0(self, schedule: NoiseSchedule, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The clean data that a prediction means."""
        t = t.double()
        a, b = self.coefficients(schedule, t)
        alpha, sigma = schedule.alpha_sigma(t)
        divisor = a * sigma - b * alpha
        return expand(sigma / divisor, x_t) * prediction - expand(b / divisor, x_t) * x_t

    def factor(self, schedule: NoiseSchedule, t: Tensor) -> Tensor:
        """|prediction error|^2 / |x0 error|^2, float64: the weight on x0 that the plain MSE amounts to.

        0 or infinite where the prediction does not determine x0.
        """
        t = t.double()
        a, b = self.coefficients(schedule, t)
        return (a - b * schedule.alpha(t) / schedule.sigma(t)) ** 2


def data() -> Parameterization:
    """x0 itself."""
    return Parameterization("data", lambda schedule, t: (torch.ones_like(t), torch.zeros_like(t)))


def noise() -> Parameterization:
    """eps."""
    return Parameterization("noise", lambda schedule, t: (torch.zeros_like(t), torch.ones_like(t)))


def velocity() -> Parameterization:
    """v = alpha eps - sigma x0."""
    return Parameterization("velocity", lambda schedule, t: (-schedule.sigma(t), schedule.alpha(t)))


def flow() -> Parameterization:
    """dx_t/dt at fixed x0 and eps."""
    return Parameterization("flow", lambda schedule, t: schedule.derivatives(t))


def score() -> Parameterization:
    """grad log p(x_t) = -eps/sigma."""
    return Parameterization("score", lambda schedule, t: (torch.zeros_like(t), -1 / schedule.sigma(t)))


def edm(sigma_data: float = 1.0) -> Parameterization:
    """EDM's preconditioned network output for data of standard deviation `sigma_data`."""
    if sigma_data <= 0:
        raise ValueError(f"sigma_data {sigma_data} must be positive")

    def root(schedule: NoiseSchedule, t: Tensor) -> Tensor:
        return torch.sqrt((schedule.alpha(t) * sigma_data) ** 2 + schedule.sigma(t) ** 2)

    def coefficients(schedule: NoiseSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
        r = root(schedule, t)
        return schedule.sigma(t) / (sigma_data * r), -schedule.alpha(t) * sigma_data / r

    return Parameterization("edm", coefficients, lambda schedule, t: 1 / root(schedule, t))


PARAMETERIZATIONS: dict[str, Method] = {
    "data": Method(data, "the clean data x0", "Ho et al. 2020, 2006.11239"),
    "noise": Method(noise, "the noise eps", "Ho et al. 2020, 2006.11239"),
    "velocity": Method(velocity, "v = alpha eps - sigma x0", "Salimans and Ho 2022, 2202.00512"),
    "flow": Method(flow, "dx/dt; eps - x0 on straight paths", "Lipman et al. 2022, 2210.02747"),
    "score": Method(score, "grad log p(x_t)", "Song et al. 2021, 2011.13456"),
    "edm": Method(edm, "preconditioned network output", "Karras et al. 2022, 2206.00364"),
}
