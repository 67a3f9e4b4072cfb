"""Ancestral sampling with a variance that the network has learned. Nichol and Dhariwal 2021 (2102.09672, section 3.1).

The exact step has a variance between DDPM's two fixed ones (see `ancestral`), with b = sigma_t^2 (1 - e^-2h):

    small = b sigma_s^2/sigma_t^2,   large = b

A network that returns (prediction, v) instead of its prediction says by v where between them, element by element:

    log variance = f log large + (1 - f) log small,   f = (v + 1)/2                                          (eq. 15)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.step import Draw, State, Transition
from multidiff.core.schedule import expand


def log_variance(step: Transition, v: Tensor) -> Tensor:
    """Of the reverse step, for v (B, *event); minus infinity for a step into sigma_s = 0."""
    added = torch.log1p(-(step.decay**2))
    small, large = 2 * step.sigma_s.log() + added, 2 * step.sigma_t.log() + added
    share = (v + 1) / 2
    return share * expand(large, v) + (1 - share) * expand(small, v)


@dataclass(frozen=True)
class LearnedDDPM:
    """DDPM of a network that returns (prediction, v). Raises ValueError for a denoiser without v."""

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x, estimate = state.x, denoiser(state.x, state.t, condition)
        if estimate.v is None:
            raise ValueError("the denoiser has learned no variance; take ddpm with variance small or large")
        step = Transition.between(denoiser.schedule, state.t, s)
        mean = expand(step.decay * step.sigma_s / step.sigma_t, x) * x
        mean = mean + expand(step.alpha_s * (1 - step.decay**2), x) * estimate.x0
        std = torch.exp(log_variance(step, estimate.v) / 2)
        noise = torch.where(expand(step.sigma_s, x) > 0, std, 0.0) * draw() if bool((step.sigma_s > 0).any()) else 0.0
        return state.advance(mean + noise, s, estimate.x0)
