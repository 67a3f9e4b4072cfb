"""Multistep consistency sampling: x0 is estimated and noised anew. Song et al. 2023 (2303.01469, algorithm 1); LCM,
Luo et al. 2023 (2310.04378, algorithm 3).

    x_s = alpha_s x0 + sigma_s z

Meant for consistency models, whose x0 is a sample; of an ordinary denoiser, whose x0 is a mean, it keeps nothing of
x_t and so mixes many paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class Consistency(OneEvaluation):
    """Stochastic, one evaluation a step."""

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        return Weights(x=0.0, x0=schedule.alpha(s), noise=schedule.sigma(s))
