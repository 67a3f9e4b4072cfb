"""Training objectives: every one is w(lambda) |x0_hat - x0|^2 at a random t.

It is computed as an error of the network's own prediction, which is well conditioned at every noise level:
with factor = |prediction error|^2 / |x0 error|^2 (`Parameterization.factor`) it is w/factor |prediction - target|^2.

    simple        w = factor                          the prediction's plain MSE, Ho et al. 2020 (2006.11239, eq. 14)
    min-snr       w = min(SNR, gamma)                 Hang et al. 2023 (2303.09556), right for every parameterization
    snr           w = SNR                             the plain error of eps, whatever is predicted; where t is drawn
                                                      by `log-snr` the variational bound, 2107.00630 (eq. 17)
    soft-min-snr  w = SNR gamma/(SNR + gamma)         Crowson et al. 2024 (2401.11605, section 3.3)
    p2            w = SNR/(k + SNR)^gamma             Choi et al. 2022 (2204.00227, eq. 8)
    snr+1         w = SNR + 1                         Salimans and Ho 2022 (2202.00512, section 4)
    edm           w = SNR + 1/s^2                     Karras et al. 2022 (2206.00364, table 1), s = sigma_data
    hybrid        w = factor, plus the variational bound of a learned variance, 2102.09672 (see `variance`)
    uncertainty   w = (SNR + 1/s^2)/e^u(lambda), + u  Karras et al. 2024 (2312.02696, eq. 14 and 16), u learned

and t is drawn by u uniform in [0, 1): `uniform`, `log-snr` (uniform in log-SNR), `lognormal` (of sigma/alpha, Karras
et al. 2022) or `logitnormal` (of t, Esser et al. 2024, 2403.03206, eq. 19), or by the losses seen so far (`adaptive`).
With huber = c > 0 the square e^2 of an element's error is 2 c^2 (sqrt(1 + (e/c)^2) - 1), which outliers move less
(Charbonnier et al. 1997).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.adaptive import ImportanceTimes, Uncertainty
from multidiff.core.denoiser import Condition, Estimate, NetworkDenoiser
from multidiff.core.method import Method
from multidiff.core.schedule import NoiseSchedule, expand
from multidiff.core.variance import Hybrid

Weighting = Callable[[Tensor, Tensor], Tensor]
"""(log_snr, factor) -> w, float64 of one shape."""

Times = Callable[[Tensor, NoiseSchedule], Tensor]
"""(u uniform in [0, 1), schedule) -> t in (0, 1], float64."""


def simple() -> Weighting:
    """The parameterization's own mean squared error."""
    return lambda log_snr, factor: factor


def snr() -> Weighting:
    """SNR."""
    return lambda log_snr, factor: torch.exp(2 * log_snr)


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


def soft_min_snr(gamma: float = 4.0) -> Weighting:
    """SNR gamma/(SNR + gamma): min-SNR without the kink."""
    if gamma <= 0:
        raise ValueError(f"gamma {gamma} must be positive")
    return lambda log_snr, factor: 1 / (torch.exp(-2 * log_snr) + 1 / gamma)


def p2(gamma: float = 1.0, k: float = 1.0) -> Weighting:
    """SNR/(k + SNR)^gamma."""
    if gamma < 0 or k <= 0:
        raise ValueError(f"gamma {gamma} must not be negative and k {k} be positive")

    def weighting(log_snr: Tensor, factor: Tensor) -> Tensor:
        snr = torch.exp(2 * log_snr)
        return snr / (k + snr) ** gamma

    return weighting


def snr_plus_one() -> Weighting:
    """SNR + 1: the plain error of v under a variance-preserving schedule, whatever is predicted."""
    return edm(1.0)


def uniform() -> Times:
    """t uniform in (0, 1]."""
    return lambda u, schedule: 1 - u.double()


def uniform_log_snr(start: float = -6.0, end: float = 5.0) -> Times:
    """log-SNR uniform from `start` (or the schedule's own end, where that is less noisy) to `end`."""
    if start >= end:
        raise ValueError(f"start {start} must be below end {end}")

    def times(u: Tensor, schedule: NoiseSchedule) -> Tensor:
        low = max(start, float(schedule.log_snr(torch.ones((), dtype=torch.float64))))
        return schedule.inverse(low + (end - low) * u.double())

    return times


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
    """The loss of each sample at one random time. Raises ValueError for the learned uncertainty with importance: what
    the one evens out the other draws by, and its u would learn the correction too."""

    weighting: Weighting
    times: Times
    huber: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.weighting, Uncertainty) and isinstance(self.times, ImportanceTimes):
            raise ValueError("the loss 'uncertainty' evens out what the times 'importance' draw by; take one of them")

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
        x_t = schedule.diffuse(x0, noise, t)
        prediction, v = denoiser.outputs(x_t, t, condition)
        log_snr, factor = schedule.log_snr(t), parameterization.factor(schedule, t)
        scale = expand(self.weighting(log_snr, factor) / factor, x0)
        error = scale * self.square(prediction - target)
        if isinstance(self.weighting, Hybrid):
            estimate = Estimate(denoiser.x0(x_t, prediction, t, condition), v)
            error = error + self.weighting.bound(denoiser, x0, t, estimate)
        loss = counted(error, condition, weight)
        if isinstance(self.times, ImportanceTimes):
            corrected = loss * self.times.correction(t).to(loss)
            self.times.update(t, loss)
            loss = corrected
        if isinstance(self.weighting, Uncertainty):
            loss = loss + self.weighting.log_variance(log_snr).to(loss)
        return loss, log_snr

    def square(self, error: Tensor) -> Tensor:
        """Of each element's error, less of large ones with huber."""
        if not self.huber:
            return error**2
        return 2 * self.huber**2 * (torch.sqrt(1 + (error / self.huber) ** 2) - 1)


def counted(error: Tensor, condition: Condition, weight: Tensor | None) -> Tensor:
    """The mean (B,) over the elements of an error (B, *event) that count: those not known, weighted; 0 without any."""
    counts = torch.ones_like(error) if weight is None else weight.to(error).expand_as(error)
    if condition and "mask" in condition:
        counts = counts * (1 - condition["mask"].to(error))
    return (counts * error).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=torch.finfo(error.dtype).tiny)


def by_log_snr(loss: Tensor, log_snr: Tensor, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mean loss and count in each of the len(edges) + 1 bins of log-SNR, float64; NaN in an empty bin."""
    inner = torch.tensor(edges, dtype=torch.float64)
    index = torch.bucketize(log_snr.detach().double().cpu(), inner)
    counts = torch.zeros(len(inner) + 1, dtype=torch.float64).index_add_(0, index, torch.ones_like(index).double())
    sums = torch.zeros_like(counts).index_add_(0, index, loss.detach().double().cpu())
    return sums / counts, counts


LOSSES: dict[str, Method] = {
    "simple": Method(simple, "plain mean squared error of the prediction", "Ho et al. 2020, 2006.11239"),
    "snr": Method(snr, "weight on x0 is SNR; a bound with times log-snr", "Kingma et al. 2021, 2107.00630"),
    "min-snr": Method(min_snr, "weight on x0 is min(SNR, gamma)", "Hang et al. 2023, 2303.09556"),
    "soft-min-snr": Method(soft_min_snr, "weight on x0 is SNR gamma/(SNR + gamma)", "Crowson et al. 2024, 2401.11605"),
    "p2": Method(p2, "weight on x0 is SNR/(k + SNR)^gamma", "Choi et al. 2022, 2204.00227"),
    "snr+1": Method(snr_plus_one, "weight on x0 is SNR + 1", "Salimans and Ho 2022, 2202.00512"),
    "edm": Method(edm, "weight on x0 is SNR + 1/sigma_data^2", "Karras et al. 2022, 2206.00364"),
    "hybrid": Method(Hybrid, "simple, and the bound for a learned variance", "Nichol and Dhariwal 2021, 2102.09672"),
    "uncertainty": Method(Uncertainty, "EDM's, divided by a learned variance", "Karras et al. 2024, 2312.02696"),
}

TIMES: dict[str, Method] = {
    "uniform": Method(uniform, "t uniform", "Ho et al. 2020, 2006.11239"),
    "log-snr": Method(uniform_log_snr, "log-SNR uniform", "Kingma et al. 2021, 2107.00630"),
    "lognormal": Method(lognormal, "log(sigma/alpha) normal", "Karras et al. 2022, 2206.00364"),
    "logitnormal": Method(logitnormal, "logit of t normal", "Esser et al. 2024, 2403.03206"),
    "importance": Method(ImportanceTimes, "t as often as its loss is high", "Nichol and Dhariwal 2021, 2102.09672"),
}
