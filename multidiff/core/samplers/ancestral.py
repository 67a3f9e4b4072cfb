"""Ancestral sampling: DDPM. Ho et al. 2020 (2006.11239, eq. 6-7 and 11).

With b = sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2 = sigma_t^2 (1 - e^-2h), the variance that q adds from s to t,

    mean     = (alpha_s b x0 + (alpha_t/alpha_s) sigma_s^2 x) / sigma_t^2
    variance = b sigma_s^2/sigma_t^2 (small: exact for a single data point) or b (large: exact for white data)

and none when sigma_s = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.step import Draw, State, Transition
from multidiff.core.schedule import expand


@dataclass(frozen=True)
class DDPM:
    """variance: "small" or "large"."""

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise ValueError(f"variance '{self.variance}' must be 'small' or 'large'")

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x = state.x
        x0 = denoiser(x, state.t, condition).x0
        step = Transition.between(denoiser.schedule, state.t, s)
        added = 1 - step.decay**2
        mean = expand(step.alpha_s * added, x) * x0 + expand(step.decay * step.sigma_s / step.sigma_t, x) * x
        scale = step.sigma_s if self.variance == "small" else step.sigma_t * (step.sigma_s > 0)
        std = scale * torch.sqrt(added)
        noise = expand(std, x) * draw() if bool((std > 0).any()) else 0.0
        return state.advance(mean + noise, s, x0)
