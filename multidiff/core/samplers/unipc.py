"""UniPC: a multistep predictor whose step is corrected by the next evaluation. Zhao et al. 2023 (2302.04867).

The predictor of order p is DPM-Solver++'s: the polynomial in lambda through x0 of this step and p - 1 before it (the
midpoint rule at p = 2). Once x0 at the end of that step is known, which the next step needs anyway, the corrector
redoes the step with the polynomial through this point too (at p = 1 the trapezoid rule), which gives order p + 1 with
one evaluation a step. Both differ only in what they integrate, so redoing a step is adding

    alpha (corrector's integral - predictor's integral)

to x. B(h) = e^-h - 1 (the paper's B_2; it matters to the two rules only).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.polynomial import growing, weights
from multidiff.core.samplers.step import Draw, Past, State, Transition
from multidiff.core.schedule import NoiseSchedule, expand


@dataclass(frozen=True)
class UniPC:
    """Deterministic, one evaluation a step. Into sigma_s = 0 and out of alpha_t = 0 it is of first order."""

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order {self.order} must be 1, 2 or 3")

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        schedule = denoiser.schedule
        now = Past(state.t, denoiser(state.x, state.t, condition).x0)
        x = self._corrected(schedule, state, now)
        step = Transition.between(schedule, state.t, s)
        change = _integral(schedule, step, x, now, state.history[: self.order - 1])
        return replace(state, x=x).advance(step.first_order(x, now.x0) + change, s, now.x0, self.order)

    def _corrected(self, schedule: NoiseSchedule, state: State, now: Past) -> Tensor:
        """x with the last step redone, knowing x0 at its end."""
        if not state.history:
            return state.x
        start, before = state.history[0], state.history[1 : self.order]
        step = Transition.between(schedule, start.t, state.t)
        predicted = _integral(schedule, step, state.x, start, before)
        return state.x + _integral(schedule, step, state.x, start, (now, *before)) - predicted


def _integral(schedule: NoiseSchedule, step: Transition, x: Tensor, start: Past, others: tuple[Past, ...]) -> Tensor:
    """alpha_s times the integral of x0's change over the step, by the polynomial through `start` and the others."""
    result = torch.zeros_like(x)
    inner = (step.sigma_s > 0) & (step.alpha_t > 0)
    if not others or not bool(inner.any()):
        return result
    h, origin = step.h, schedule.log_snr(start.t)
    nodes = [(schedule.log_snr(other.t) - origin) / h for other in others]
    on_others = [growing(h)(1)[0] / (2 * nodes[0])] if len(nodes) == 1 else weights(growing(h), nodes)
    for weight, other in zip(on_others, others, strict=True):
        result = result + expand(torch.where(inner, step.alpha_s * weight, 0.0), x) * (other.x0 - start.x0)
    return result
