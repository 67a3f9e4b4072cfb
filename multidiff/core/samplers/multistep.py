"""DPM-Solver++: multistep solvers of order 1 to 3. Lu et al. 2022 (2211.01095).

The probability-flow ODE is solved exactly but for x0 as a function D(lambda):

    x_s = (sigma_s/sigma_t) x_t + sigma_s * integral over [lambda_t, lambda_s] of e^u D(u) du

D is taken as a polynomial through the last estimates, D_0 (now), D_1, D_2, at distances h_1 = lambda_t - lambda_1,
h_2 = lambda_1 - lambda_2 back, r_0 = h_1/h, r_1 = h_2/h; D' and D'' are its derivatives times h and h^2:

    x_s = (sigma_s/sigma_t) x_t + alpha_s (1 - e^-h) D_0 + alpha_s phi_1 D' - alpha_s phi_2 D''
    phi_1 = 1 - (1 - e^-h)/h,   phi_2 = (e^-h - 1 + h)/h^2 - 1/2
    d_0 = (D_0 - D_1)/r_0,  d_1 = (D_1 - D_2)/r_1
    D' = d_0 + r_0/(r_0 + r_1) (d_0 - d_1),   D'' = 2 (d_0 - d_1)/(r_0 + r_1)

The paper's 2M takes (1 - e^-h)/2 for phi_1 ("midpoint"). Published codes leave the 2 out of D'', which makes
3M of second order. Where h is infinite (the step into sigma_s = 0) only D_0 counts; a past interval of infinite
length (out of alpha = 0) gives r = infinity, which takes the estimate before it out of the polynomial.

The SDE variant solves the reverse SDE in the same way; its order 1 is DDIM with eta = 1, its order 3 takes the
polynomial under the weight e^2u (of both, a step more than twice as long as the one before takes D'' for 0):

    x_s = (sigma_s/sigma_t) e^-h x_t + alpha_s (1 - e^-2h) (D_0 + D'/2) + sigma_s sqrt(1 - e^-2h) z
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.polynomial import REACH, growing, weights
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
        inner = step.sigma_s > 0
        # D_0 - D_1, D_1 - D_2, ... have these weights.
        on_differences = [torch.where(inner, step.alpha_s * c, 0.0) for c in self._correction(schedule, step, t, past)]
        ends = [torch.zeros_like(t), *on_differences, torch.zeros_like(t)]
        on_estimates = [after - before for before, after in pairwise(ends)]
        return Weights(
            x=step.sigma_s / step.sigma_t,
            x0=step.alpha_s * (1 - step.decay) + on_estimates[0],
            past=tuple(on_estimates[1:]),
        )

    def _correction(self, schedule: NoiseSchedule, step: Transition, t: Tensor, past: Sequence[Tensor]) -> list[Tensor]:
        """phi_1 D' - phi_2 D'' as weights of D_0 - D_1 and D_1 - D_2."""
        if not past:
            return []
        h = step.h
        r0 = _distance(schedule, t, past[0]) / h
        phi1 = 1 - (1 - step.decay) / h
        if len(past) == 1:
            phi1 = (1 - step.decay) / 2 if self.rule == "midpoint" else phi1
            return [phi1 / r0]
        r1 = _distance(schedule, past[0], past[1]) / h
        phi2 = (step.decay - 1 + h) / h**2 - 0.5
        # r0/(r0 + r1) written so that it is 0, not NaN, for the infinite r1 behind alpha = 0.
        tilt = phi1 / (1 + r1 / r0) - phi2 * (1 if self.published else 2) / (r0 + r1)
        if not self.published:
            tilt = torch.where(r0 * REACH >= 1, tilt, 0.0)
        return [(phi1 + tilt) / r0, -tilt / r1]


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
        added = 1 - step.decay**2
        nodes = [-_distance(schedule, t, before) / step.h for before in past]
        on_changes = [added / (2 * nodes[0])] if len(nodes) == 1 else weights(growing(2 * step.h), nodes, REACH)
        on_past = [torch.where(step.sigma_s > 0, step.alpha_s * weight, 0.0) for weight in on_changes]
        return Weights(
            x=step.decay * step.sigma_s / step.sigma_t,
            x0=step.alpha_s * added - sum(on_past, torch.zeros_like(t)),
            past=tuple(on_past),
            noise=step.sigma_s * torch.sqrt(added),
        )


def _distance(schedule: NoiseSchedule, t: Tensor, before: Tensor) -> Tensor:
    """lambda_t - lambda_before."""
    return schedule.log_snr(t) - schedule.log_snr(before)
