"""What all samplers share: the state of a run and the coefficients of one step.

A step goes from time t down to s. With h = lambda_s - lambda_t > 0 all its coefficients are functions of
alpha_s, sigma_s/sigma_t and

    e^-h = (alpha_t sigma_s) / (sigma_t alpha_s)

which is finite everywhere: it is 0 for the step into sigma_s = 0 and for the step out of alpha_t = 0, where h
itself is infinite. So no step needs a special case for the ends of a schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.schedule import NoiseSchedule, expand

Draw = Callable[..., Tensor]
"""draw(stream=0) -> standard normal (B, *event) of this step; deterministic samplers never call it."""


class Past(NamedTuple):
    """What an earlier step estimated: x0 (B, *event) at time t (B, ...), and eps where the sampler looks back on it."""

    t: Tensor
    x0: Tensor
    eps: Tensor | None = None


class State(NamedTuple):
    """A run after `step` steps: x (B, *event) at time t (B, ...), float64.

    `history` holds earlier estimates, newest first, as many as the sampler looks back on.
    """

    x: Tensor
    t: Tensor
    step: int = 0
    history: tuple[Past, ...] = ()

    @property
    def x0(self) -> Tensor | None:
        """The latest estimate of the clean data, None before the first step."""
        return self.history[0].x0 if self.history else None

    def advance(self, x: Tensor, s: Tensor, x0: Tensor, keep: int = 1, eps: Tensor | None = None) -> State:
        """The state one step later, at time s, having estimated x0 at this one's time."""
        latest = Past(self.t, x0, eps)
        return State(x, s, self.step + 1, (latest, *self.history[: keep - 1]) if keep > 1 else (latest,))


class Sampler(Protocol):
    """One step: a pure function of its arguments, from state.t down to s (B, ...)."""

    def __call__(
        self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None
    ) -> State: ...


@dataclass(frozen=True)
class Transition:
    """alpha and sigma at both ends of a step, float64 of t's shape."""

    alpha_t: Tensor
    sigma_t: Tensor
    alpha_s: Tensor
    sigma_s: Tensor

    @classmethod
    def between(cls, schedule: NoiseSchedule, t: Tensor, s: Tensor) -> Transition:
        """From t to s."""
        alpha, sigma = schedule.alpha_sigma(torch.stack(torch.broadcast_tensors(t.double(), s.double())))
        return cls(alpha[0], sigma[0], alpha[1], sigma[1])

    @property
    def decay(self) -> Tensor:
        """e^-h."""
        return self.alpha_t * self.sigma_s / (self.sigma_t * self.alpha_s)

    @property
    def h(self) -> Tensor:
        """lambda_s - lambda_t; infinite where sigma_s = 0 or alpha_t = 0."""
        return -torch.log(self.decay)

    def first_order(self, x: Tensor, x0: Tensor) -> Tensor:
        """The exact solution of the probability-flow ODE while x0 stays as it is:
        x_s = (sigma_s/sigma_t) x + alpha_s (1 - e^-h) x0."""
        return expand(self.sigma_s / self.sigma_t, x) * x + expand(self.alpha_s * (1 - self.decay), x) * x0


def diffuse_forward(schedule: NoiseSchedule, x: Tensor, t: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """A draw from q(x_s | x_t) for s > t: (alpha_s/alpha_t) x_t + sqrt(sigma_s^2 - (alpha_s/alpha_t)^2 sigma_t^2) z."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    ratio = alpha_s / alpha_t
    variance = sigma_s**2 - (ratio * sigma_t) ** 2
    return expand(ratio, x) * x + expand(torch.sqrt(variance.clamp(min=0)), x) * z
