"""UniPC: a multistep predictor whose step is corrected by the next evaluation. Zhao et al. 2023 (2302.04867).

The predictor of order p is DPM-Solver++'s: the polynomial in lambda through x0 of this step and p - 1 before it (the
midpoint rule at p = 2). Once x0 at the end of that step is known, which the next step needs anyway, the corrector
redoes the step with the polynomial through this point too (at p = 1 the trapezoid rule), which gives order p + 1 with
one evaluation a step. Both differ only in what they integrate, so redoing a step is adding

    alpha (corrector's integral - predictor's integral)

to x. B(h) = e^-h - 1 (the paper's B_2; it matters to the two rules only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.polynomial import growing, weights
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class UniPC(OneEvaluation):
    """Deterministic, one evaluation a step. Into sigma_s = 0 and out of alpha_t = 0 it is of first order."""

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order {self.order} must be 1, 2 or 3")

    @property
    def memory(self) -> int:
        return self.order

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        kept = step.sigma_s / step.sigma_t
        on_now, on_past = self._correction(schedule, t, past)
        on_now, on_past = kept * on_now, [kept * weight for weight in on_past]
        for k, weight in enumerate(_on_changes(schedule, t, s, past[: self.order - 1])):
            on_now, on_past[k] = on_now - weight, on_past[k] + weight
        return Weights(x=kept, x0=step.alpha_s * (1 - step.decay) + on_now, past=tuple(on_past))

    def _correction(self, schedule: NoiseSchedule, t: Tensor, past: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """What redoing the last step, knowing x0 at its end, adds to x: the weights of x0 now and of the past ones."""
        if not past:
            return torch.zeros_like(t), []
        start, before = past[0], past[1:]
        on_now, *corrector = _on_changes(schedule, start, t, [t, *before])
        predictor = _on_changes(schedule, start, t, before)
        on_before = [ours - theirs for ours, theirs in zip(corrector, predictor, strict=True)]
        return on_now, [-sum(on_before, on_now), *on_before]


def _on_changes(schedule: NoiseSchedule, t: Tensor, s: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """alpha_s times the integral of x0's change over the step from t to s, by the polynomial through t and the others:
    its weights of what x0 at the others differs by from x0 at t."""
    step = Transition.between(schedule, t, s)
    h, now = step.h, schedule.log_snr(t)
    nodes = [(schedule.log_snr(other) - now) / h for other in others]
    on_others = weights(growing(h), nodes, midpoint=True)
    inner = (step.sigma_s > 0) & (step.alpha_t > 0)
    return [torch.where(inner, step.alpha_s * weight, 0.0) for weight in on_others]
