"""Guidance by the difference that a condition makes.

Classifier-free (Ho and Salimans 2022, 2207.12598) with the scale s, of which 1 means off:

    x0 = x0(null) + s (x0(condition) - x0(null))

(the paper's w is s - 1). It is linear, so guiding x0, eps or v is the same. A learned variance is that under the
condition, and what is known stays as it is, also where a method is not linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, Estimate, identity, keep_known
from multidiff.core.schedule import NoiseSchedule, expand


def replaced(condition: Condition, by: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The condition with the keys of `by`, (B, ...) or (1, ...), replaced. Raises ValueError where it lacks one."""
    condition = dict(condition or {})
    if missing := sorted(by.keys() - condition.keys()):
        raise ValueError(f"the condition lacks '{missing[0]}', which the null condition replaces")
    return {key: by[key].expand_as(value).to(value) if key in by else value for key, value in condition.items()}


def estimates(denoiser: Denoiser, x_t: Tensor, t: Tensor, conditions: Sequence[Mapping[str, Tensor]]) -> list[Estimate]:
    """What is estimated under each of several conditions with the same keys, in one batch; once where all are equal, as
    without a prompt."""
    first, count = conditions[0], len(conditions)
    if all(torch.equal(other[key], first[key]) for other in conditions[1:] for key in first):
        return [denoiser(x_t, t, first)] * count
    joined = {key: torch.cat([condition[key] for condition in conditions]) for key in first}
    whole = denoiser(torch.cat([x_t] * count), torch.cat([t] * count), joined)
    variances = [None] * count if whole.v is None else whole.v.chunk(count)
    return [Estimate(x0, v) for x0, v in zip(whole.x0.chunk(count), variances, strict=True)]


def per_sample(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A number for each sample, function(x (B, D)) -> (B,), shaped to broadcast with x."""
    return expand(function(x.flatten(1)), x)


@dataclass(frozen=True)
class ClassifierFree:
    """`null` replaces these keys of the condition, (B, ...) or (1, ...), in the unconditional half.

    Both halves go through the denoiser as one doubled batch; scales 1 and 0 and an empty `null` need only one. `clamp`
    holds the guided x0 in the bounds of the medium's data. Raises ValueError when the condition lacks a key of
    `null`.

    rescale in [0, 1]: the share by which each sample's standard deviation is brought back to that of x0(condition);
    Lin et al. 2023 (2305.08891, eq. 15 and 16), here of x0 itself. Only where start <= log_snr <= end is guidance on;
    Kynkaanniemi et al. 2024 (2404.07724, eq. 4).
    """

    denoiser: Denoiser
    scale: float
    null: Mapping[str, Tensor]
    clamp: Callable[[Tensor], Tensor] = identity
    rescale: float = 0.0
    start: float = -math.inf
    end: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.rescale <= 1 or not self.start < self.end:
            raise ValueError(f"rescale {self.rescale} must lie in [0, 1] and start {self.start} below end {self.end}")

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        log_snr = self.schedule.log_snr(t)
        inside = (log_snr >= self.start) & (log_snr <= self.end)
        if self.scale == 1 or not self.null or not bool(inside.any()):
            return self.denoiser(x_t, t, dict(condition or {}))
        null = replaced(condition, self.null)
        if self.scale == 0 and bool(inside.all()):
            return self.denoiser(x_t, t, null)
        free, told = estimates(self.denoiser, x_t, t, [null, dict(condition or {})])
        unconditional, conditional = free.x0, told.x0
        guided = unconditional + self.scale * (conditional - unconditional)
        if self.rescale:
            wanted, std = (per_sample(x0, lambda x: x.std(1, correction=0)) for x0 in (conditional, guided))
            # Where nothing varies, as at alpha = 0, there is nothing to rescale.
            guided = guided * torch.where(std > 0, 1 + self.rescale * (wanted / std - 1), 1.0)
        guided = self.clamp(torch.where(expand(inside, x_t) > 0, guided, conditional))
        return Estimate(keep_known(guided, condition), told.v)


@dataclass(frozen=True)
class AdaptiveProjected:
    """APG: the part of the guidance along x0(condition), which oversaturates, is scaled by eta; its length bounded.

    Sadat et al. 2025 (2410.02416, algorithm 1), without their momentum: it makes an estimate depend on earlier calls,
    so that no sampler of more than one evaluation a step could use it. eta = 1 and radius = infinity: classifier-free.
    Norms and products are of each sample alone.
    """

    denoiser: Denoiser
    scale: float
    null: Mapping[str, Tensor]
    clamp: Callable[[Tensor], Tensor] = identity
    eta: float = 0.0
    radius: float = math.inf

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius {self.radius} must be positive")

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        if self.scale == 1 or not self.null:
            return self.denoiser(x_t, t, condition)
        free, told = estimates(self.denoiser, x_t, t, [replaced(condition, self.null), dict(condition or {})])
        conditional, change = told.x0, told.x0 - free.x0
        tiny = torch.finfo(x_t.dtype).tiny
        change = change * (self.radius / per_sample(change, lambda x: x.norm(dim=1)).clamp(min=tiny)).clamp(max=1)
        product = per_sample(change * conditional, lambda x: x.sum(1))
        along = product / per_sample(conditional, lambda x: x.square().sum(1)).clamp(min=tiny) * conditional
        guided = self.clamp(conditional + (self.scale - 1) * (change - along + self.eta * along))
        return Estimate(keep_known(guided, condition), told.v)


@dataclass(frozen=True)
class CFGPlusPlus:
    """CFG++: x0 is guided with a scale in [0, 1], the noise that goes with it is the unconditional one.

    Chung et al. 2025 (2406.08070, algorithm 2) change DDIM's step from t to s to alpha_s x0 + sigma_s eps(null). That
    is DDIM under classifier-free guidance of scale/(1 - e^-h), h = lambda_s - lambda_t, and so written here, where
    every sampler can use it: s is the next of `times`, the grid of the run (N + 1,).
    """

    denoiser: Denoiser
    scale: float
    null: Mapping[str, Tensor]
    times: Tensor
    clamp: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= 1:
            raise ValueError("the scale of CFG++ must lie between 0 and 1")

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        if not self.null:
            return self.denoiser(x_t, t, condition)
        rising = self.times.double().flip(0).to(t.device)
        # The greatest time of the grid that is below t, by more than rounding.
        index = torch.searchsorted(rising, t.double() - 1e-9) - 1
        h = self.schedule.log_snr(rising[index.clamp(min=0)]) - self.schedule.log_snr(t.double())
        free, told = estimates(self.denoiser, x_t, t, [replaced(condition, self.null), dict(condition or {})])
        scale = expand(self.scale / -torch.expm1(-h), x_t)
        return Estimate(self.clamp(free.x0 + scale * (told.x0 - free.x0)), told.v)


@dataclass(frozen=True)
class Composed:
    """Several conditions with weights, negative ones to go away from: x0(null) + sum_i weight_i (x0_i - x0(null)).

    Liu et al. 2022 (2206.01714, eq. 11 and 12). Each of `conditions` replaces keys of the condition, as `null` does;
    all go through the denoiser in one batch. One condition with weight s is classifier-free guidance of scale s. A
    learned variance is that under the first.
    """

    denoiser: Denoiser
    conditions: Sequence[Mapping[str, Tensor]]
    weights: Sequence[float]
    null: Mapping[str, Tensor]
    clamp: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        if not self.conditions or len(self.conditions) != len(self.weights):
            raise ValueError(f"{len(self.conditions)} conditions need as many weights, not {len(self.weights)}")

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        every = [replaced(condition, keys) for keys in (self.null, *self.conditions)]
        free, *told = estimates(self.denoiser, x_t, t, every)
        parts = [weight * (each.x0 - free.x0) for weight, each in zip(self.weights, told, strict=True)]
        return Estimate(self.clamp(free.x0 + torch.stack(parts).sum(0)), told[0].v)
