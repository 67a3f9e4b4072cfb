"""DDIM. Song et al. 2021 (2010.02502, eq. 12 and 16).

    std = eta (sigma_s/sigma_t) sqrt(b) = eta sigma_s sqrt(1 - e^-2h)
    x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) eps + std z

eta = 0 is the deterministic first-order step; eta = 1 is DDPM with the small variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, noise_estimate
from multidiff.core.samplers.step import Draw, State, Transition
from multidiff.core.schedule import expand


@dataclass(frozen=True)
class DDIM:
    """eta in [0, 1]: the share of fresh noise."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} must lie in [0, 1]")

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x = state.x
        x0 = denoiser(x, state.t, condition).x0
        step = Transition.between(denoiser.schedule, state.t, s)
        eps = noise_estimate(denoiser.schedule, x, x0, state.t)
        variance = (self.eta * step.sigma_s) ** 2 * (1 - step.decay**2)
        x_s = expand(step.alpha_s, x) * x0 + expand(torch.sqrt(step.sigma_s**2 - variance), x) * eps
        if bool((variance > 0).any()):
            x_s = x_s + expand(torch.sqrt(variance), x) * draw()
        return state.advance(x_s, s, x0)
