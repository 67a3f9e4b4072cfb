"""Adams-Bashforth methods: the polynomial through past values, extrapolated over the step (`polynomial`).

    lms   eps as a function of rho = sigma/alpha   linear multistep, Katherine Crowson's k-diffusion (2022)
    deis  eps as a function of lambda              Zhang and Chen 2023 (2204.13902, section 3; their rho-AB in log rho)
    eab   x0 as a function of lambda               exponential Adams-Bashforth, Hochbruck and Ostermann 2010 (eq. 2.60)

The orders 1 to 3 of eab are DPM-Solver++ (with the "heun" rule); order 1 of all three is DDIM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.samplers.planned import OneEvaluation, Weights
from multidiff.core.samplers.polynomial import REACH, decaying, flat, growing, weights
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import NoiseSchedule


@dataclass(frozen=True)
class AdamsBashforth(OneEvaluation):
    """Deterministic, one evaluation a step. Into sigma_s = 0 and out of alpha_t = 0 it is of first order."""

    kind: Literal["lms", "deis", "eab"]
    order: int

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"order {self.order} must be 1, 2, 3 or 4")

    @property
    def memory(self) -> int:
        return self.order - 1

    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> Weights:
        step = Transition.between(schedule, t, s)
        scale, on_changes = self._integral(schedule, step, t, past)
        inner = (step.sigma_s > 0) & (step.alpha_t > 0)
        on_past = tuple(torch.where(inner, scale * weight, 0.0) for weight in on_changes)
        on_now = -sum(on_past, torch.zeros_like(t))
        first = Weights(x=step.sigma_s / step.sigma_t, x0=step.alpha_s * (1 - step.decay), past=on_past)
        if self.kind == "eab":
            return first._replace(x0=first.x0 + on_now)
        on_x, on_x0 = 1 / step.sigma_t, -step.alpha_t / step.sigma_t
        return first._replace(x=first.x + on_now * on_x, x0=first.x0 + on_now * on_x0, eps=(on_x, on_x0))

    def _integral(
        self, schedule: NoiseSchedule, step: Transition, t: Tensor, past: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The scale of the integral, and the weights in it of what the past values differ by from now's."""
        if self.kind == "lms":
            rho, rho_s = step.sigma_t / step.alpha_t, step.sigma_s / step.alpha_s
            width = rho_s - rho
            nodes = [(schedule.sigma(before) / schedule.alpha(before) - rho) / width for before in past]
            return step.alpha_s * width, weights(flat(width), nodes)
        h, now = step.h, schedule.log_snr(t)
        nodes = [(schedule.log_snr(before) - now) / h for before in past]
        if self.kind == "eab":
            return step.alpha_s, weights(growing(h), nodes, REACH)
        return -step.alpha_s * step.sigma_t / step.alpha_t, weights(decaying(h), nodes)


def lms(order: int = 4) -> AdamsBashforth:
    """eps over sigma/alpha."""
    return AdamsBashforth("lms", order)


def deis(order: int = 3) -> AdamsBashforth:
    """eps over log-SNR."""
    return AdamsBashforth("deis", order)


def eab(order: int = 4) -> AdamsBashforth:
    """x0 over log-SNR."""
    return AdamsBashforth("eab", order)
