"""DDIM. Song et al. 2021 (2010.02502, eq. 12 and 16).

    std = eta (sigma_s/sigma_t) sqrt(b) = eta sigma_s sqrt(1 - e^-2h)
    x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) eps + std z

eta = 0 is the deterministic first-order step; eta = 1 is DDPM with the small variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class DDIM(OneEvaluation):
    """eta in [0, 1]: the share of fresh noise."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta {self.eta} must lie in [0, 1]")

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        variance = (self.eta * step.sigma_s) ** 2 * (1 - step.decay**2)
        on_eps = torch.sqrt(step.sigma_s**2 - variance)
        return Weights(
            x=on_eps / step.sigma_t, x0=step.alpha_s - on_eps * step.alpha_t / step.sigma_t, noise=torch.sqrt(variance)
        )
