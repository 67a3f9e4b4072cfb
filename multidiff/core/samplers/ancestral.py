"""Ancestral sampling: DDPM. Ho et al. 2020 (2006.11239, eq. 6-7 and 11).

With b = sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2 = sigma_t^2 (1 - e^-2h), the variance that q adds from s to t,

    mean     = (alpha_s b x0 + (alpha_t/alpha_s) sigma_s^2 x) / sigma_t^2
    variance = b sigma_s^2/sigma_t^2 (small: exact for a single data point) or b (large: exact for white data)

and none when sigma_s = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class DDPM(OneEvaluation):
    """variance: "small" or "large"."""

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise ValueError(f"variance '{self.variance}' must be 'small', 'large' or 'learned'")

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        added = 1 - step.decay**2
        scale = step.sigma_s if self.variance == "small" else step.sigma_t * (step.sigma_s > 0)
        return Weights(
            x=step.decay * step.sigma_s / step.sigma_t, x0=step.alpha_s * added, noise=scale * torch.sqrt(added)
        )
