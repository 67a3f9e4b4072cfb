"""Sampling given a measurement y = A(x0) + std n, by any differentiable operator A.

By Tweedie's formula, given y the estimate of x0 becomes

    E[x0 | x_t, y] = E[x0 | x_t] + (sigma^2/alpha) grad_{x_t} log p(y | x_t)

and the methods differ in what they take for p(y | x_t). Three are Gaussian, N(y; A(x0_hat), S), differentiated
with S held fixed; J = d x0_hat/d x_t, and A stands for the operator's Jacobian at x0_hat where it is not linear:

    reconstruction guidance  S = (sigma/alpha)^2/scale I + std^2 I    Ho et al. 2022 (2204.03458, eq. 7)
    PiGDM                    S = r^2 A A^T + std^2 I                  Song et al. 2023 (ICLR, eq. 8)
                             r^2 = s^2 sigma^2/(alpha^2 s^2 + sigma^2) = Var[x0 | x_t] of white data of std s
    MMPS                     S = (sigma^2/alpha) A J A^T + std^2 I    Rozet et al. 2024 (2405.13712, eq. 12)

MMPS is exact on Gaussian data, because (sigma^2/alpha) J = Cov[x0 | x_t]. S^-1 is applied by conjugate gradients,
so that A needs no decomposition. They are denoisers made of a denoiser, for every sampler. DPS is a sampler made of
a sampler: it moves x after the step.

Bias (tests/core/test_posterior.py; cosine schedule, DDPM, 100 steps uniform in log-SNR). On a Gaussian of variances 1
and correlation 0.8 with the first element measured as 1.5 without noise, the second is exactly N(1.20, 0.60^2):
reconstruction guidance gives 0.79 (std 0.65), PiGDM 1.15 (0.59), MMPS 1.20 (0.58, and 0.60 as steps grow); DPS of
scale 0.3 gives 1.46 (0.55) and leaves a spread of 0.34 in the first, which it should meet exactly. On a mixture of
three, whose modes the Gaussian p(y | x_t) weighs wrongly, the energy distance to exact samples (the prior's is 0.71)
is 0.36, 0.29, 0.27, and for DPS of scale 0.3 0.07. None is exact there; `repaint_times` is nearer for known regions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.functional import jvp, vjp

from multidiff.core.denoiser import Condition, Denoiser, Estimate
from multidiff.core.inverse.operators import Operator
from multidiff.core.samplers.step import Draw, Sampler, State
from multidiff.core.schedule import NoiseSchedule, expand

FAINT = 1e-3
"""alpha/sigma below which the Jacobian of the estimate drowns in rounding."""


@dataclass(frozen=True)
class Measurement:
    """y (B, *measured) = operator(x0) + std n, std in y's units."""

    operator: Operator
    y: Tensor
    std: float = 0.0

    def residual(self, x0: Tensor) -> Tensor:
        """y - A(x0)."""
        return self.y.to(x0) - self.operator(x0)


def conjugate_gradient(matrix: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """v (B, *shape) with matrix(v) = b, for a symmetric positive matrix of each sample.

    Stops early, sample by sample, where nothing is left. b must lie in the matrix's range.
    """

    def dot(p: Tensor, q: Tensor) -> Tensor:
        return expand((p * q).reshape(len(b), -1).sum(1), b)

    v, r = torch.zeros_like(b), b
    p, square = r, dot(r, r)
    enough = square * torch.finfo(b.dtype).eps ** 2
    for _ in range(iterations):
        going = square > enough
        if not bool(going.any()):
            break
        image = matrix(p)
        curvature = dot(p, image)
        going = going & (curvature > 0)
        length = torch.where(going, square / torch.where(going, curvature, 1.0), 0.0)
        v, r = v + length * p, r - length * image
        before, square = square, dot(r, r)
        p = r + torch.where(going, square / torch.where(going, before, 1.0), 0.0) * p
        square = torch.where(going, square, 0.0)
    return v


@dataclass(frozen=True)
class ReconstructionGuidance:
    """p(y | x_t) = N(A(x0_hat), (sigma/alpha)^2/scale + std^2): a step of gradient descent on the misfit."""

    denoiser: Denoiser
    measurement: Measurement
    scale: float = 1.0

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        alpha, sigma = self.schedule.alpha(t.double()), self.schedule.sigma(t.double())
        # (sigma^2/alpha) / S, written so that it stays finite at alpha = 0.
        gain = self.scale * alpha / (1 + self.scale * (self.measurement.std * alpha / sigma) ** 2)
        estimate, slope = _misfit_slope(self.denoiser, self.measurement, x_t, t, condition)
        return replace(estimate, x0=estimate.x0 - expand(gain, x_t) * slope)


def _misfit_slope(
    denoiser: Denoiser, measurement: Measurement, x_t: Tensor, t: Tensor, condition: Condition
) -> tuple[Estimate, Tensor]:
    """(the estimate, gradient of |y - A(x0_hat)|^2/2 in x_t)."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        estimate = denoiser(x, t, condition)
        (slope,) = torch.autograd.grad(measurement.residual(estimate.x0).square().sum() / 2, x)
    return estimate.each(Tensor.detach), slope


@dataclass(frozen=True)
class _Linearised(ABC):
    """What PiGDM and MMPS share. At alpha < FAINT sigma, where x_t tells nothing of x0, x0_hat is left as it is."""

    denoiser: Denoiser
    measurement: Measurement
    iterations: int = 20

    @property
    def schedule(self) -> NoiseSchedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        alpha, sigma = self.schedule.alpha(t.double()), self.schedule.sigma(t.double())
        tweedie = expand(torch.where(alpha > FAINT * sigma, sigma**2 / alpha, 0.0), x_t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            estimate = self.denoiser(x, t, condition)
        x0, operator = estimate.x0.detach(), self.measurement.operator

        def back(v: Tensor) -> Tensor:
            """A^T v."""
            return vjp(operator, x0, v)[1]

        def carried(w: Tensor) -> Tensor:
            """(sigma^2/alpha) J^T w."""
            return tweedie * torch.autograd.grad(estimate.x0, x, w, retain_graph=True)[0]

        def covariance(v: Tensor) -> Tensor:
            """S v."""
            return jvp(operator, x0, self.spread(back(v), t, carried))[1] + self.measurement.std**2 * v

        solved = conjugate_gradient(covariance, self.measurement.residual(x0), self.iterations)
        return replace(estimate.each(Tensor.detach), x0=x0 + carried(back(solved)))

    @abstractmethod
    def spread(self, w: Tensor, t: Tensor, carried: Callable[[Tensor], Tensor]) -> Tensor:
        """Cov[x0 | x_t] w, as the method takes it."""


@dataclass(frozen=True)
class PiGDM(_Linearised):
    """Pseudo-inverse guidance: Cov[x0 | x_t] taken as r^2 I of white data of standard deviation `data_std`."""

    data_std: float = 1.0

    def spread(self, w: Tensor, t: Tensor, carried: Callable[[Tensor], Tensor]) -> Tensor:
        alpha, sigma = self.schedule.alpha(t.double()), self.schedule.sigma(t.double())
        variance = (self.data_std * sigma) ** 2 / ((self.data_std * alpha) ** 2 + sigma**2)
        return expand(variance, w) * w


@dataclass(frozen=True)
class MMPS(_Linearised):
    """Moment matching: Cov[x0 | x_t] as the denoiser's own Jacobian has it; a backward pass for each iteration."""

    def spread(self, w: Tensor, t: Tensor, carried: Callable[[Tensor], Tensor]) -> Tensor:
        return carried(w)


@dataclass(frozen=True)
class DPS:
    """A sampler that moves x against the gradient of the misfit after every step, by `scale` of a unit of misfit.

    Chung et al. 2023 (2209.14687, algorithm 1): x_s <- x_s - scale grad_{x_t} |y - A(x0_hat)|^2 / |y - A(x0_hat)|.
    Made for ancestral sampling in many steps. The denoiser is evaluated once more at x_t.
    """

    sampler: Sampler
    measurement: Measurement
    scale: float = 1.0

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        estimate, slope = _misfit_slope(denoiser, self.measurement, state.x, state.t, condition)
        residual = self.measurement.residual(estimate.x0)
        misfit = torch.linalg.vector_norm(residual.reshape(len(residual), -1), dim=1)
        step = expand(2 * self.scale / misfit.clamp(min=torch.finfo(misfit.dtype).tiny), slope) * slope
        after = self.sampler(denoiser, state, s, draw, condition)
        return after._replace(x=after.x - step)
