"""Training objectives: every one is w(lambda) |x0_hat - x0|^2 at a random t.

It is computed as an error of the network's own prediction, which is well conditioned at every noise level:
with factor = |prediction error|^2 / |x0 error|^2 (`Parameterization.factor`) it is w/factor |prediction - target|^2.

    simple    w = factor            the plain MSE of the prediction, Ho et al. 2020 (2006.11239, eq. 14)
    min-snr   w = min(SNR, gamma)   Hang et al. 2023 (2303.09556), right for every parameterization
    edm       w = SNR + 1/s^2       Karras et al. 2022 (2206.00364, table 1), s = sigma_data

and t is drawn by u uniform in [0, 1): `uniform`, `lognormal` (of sigma/alpha, Karras et al. 2022) or `logitnormal`
(of t, Esser et al. 2024, 2403.03206, eq. 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, NetworkDenoiser
from multidiff.core.method import Method
from multidiff.core.schedule import NoiseSchedule, expand

Weighting = Callable[[Tensor, Tensor], Tensor]
"""(log_snr, factor) -> w, float64 of one shape."""

Times = Callable[[Tensor, NoiseSchedule], Tensor]
"""(u uniform in [0, 1), schedule) -> t in (0, 1], float64."""


def simple() -> Weighting:
    """The parameterization's own mean squared error."""
    return lambda log_snr, factor: factor


def min_snr(gamma: float = 5.0) -> Weighting:
    """min(SNR, gamma)."""
    if gamma <= 0:
        raise ValueError(f"gamma {gamma} must be positive")
    return lambda log_snr, factor: torch.exp(2 * log_snr).clamp(max=gamma)


def edm(sigma_data: float = 1.0) -> Weighting:
    """SNR + 1/sigma_data^2."""
    if sigma_data <= 0:
        raise ValueError(f"sigma_data {sigma_data} must be positive")
    return lambda log_snr, factor: torch.exp(2 * log_snr) + sigma_data**-2


def uniform() -> Times:
    """t uniform in (0, 1]."""
    return lambda u, schedule: 1 - u.double()


def _normal(u: Tensor) -> Tensor:
    """Standard normal values of u in [0, 1), kept finite at 0."""
    return torch.special.ndtri(u.double().clamp(min=1e-9))


def _check_normal(mean: float, std: float) -> None:
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ValueError(f"mean {mean} must be finite and std {std} positive")


def lognormal(mean: float = -1.2, std: float = 1.2) -> Times:
    """log(sigma/alpha) normal."""
    _check_normal(mean, std)
    return lambda u, schedule: schedule.inverse(-(mean + std * _normal(u)))


def logitnormal(mean: float = 0.0, std: float = 1.0) -> Times:
    """log(t/(1 - t)) normal."""
    _check_normal(mean, std)
    return lambda u, schedule: torch.sigmoid(mean + std * _normal(u))


def stratified(count: int, generator: torch.Generator | None = None) -> Tensor:
    """u (count,) float64 in [0, 1), each uniform, together evenly spread: less variance in the loss.

    Kingma et al. 2021 (2107.00630, appendix I.1).
    """
    first = torch.rand((), generator=generator, dtype=torch.float64)
    return (first + torch.arange(count, dtype=torch.float64) / count) % 1.0


@dataclass(frozen=True)
class DiffusionLoss:
    """The loss of each sample at one random time."""

    weighting: Weighting
    times: Times

    def __call__(
        self,
        denoiser: NetworkDenoiser,
        x0: Tensor,
        noise: Tensor,
        u: Tensor,
        condition: Condition = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(loss (B,) in x0's dtype, log_snr (B,) float64 on the CPU or u's device).

        x0, noise (B, *event); u (B,) uniform in [0, 1), for example from `stratified`. The loss is the mean over the
        elements that count: those with condition["mask"] != 1 (a known element is no prediction), weighted by
        `weight`, which broadcasts to x0.
        """
        schedule, parameterization = denoiser.schedule, denoiser.parameterization
        t = self.times(u, schedule)
        target = parameterization.target(schedule, x0, noise, t)
        prediction = denoiser.prediction(schedule.diffuse(x0, noise, t), t, condition)
        log_snr, factor = schedule.log_snr(t), parameterization.factor(schedule, t)
        scale = expand(self.weighting(log_snr, factor) / factor, x0)
        counts = torch.ones_like(x0) if weight is None else weight.to(x0).expand_as(x0)
        if condition and "mask" in condition:
            counts = counts * (1 - condition["mask"].to(x0))
        error = (scale * counts * (prediction - target) ** 2).flatten(1).sum(1)
        return error / counts.flatten(1).sum(1).clamp(min=torch.finfo(x0.dtype).tiny), log_snr


def by_log_snr(loss: Tensor, log_snr: Tensor, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean loss and count in each of the len(edges) + 1 bins of log-SNR, float64; NaN in an empty bin."""
    inner = torch.tensor(edges, dtype=torch.float64)
    index = torch.bucketize(log_snr.detach().double().cpu(), inner)
    counts = torch.zeros(len(inner) + 1, dtype=torch.float64).index_add_(0, index, torch.ones_like(index).double())
    sums = torch.zeros_like(counts).index_add_(0, index, loss.detach().double().cpu())
    return sums / counts, counts


LOSSES: dict[str, Method] = {
    "simple": Method(simple, "plain mean squared error of the prediction", "Ho et al. 2020, 2006.11239"),
    "min-snr": Method(min_snr, "weight on x0 is min(SNR, gamma)", "Hang et al. 2023, 2303.09556"),
    "edm": Method(edm, "weight on x0 is SNR + 1/sigma_data^2", "Karras et al. 2022, 2206.00364"),
}

TIMES: dict[str, Method] = {
    "uniform": Method(uniform, "t uniform", "Ho et al. 2020, 2006.11239"),
    "lognormal": Method(lognormal, "log(sigma/alpha) normal", "Karras et al. 2022, 2206.00364"),
    "logitnormal": Method(logitnormal, "logit of t normal", "Esser et al. 2024, 2403.03206"),
}
