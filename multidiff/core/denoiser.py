"""A denoiser: from x_t and t to an estimate of the clean data. All that samplers and guidance ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from multidiff.core.parameterization import Parameterization
from multidiff.core.schedule import NoiseSchedule, expand

Condition = Mapping[str, Tensor] | None
"""Named tensors (B, ...) that a network is told besides x_t and the noise level."""

Network = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor | tuple[Tensor, Tensor]]
"""(x (B, *event), log_snr (B,), condition) -> prediction (B, *event), or (prediction, v): see `samplers.learned`."""


@dataclass(frozen=True)
class Estimate:
    """What a denoiser knows about the clean data behind x_t: its mean x0 (B, *event) = E[x0 | x_t].

    `v` (B, *event): where it has learned it, the place of a reverse step's variance between the small one (-1) and the
    large one (1); see `samplers.learned`.
    """

    x0: Tensor
    v: Tensor | None = None

    def each(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """The function of x0, and of v where there is one."""
        return Estimate(function(self.x0), None if self.v is None else function(self.v))


class Denoiser(Protocol):
    """x_t (B, *event), t (B, ...) float64, condition -> Estimate."""

    @property
    def schedule(self) -> NoiseSchedule: ...

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate: ...


def identity(x0: Tensor) -> Tensor:
    """The clamp of data without bounds."""
    return x0


def noise_estimate(schedule: NoiseSchedule, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """The eps that goes with an estimate of x0: (x_t - alpha x0)/sigma, for t > 0."""
    t = t.double()
    return (x_t - expand(schedule.alpha(t), x_t) * x0) / expand(schedule.sigma(t), x_t)


def keep_known(x: Tensor, condition: Condition) -> Tensor:
    """x with condition["known"] in its place where condition["mask"] is 1; x itself without these keys."""
    if not condition or "known" not in condition or "mask" not in condition:
        return x
    return torch.where(condition["mask"].bool(), condition["known"].to(x), x)


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network with the schedule and the parameterization it was trained for.

    The network is called as network(x, log_snr (B,), condition) with x scaled by the parameterization, and
    with the known values in place of x where condition["mask"] = 1. `clamp` holds x0 in the bounds of the
    medium's data. Raises ValueError when the prediction cannot determine x0 at t = 1 (noise prediction where
    alpha = 0: zero terminal SNR, rectified flow).
    """

    network: Network
    schedule: NoiseSchedule
    parameterization: Parameterization
    clamp: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        if not self.parameterization.factor(self.schedule, torch.ones(())) > 0:
            raise ValueError(
                f"{self.parameterization.name} prediction cannot determine x0 at t = 1, where "
                f"{type(self.schedule).__name__} has alpha = 0; predict velocity, flow or data"
            )

    def outputs(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> tuple[Tensor, Tensor | None]:
        """The network's prediction at x_t (B, *event), t (B, ...), and v where it learns variances; in x_t's dtype."""
        t = t.double()
        x = keep_known(self.parameterization.scaled(self.schedule, x_t, t), condition)
        out = self.network(x, self.schedule.log_snr(t).to(x), condition or {})
        prediction, v = out if isinstance(out, tuple) else (out, None)
        return prediction.to(x_t.dtype), None if v is None else v.to(x_t.dtype)

    def prediction(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Tensor:
        """The first of `outputs`."""
        return self.outputs(x_t, t, condition)[0]

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        prediction, v = self.outputs(x_t, t, condition)
        return Estimate(self.x0(x_t, prediction, t, condition), v)

    def x0(self, x_t: Tensor, prediction: Tensor, t: Tensor, condition: Condition = None) -> Tensor:
        """The clean data that a prediction means, in bounds, with what is known in its place."""
        x0 = self.clamp(self.parameterization.x0(self.schedule, x_t, prediction, t))
        return keep_known(x0, condition)


@dataclass(frozen=True)
class Rescheduled:
    """A denoiser that was trained under one schedule, used under another.

    At one log-SNR the x_t of all schedules differ by a factor alone (Karras et al. 2022, 2206.00364, section 2), so
    that the path and its noise may be changed after training. Levels beyond those of training are taken for its end.
    A learned variance keeps its place between the small and the large one, which is exact from one variance-preserving
    schedule to another.
    """

    denoiser: Denoiser
    schedule: NoiseSchedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        trained = self.denoiser.schedule
        log_snr = self.schedule.log_snr(t.double())
        own = trained.inverse(log_snr)
        (alpha, sigma), (own_alpha, own_sigma) = self.schedule.alpha_sigma(t.double()), trained.alpha_sigma(own)
        # The ratios are equal; each is well defined at its own end.
        factor = torch.where(log_snr > 0, own_alpha / alpha, own_sigma / sigma)
        return self.denoiser(expand(factor, x_t) * x_t, own, condition)
