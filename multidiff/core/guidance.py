"""Guidance: a denoiser made of a denoiser, so that every sampler works under it.

Classifier-free (Ho and Salimans 2022, 2207.12598) with the scale s, of which 1 means off:

    x0 = x0(null) + s (x0(condition) - x0(null))

(the paper's w is s - 1). It is linear, so guiding x0, eps or v is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, Estimate, identity
from multidiff.core.method import Method
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class ClassifierFree:
    """`null` replaces these keys of the condition, (B, ...) or (1, ...), in the unconditional half.

    Both halves go through the denoiser as one doubled batch; scales 1 and 0 need only one of them. `clamp`
    holds the guided x0 in the bounds of the medium's data. Raises ValueError when the condition lacks a key of
    `null`.
    """

    denoiser: Denoiser
    scale: float
    null: Mapping[str, Tensor]
    clamp: Callable[[Tensor], Tensor] = identity

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        condition = dict(condition or {})
        if self.scale == 1:
            return self.denoiser(x_t, t, condition)
        if missing := sorted(self.null.keys() - condition.keys()):
            raise ValueError(f"the condition lacks '{missing[0]}', which the null condition replaces")
        null = {
            key: self.null[key].expand_as(value).to(value) if key in self.null else value
            for key, value in condition.items()
        }
        if self.scale == 0:
            return self.denoiser(x_t, t, null)
        doubled = {key: torch.cat([null[key], value]) for key, value in condition.items()}
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), doubled).x0
        unconditional, conditional = both.chunk(2)
        return Estimate(self.clamp(unconditional + self.scale * (conditional - unconditional)))


GUIDANCE: dict[str, Method] = {
    "classifier-free": Method(ClassifierFree, "away from the null condition", "Ho and Salimans 2022, 2207.12598"),
}
