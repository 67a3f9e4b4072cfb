"""Heun's step of the probability-flow ODE, and churn. Karras et al. 2022 (2206.00364, algorithms 1 and 2).

In y = x/alpha and rho = sigma/alpha, for any schedule, the ODE is dy/drho = (y - x0)/rho = eps. Euler's step is
DDIM's with eta = 0; Heun's replaces eps by the mean of its values at both ends of the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.planned import Planned, Weights, present, weighted_sum
from multidiff.core.samplers.step import Draw, Sampler, State, Transition, diffuse_forward
from multidiff.core.schedule import NoiseSchedule, expand

FAR = math.exp(6.0)
"""sigma/alpha beyond which x_t tells nothing of x0. The mean slope multiplies the change of x0 by r_t/r_s there,
infinitely at alpha = 0, while Euler's step is exact as long as x0 does not change."""


@dataclass(frozen=True)
class Heun(Planned[tuple[Weights, Weights]]):
    """Second order, two evaluations a step; Euler's step into sigma_s = 0 and out of levels noisier than FAR.

    Its weights are those of Euler's step and of the corrected one, whose "past" is x0 at the end of Euler's.
    """

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> tuple[Weights, Weights]:
        step = Transition.between(schedule, t, s)
        ratio = step.sigma_s / step.sigma_t
        euler = Weights(x=ratio, x0=step.alpha_s - ratio * step.alpha_t)
        inner = (step.sigma_s > 0) & (step.sigma_t < FAR * step.alpha_t)
        # euler + half (eps_s - eps_t); eps_s = (euler - alpha_s x0_s)/sigma_s, eps_t = (x - alpha_t x0)/sigma_t.
        half = (step.sigma_s - step.sigma_t * step.alpha_s / step.alpha_t) / 2
        on_s = torch.where(inner, half / step.sigma_s, 0.0)
        on_t = torch.where(inner, half / step.sigma_t, 0.0)
        corrected = Weights(
            x=euler.x * (1 + on_s) - on_t,
            x0=euler.x0 * (1 + on_s) + on_t * step.alpha_t,
            past=(-on_s * step.alpha_s,),
        )
        return euler, corrected

    def step(
        self,
        denoiser: Denoiser,
        state: State,
        s: Tensor,
        weights: tuple[Weights, Weights],
        draw: Draw,
        condition: Condition,
    ) -> State:
        x, x0 = state.x, denoiser(state.x, state.t, condition).x0
        euler, corrected = weights
        x_s = weighted_sum((euler.x, x), (euler.x0, x0))
        if present(corrected.past[0]):
            x0_s = denoiser(x_s, s, condition).x0
            x_s = weighted_sum((corrected.x, x), (corrected.x0, x0), (corrected.past[0], x0_s))
        return state.advance(x_s, s, x0)


@dataclass(frozen=True)
class Churn:
    """A sampler whose step starts from a level raised with fresh noise, so that a run explores and forgets errors.

    sigma/alpha grows by the share gamma in [0, sqrt(2) - 1] (the paper's S_churn is gamma times the number of steps),
    to t = 1 at most, and only where s_tmin <= sigma/alpha <= s_tmax; s_noise scales the new noise. For samplers that
    do not look back.
    """

    sampler: Sampler
    gamma: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 0.4143:
            raise ValueError(f"gamma {self.gamma} must lie in [0, sqrt(2) - 1]")
        if not (0 <= self.s_tmin < self.s_tmax and self.s_noise > 0):
            raise ValueError(f"s_tmin {self.s_tmin} must be below s_tmax {self.s_tmax}, and s_noise positive")

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        return self.sampler(denoiser, self._raised(denoiser.schedule, state, draw), s, draw, condition)

    def _raised(self, schedule: NoiseSchedule, state: State, draw: Draw) -> State:
        log_snr = schedule.log_snr(state.t)
        rho = torch.exp(-log_snr)
        churned = (rho >= self.s_tmin) & (rho <= self.s_tmax)
        raised = schedule.inverse(log_snr - math.log1p(self.gamma))
        t = torch.where(churned & (raised > state.t), raised, state.t)
        if not bool((t > state.t).any()):
            return state
        x = diffuse_forward(schedule, state.x, state.t, t, self.s_noise * draw())
        return state._replace(x=torch.where(expand(t - state.t, x) > 0, x, state.x), t=t)
