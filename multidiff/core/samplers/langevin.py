"""Langevin dynamics at fixed noise levels, alone (NCSN) and after a predictor (PC).

At time s, with score = (alpha_s x0 - x)/sigma_s^2 and the step size delta = 2 (r sigma_s)^2,

    x <- x + delta score + sqrt(2 delta) z

leaves the law of x_s as it is, up to O(delta). r is Song's signal-to-noise ratio of the step; they divide norms over
the batch, |z|/|score|, whose expectation is sigma_s where x is mostly noise: taking that makes a step a function of
its sample alone, and of s, so that the law that it leaves is not distorted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.ancestral import DDPM
from multidiff.core.samplers.step import Draw, Sampler, State, Transition
from multidiff.core.schedule import expand


def _check(name: str, count: int, least: int, snr: float) -> None:
    if count < least or not 0 < snr < 1:
        raise ValueError(f"{name} {count} must be at least {least}, and snr {snr} between 0 and 1")


def _langevin(
    denoiser: Denoiser, x: Tensor, t: Tensor, draw: Draw, condition: Condition, steps: int, snr: float
) -> Tensor:
    """x after so many Langevin steps at t with the noise of streams 1, 2, ...; clean elements stay as they are."""
    alpha, sigma = expand(denoiser.schedule.alpha(t), x), expand(denoiser.schedule.sigma(t), x)
    if not bool((sigma > 0).any()):
        return x
    for stream in range(1, steps + 1):
        drift = alpha * denoiser(x, t, condition).x0 - x
        x = torch.where(sigma > 0, x + 2 * snr**2 * drift + 2 * snr * sigma * draw(stream), x)
    return x


@dataclass(frozen=True)
class AnnealedLangevin:
    """The next level is taken up with x/alpha as it is, then `steps` Langevin steps are made there. Song and Ermon
    2019 (1907.05600, algorithm 1); x0 in the end, Jolicoeur-Martineau et al. 2020 (2009.05475). `steps` evaluations.

    The noise of x must shrink by itself: levels have to lie close, sigma/alpha falling by less than
    (1 - 2 snr^2)^-steps each.
    """

    steps: int = 5
    snr: float = 0.3

    def __post_init__(self) -> None:
        _check("steps", self.steps, 1, self.snr)

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x, step = state.x, Transition.between(denoiser.schedule, state.t, s)
        # Out of alpha = 0 x is noise only, and is scaled as such.
        kept = torch.where(step.alpha_t > 0, step.alpha_s / step.alpha_t, step.sigma_s / step.sigma_t)
        taken = expand(kept, x) * x
        if not bool((step.sigma_s == 0).any()):
            x_s = _langevin(denoiser, taken, s, draw, condition, self.steps, self.snr)
            return State(x_s, s, state.step + 1, state.history)
        x0 = denoiser(x, state.t, condition).x0
        ended = torch.where(expand(step.sigma_s, x) > 0, taken, expand(step.alpha_s, x) * x0)
        return state.advance(_langevin(denoiser, ended, s, draw, condition, self.steps, self.snr), s, x0)


@dataclass(frozen=True)
class PredictorCorrector:
    """A step of the reverse SDE, then `corrections` Langevin steps at its end. Song et al. 2021 (2011.13456,
    algorithm 1). The predictor is DDPM's, their "ancestral" one; any sampler will do. 1 + corrections evaluations."""

    corrections: int = 1
    snr: float = 0.16
    predictor: Sampler = field(default_factory=DDPM)

    def __post_init__(self) -> None:
        _check("corrections", self.corrections, 0, self.snr)

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        after = self.predictor(denoiser, state, s, draw, condition)
        if not bool((denoiser.schedule.sigma(s) > 0).any()):
            return after
        return after._replace(x=_langevin(denoiser, after.x, s, draw, condition, self.corrections, self.snr))
