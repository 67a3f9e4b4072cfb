"""Euler and Heun steps of the probability-flow ODE, with churn. Karras et al. 2022 (2206.00364, algorithms 1 and 2).

In y = x/alpha and rho = sigma/alpha, for any schedule, the ODE is dy/drho = (y - x0)/rho = eps. Euler's step is
DDIM's with eta = 0; Heun's replaces eps by the mean of its values at both ends of the step.

Churn raises rho by the share gamma with fresh noise before the step, so that a run explores and forgets errors. The
paper's S_churn is gamma times the number of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, noise_estimate
from multidiff.core.samplers.step import Draw, State, Transition, diffuse_forward
from multidiff.core.schedule import NoiseSchedule, expand

FAR = math.exp(6.0)
"""sigma/alpha beyond which x_t tells nothing of x0. The mean slope multiplies the change of x0 by r_t/r_s there,
infinitely at alpha = 0, while Euler's step is exact as long as x0 does not change."""


@dataclass(frozen=True)
class Churn:
    """gamma in [0, sqrt(2) - 1], 0 is off; only where s_tmin <= sigma/alpha <= s_tmax; s_noise scales the new noise."""

    gamma: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 0.4143:
            raise ValueError(f"gamma {self.gamma} must lie in [0, sqrt(2) - 1]")
        if not (0 <= self.s_tmin < self.s_tmax and self.s_noise > 0):
            raise ValueError(f"s_tmin {self.s_tmin} must be below s_tmax {self.s_tmax}, and s_noise positive")

    def __call__(self, schedule: NoiseSchedule, state: State, draw: Draw) -> State:
        """The state at the raised level, which ends at t = 1 at most."""
        if not self.gamma:
            return state
        log_snr = schedule.log_snr(state.t)
        rho = torch.exp(-log_snr)
        churned = (rho >= self.s_tmin) & (rho <= self.s_tmax)
        raised = schedule.inverse(log_snr - math.log1p(self.gamma))
        t = torch.where(churned & (raised > state.t), raised, state.t)
        if not bool((t > state.t).any()):
            return state
        x = diffuse_forward(schedule, state.x, state.t, t, self.s_noise * draw())
        return replace(state, x=torch.where(expand(t - state.t, x) > 0, x, state.x), t=t)


@dataclass(frozen=True)
class Euler:
    """First order, one evaluation a step."""

    churn: Churn = field(default_factory=Churn)

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        state = self.churn(denoiser.schedule, state, draw)
        x0 = denoiser(state.x, state.t, condition).x0
        step = Transition.between(denoiser.schedule, state.t, s)
        return state.advance(step.first_order(state.x, x0), s, x0)


@dataclass(frozen=True)
class Heun:
    """Second order, two evaluations a step; Euler's step into sigma_s = 0 and out of levels noisier than FAR."""

    churn: Churn = field(default_factory=Churn)

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        schedule = denoiser.schedule
        state = self.churn(schedule, state, draw)
        x = state.x
        x0 = denoiser(x, state.t, condition).x0
        step = Transition.between(schedule, state.t, s)
        euler = step.first_order(x, x0)
        inner = (step.sigma_s > 0) & (step.sigma_t < FAR * step.alpha_t)
        if not bool(inner.any()):
            return state.advance(euler, s, x0)
        slope_t = noise_estimate(schedule, x, x0, state.t)
        slope_s = noise_estimate(schedule, euler, denoiser(euler, s, condition).x0, s)
        half_step = (step.sigma_s - step.sigma_t * step.alpha_s / step.alpha_t) / 2
        corrected = euler + expand(half_step, x) * (slope_s - slope_t)
        return state.advance(torch.where(expand(inner, x).bool(), corrected, euler), s, x0)
