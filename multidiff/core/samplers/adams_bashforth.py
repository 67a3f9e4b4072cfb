"""Adams-Bashforth methods: the polynomial through past values, extrapolated over the step (`polynomial`).

    lms   eps as a function of rho = sigma/alpha   linear multistep, Katherine Crowson's k-diffusion (2022)
    deis  eps as a function of lambda              Zhang and Chen 2023 (2204.13902, section 3; their rho-AB in log rho)
    eab   x0 as a function of lambda               exponential Adams-Bashforth, Hochbruck and Ostermann 2010 (eq. 2.60)

The orders 1 to 3 of eab are DPM-Solver++ (with the "heun" rule); order 1 of all three is DDIM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, noise_estimate
from multidiff.core.samplers.polynomial import decaying, flat, growing, weights
from multidiff.core.samplers.step import Draw, State, Transition
from multidiff.core.schedule import NoiseSchedule, expand


@dataclass(frozen=True)
class AdamsBashforth:
    """Deterministic, one evaluation a step. Into sigma_s = 0 and out of alpha_t = 0 it is of first order."""

    kind: Literal["lms", "deis", "eab"]
    order: int

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"order {self.order} must be 1, 2, 3 or 4")

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        x, schedule = state.x, denoiser.schedule
        x0 = denoiser(x, state.t, condition).x0
        step = Transition.between(schedule, state.t, s)
        eps = None if self.kind == "eab" else noise_estimate(schedule, x, x0, state.t)
        x_s = step.first_order(x, x0)
        past = state.history[: self.order - 1]
        inner = (step.sigma_s > 0) & (step.alpha_t > 0)
        if past and bool(inner.any()):
            scale, on_past = self._weights(schedule, step, state.t, [earlier.t for earlier in past])
            for weight, earlier in zip(on_past, past, strict=True):
                change = earlier.x0 - x0 if eps is None or earlier.eps is None else earlier.eps - eps
                x_s = x_s + expand(torch.where(inner, scale * weight, 0.0), x) * change
        return state.advance(x_s, s, x0, self.order - 1, eps)

    def _weights(
        self, schedule: NoiseSchedule, step: Transition, t: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The scale of the integral, and the weights of the past values in it."""
        if self.kind == "lms":
            rho, rho_s = step.sigma_t / step.alpha_t, step.sigma_s / step.alpha_s
            width = rho_s - rho
            nodes = [(schedule.sigma(before) / schedule.alpha(before) - rho) / width for before in past]
            return step.alpha_s * width, weights(flat(width), nodes)
        h, now = step.h, schedule.log_snr(t)
        nodes = [(schedule.log_snr(before) - now) / h for before in past]
        if self.kind == "eab":
            return step.alpha_s, weights(growing(h), nodes)
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
