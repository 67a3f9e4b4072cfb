"""One condition that turns into another along an axis: a sound that begins as rain and ends as fire.

    x0(s) = (1 - w(s)) x0(first)(s) + w(s) x0(second)(s)

at every place s of the axis, as MultiDiffusion fuses the estimates under the prompts of several regions (Bar-Tal et al.
2023, 2302.08113, eq. 5), here with weights that overlap. w lies in the condition, so that windows and loops, which move
what lies along the axis, move it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, Estimate
from multidiff.core.guidance.classifier_free import estimates, replaced
from multidiff.core.schedule import NoiseSchedule

SHARE = "share"
"""The condition's key of w."""

TURN = (1 / 3, 2 / 3)
"""Where along the axis, as shares of its length, w rises from 0 to 1."""


def ramp(shape: Sequence[int], axis: int, circular: bool = False) -> Tensor:
    """w for an event of `shape` along its `axis` (negative): (1, *event) with length 1 along all others.

    0 in the first third, 1 in the last, between them the square of a sine. `circular`: there and back again, 1 in the
    middle, so that the ends meet.
    """
    length, along = shape[axis], [1] * (len(shape) + 1)
    along[axis] = length
    place = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    if circular:
        place = 1 - (2 * place - 1).abs()
    first, last = TURN
    risen = ((place - first) / (last - first)).clamp(0, 1)
    return torch.sin(0.5 * math.pi * risen).square().reshape(along)


@dataclass(frozen=True)
class Blended:
    """The estimates under the condition and under that in which `into`, (B, ...) or (1, ...), replaces its keys, mixed
    by condition["share"], w broadcastable to x.

    Both go through the denoiser in one batch. A learned variance is mixed alike. Raises ValueError when the condition
    lacks the share, or a key of `into`.
    """

    denoiser: Denoiser
    into: Mapping[str, Tensor]

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        told = dict(condition or {})
        if SHARE not in told:
            raise ValueError(f"the condition lacks '{SHARE}', which says where one prompt turns into the other")
        w = told.pop(SHARE).to(x_t)
        first, second = estimates(self.denoiser, x_t, t, [told, replaced(told, self.into)])
        v = None if first.v is None or second.v is None else torch.lerp(first.v, second.v, w)
        return Estimate(torch.lerp(first.x0, second.x0, w), v)
