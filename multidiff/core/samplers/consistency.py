"""Multistep consistency sampling: x0 is estimated and noised anew. Song et al. 2023 (2303.01469, algorithm 1); LCM,
Luo et al. 2023 (2310.04378, algorithm 3).

    x_s = alpha_s x0 + sigma_s z

Meant for consistency models, whose x0 is a sample; of an ordinary denoiser, whose x0 is a mean, it keeps nothing of
x_t and so mixes many paths.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.step import Draw, State
from multidiff.core.schedule import expand


@dataclass(frozen=True)
class Consistency:
    """Stochastic, one evaluation a step."""

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x0 = denoiser(state.x, state.t, condition).x0
        alpha, sigma = denoiser.schedule.alpha(s), denoiser.schedule.sigma(s)
        noise = expand(sigma, x0) * draw() if bool((sigma > 0).any()) else 0.0
        return state.advance(expand(alpha, x0) * x0 + noise, s, x0)
