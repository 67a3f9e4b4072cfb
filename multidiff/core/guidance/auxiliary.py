"""Guidance by a second model: a weaker denoiser, or a classifier of noisy data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, Estimate, identity, keep_known
from multidiff.core.schedule import NoiseSchedule, expand

LogProbability = Callable[[Tensor, Tensor, Condition], Tensor]
"""(x_t (B, *event), t (B, ...), condition) -> log p(y | x_t) (B,), differentiable in x_t."""

FAINT = 1e-2
"""alpha/sigma below which the gain sigma^2/alpha would only enlarge a classifier's errors."""


@dataclass(frozen=True)
class Autoguidance:
    """Away from a weaker version of the same model: x0 = weak + s (x0 - weak). Karras et al. 2024 (2406.02507, eq. 4).

    The weaker one (smaller, or trained less) makes the same errors, only larger ones.
    """

    denoiser: Denoiser
    scale: float
    weak: Denoiser
    clamp: Callable[[Tensor], Tensor] = identity

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        strong = self.denoiser(x_t, t, condition)
        if self.scale == 1:
            return strong
        weak = self.weak(x_t, t, condition).x0
        return Estimate(self.clamp(weak + self.scale * (strong.x0 - weak)), strong.v)


@dataclass(frozen=True)
class ClassifierGradient:
    """The score gains s grad log p(y | x_t), so x0 gains s (sigma^2/alpha) of it. Dhariwal and Nichol 2021
    (2105.05233, algorithm 2: eps loses sigma of it); with the exact classifier and s = 1 it is exactly the conditional
    denoiser.

    At alpha < FAINT sigma, where x_t tells next to nothing of y, x0 stays as it is.
    """

    denoiser: Denoiser
    scale: float
    classifier: LogProbability
    clamp: Callable[[Tensor], Tensor] = identity

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        plain = self.denoiser(x_t, t, condition)
        # Sampling runs without gradients, a model even in inference mode.
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.classifier(x, t.clone(), condition).sum(), x)
        alpha, sigma = self.schedule.alpha(t.double()), self.schedule.sigma(t.double())
        gain = torch.where(alpha > FAINT * sigma, self.scale * sigma**2 / alpha, 0.0)
        guided = self.clamp(plain.x0 + expand(gain, x_t) * gradient.to(x_t))
        return Estimate(keep_known(guided, condition), plain.v)
