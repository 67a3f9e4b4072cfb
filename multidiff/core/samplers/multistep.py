"""DPM-Solver++: multistep solvers of order 1 to 3. Lu et al. 2022 (2211.01095).

The probability-flow ODE is solved exactly but for x0 as a function D(lambda):

    x_s = (sigma_s/sigma_t) x_t + sigma_s * integral over [lambda_t, lambda_s] of e^u D(u) du

D is taken as a polynomial through the last estimates, D_0 (now), D_1, D_2, at distances h_1 = lambda_t - lambda_1,
h_2 = lambda_1 - lambda_2 back, r_0 = h_1/h, r_1 = h_2/h; D' and D'' are its derivatives times h and h^2:

    x_s = (sigma_s/sigma_t) x_t + alpha_s (1 - e^-h) D_0 + alpha_s phi_1 D' - alpha_s phi_2 D''
    phi_1 = 1 - (1 - e^-h)/h,   phi_2 = (e^-h - 1 + h)/h^2 - 1/2
    d_0 = (D_0 - D_1)/r_0,  d_1 = (D_1 - D_2)/r_1
    D' = d_0 + r_0/(r_0 + r_1) (d_0 - d_1),   D'' = 2 (d_0 - d_1)/(r_0 + r_1)

(`polynomial` has the integral of any degree, which this is for degree 2). The paper's 2M takes (1 - e^-h)/2 for phi_1
("midpoint"). Published codes leave the 2 out of D'', which makes 3M of second order. Where h is infinite (the step into
sigma_s = 0) only D_0 counts; a past interval of infinite length (out of alpha = 0) gives r = infinity, which takes the
estimate before it out of the polynomial.

The SDE variant solves the reverse SDE in the same way; its order 1 is DDIM with eta = 1, its order 3 takes the
polynomial under the weight e^2u (of both, a step more than twice as long as the one before takes D'' for 0):

    x_s = (sigma_s/sigma_t) e^-h x_t + alpha_s (1 - e^-2h) (D_0 + D'/2) + sigma_s sqrt(1 - e^-2h) z
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.polynomial import REACH, Moments, growing, weights
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import NoiseSchedule

Rule = Literal["midpoint", "heun"]


@dataclass(frozen=True)
class DPMSolver(OneEvaluation):
    """Deterministic, one evaluation a step; the first steps of a run are of as high an order as its history allows.

    `rule` of the second-order step: "midpoint" (the paper's 2M) or "heun" (exact for D linear in lambda).
    `published` halves D'' as diffusers and k-diffusion do, for comparison with them.
    """

    order: int = 2
    rule: Rule = "midpoint"
    published: bool = False

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order {self.order} must be 1, 2 or 3")
        if self.rule not in ("midpoint", "heun"):
            raise ValueError(f"rule '{self.rule}' must be 'midpoint' or 'heun'")

    @property
    def memory(self) -> int:
        return self.order - 1

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        moments = _halved(growing(step.h)) if self.published else growing(step.h)
        reach = math.inf if self.published else REACH
        on_changes = weights(moments, _nodes(schedule, step, t, past), reach, self.rule == "midpoint")
        return _solved(step, torch.ones_like(step.decay), on_changes)


@dataclass(frozen=True)
class SDEDPMSolver(OneEvaluation):
    """Stochastic, one evaluation a step, order 1 to 3; the paper has 1 and 2, k-diffusion 3 (with half of D'')."""

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order {self.order} must be 1, 2 or 3")

    @property
    def memory(self) -> int:
        return self.order - 1

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        on_changes = weights(growing(2 * step.h), _nodes(schedule, step, t, past), REACH, midpoint=True)
        solved = _solved(step, step.decay, on_changes)
        return solved._replace(noise=step.sigma_s * torch.sqrt(1 - step.decay**2))


def _solved(step: Transition, kept: Tensor, on_changes: Sequence[Tensor]) -> Weights:
    """The step that keeps sigma_s/sigma_t times `kept` of x_t, given the weights of what x0 differed by before."""
    on_past = tuple(torch.where(step.sigma_s > 0, step.alpha_s * weight, 0.0) for weight in on_changes)
    on_now = step.alpha_s * (1 - kept * step.decay)
    return Weights(
        x=kept * step.sigma_s / step.sigma_t, x0=on_now - sum(on_past, torch.zeros_like(on_now)), past=on_past
    )


def _nodes(schedule: NoiseSchedule, step: Transition, t: Tensor, past: Sequence[Tensor]) -> list[Tensor]:
    """Where in log-SNR the past lies, 0 now and 1 at the end of the step."""
    return [(schedule.log_snr(before) - schedule.log_snr(t)) / step.h for before in past]


def _halved(moments: Moments) -> Moments:
    """With half of D'': the second moment halved."""
    return lambda count: [moment / 2 if j == 2 else moment for j, moment in enumerate(moments(count))]
