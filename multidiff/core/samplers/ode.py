"""Euler and Heun steps of the probability-flow ODE. Karras et al. 2022 (2206.00364, algorithm 1).

In y = x/alpha and r = sigma/alpha, for any schedule, the ODE is dy/dr = (y - x0)/r = eps. Euler's step is
DDIM's with eta = 0; Heun's replaces eps by the mean of its values at both ends of the step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, noise_estimate
from multidiff.core.samplers.step import Draw, State, Transition
from multidiff.core.schedule import expand

FAR = math.exp(6.0)
"""sigma/alpha beyond which x_t tells nothing of x0. The mean slope multiplies the change of x0 by r_t/r_s there,
infinitely at alpha = 0, while Euler's step is exact as long as x0 does not change."""


@dataclass(frozen=True)
class Euler:
    """First order, one evaluation a step."""

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x0 = denoiser(state.x, state.t, condition).x0
        step = Transition.between(denoiser.schedule, state.t, s)
        return state.advance(step.first_order(state.x, x0), s, x0)


@dataclass(frozen=True)
class Heun:
    """Second order, two evaluations a step; Euler's step into sigma_s = 0 and out of levels noisier than FAR."""

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x, schedule = state.x, denoiser.schedule
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
