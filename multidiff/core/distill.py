"""Distillation: objectives under which a student learns to sample in few steps.

Each is called like `DiffusionLoss`, (student, x0, noise, u, condition, weight) -> (loss (B,), log_snr (B,)), so that
the same training loop runs it. A pair of neighbouring times t > s is drawn from a grid; x_t = alpha_t x0 + sigma_t eps.

    progressive   the student's one step from t to s must land where `substeps` DDIM steps of the teacher land; its
                  target is the x0 that DDIM would have needed (Salimans and Ho 2022, 2202.00512, algorithm 2):
                  x0 = (x_s - (sigma_s/sigma_t) x_t) / (alpha_s (1 - e^-h))
    consistency   the student's estimate must be the same all along a path of the ODE: x0_hat(x_t, t) = x0_hat(x_s, s),
                  the latter held fixed, and x at s = 0 (Song et al. 2023, 2303.01469). x_s is the teacher's step from
                  x_t (distillation, algorithm 2) or the diffused x0 with the same noise (training, algorithm 3,
                  without a teacher). The distance is the square and the student its own target, without a moving
                  average (Song and Dhariwal 2023, 2310.14189, section 3.2). Their pseudo-Huber distance did worse on
                  the plane: an energy distance of 0.035 to 0.044 to the data where the square reached 0.004 to 0.008.
    lcm           consistency distillation of a guided teacher: its guidance is folded into the student, which then
                  needs one evaluation a step (Luo et al. 2023, 2310.04378)
    reflow        the plain loss on the pairs (noise, what the teacher makes of it) instead of independent ones: paths
                  become straight (Liu et al. 2022, 2209.03003, algorithm 1)

A consistency student predicts noise, velocity, flow or EDM's output, whose estimate of x0 is x itself where there is
no noise, as the boundary condition asks.

Measured on a mixture in the plane with an exact teacher (tests/core/test_distill.py), energy distance to exact samples:
the teacher by DDIM 0.031 in 4 steps, over 0.5 in one; after 400 to 600 steps of training the progressive student 0.001
in 4, reflow below 0.01 in 4, consistency distillation 0.004 in 4 and 0.005 in one, consistency training (12 levels)
0.066 in one and 0.18 in 4: it needs many more levels and steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, NetworkDenoiser
from multidiff.core.guidance import ClassifierFree
from multidiff.core.loss import DiffusionLoss, Weighting
from multidiff.core.method import Method
from multidiff.core.sample import sample
from multidiff.core.samplers.step import Sampler, Transition
from multidiff.core.schedule import expand

Objective = Callable[[NetworkDenoiser, Tensor, Tensor, Tensor, Condition, Tensor | None], tuple[Tensor, Tensor]]
"""(student, x0 (B, *event), noise (B, *event), u (B,), condition, weight) -> (loss (B,), log_snr (B,))."""


def _neighbours(times: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """(t, s) (B,) float64: the step of a falling grid (N + 1,) that u in [0, 1) falls into."""
    grid = times.double().to(u.device)
    i = (u.double() * (len(grid) - 1)).long().clamp(max=len(grid) - 2)
    return grid[i], grid[i + 1]


def _counted(square: Tensor, condition: Condition, weight: Tensor | None) -> Tensor:
    """The mean (B,) of the squared errors that count: those not known, weighted. See `DiffusionLoss`."""
    counts = torch.ones_like(square) if weight is None else weight.to(square).expand_as(square)
    if condition and "mask" in condition:
        counts = counts * (1 - condition["mask"].to(square))
    total = counts.flatten(1).sum(1).clamp(min=torch.finfo(square.dtype).tiny)
    return (counts * square).flatten(1).sum(1) / total


def _ddim(teacher: Denoiser, x: Tensor, t: Tensor, s: Tensor, condition: Condition, substeps: int) -> Tensor:
    """x_s, by DDIM steps of the teacher, equal in t."""
    for k in range(substeps):
        near, far = (t + (s - t) * j / substeps for j in (k, k + 1))
        x = Transition.between(teacher.schedule, near, far).first_order(x, teacher(x, near, condition).x0)
    return x


def _check_substeps(substeps: int) -> None:
    if substeps < 1:
        raise ValueError(f"substeps {substeps} must be at least 1")


@dataclass(frozen=True)
class Progressive:
    """One student step for `substeps` of the teacher's, between neighbours of `times`, the student's own grid.

    The paper halves the steps again and again, each student teaching the next (substeps = 2). `weighting` is w(lambda)
    of |x0_hat - target|^2, for example `edm` (SNR + 1).
    """

    teacher: Denoiser
    times: Tensor
    weighting: Weighting
    substeps: int = 2

    def __post_init__(self) -> None:
        _check_substeps(self.substeps)

    def __call__(
        self,
        student: NetworkDenoiser,
        x0: Tensor,
        noise: Tensor,
        u: Tensor,
        condition: Condition = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        schedule = student.schedule
        t, s = _neighbours(self.times, u)
        x_t = schedule.diffuse(x0, noise, t)
        with torch.no_grad():
            x_s = _ddim(self.teacher, x_t, t, s, condition, self.substeps)
            step = Transition.between(schedule, t, s)
            kept = expand(step.sigma_s / step.sigma_t, x_t) * x_t
            target = (x_s - kept) / expand(step.alpha_s * (1 - step.decay), x_t)
        log_snr = schedule.log_snr(t)
        scale = self.weighting(log_snr, student.parameterization.factor(schedule, t))
        square = expand(scale, x0) * (student(x_t, t, condition).x0 - target) ** 2
        return _counted(square, condition, weight), log_snr


@dataclass(frozen=True)
class Consistency:
    """Equal estimates at neighbours of `times`: with a teacher distillation, without one consistency training.

    Training on a grid of few steps learns fast and is biased, on one of many it is exact and slow: refine the grid as
    training goes on. A teacher that takes several `substeps` from one time of the grid to the next has no such bias.
    """

    times: Tensor
    teacher: Denoiser | None = None
    substeps: int = 1

    def __post_init__(self) -> None:
        _check_substeps(self.substeps)

    def __call__(
        self,
        student: NetworkDenoiser,
        x0: Tensor,
        noise: Tensor,
        u: Tensor,
        condition: Condition = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        schedule = student.schedule
        _check_boundary(student)
        t, s = _neighbours(self.times, u)
        x_t = schedule.diffuse(x0, noise, t)
        with torch.no_grad():
            if self.teacher is None:
                x_s = schedule.diffuse(x0, noise, s)
            else:
                x_s = _ddim(self.teacher, x_t, t, s, condition, self.substeps)
            # Any time will do where s = 0: the student is not asked there.
            inner = student(x_s, torch.where(s > 0, s, t), condition).x0
            target = torch.where(expand(s > 0, x_s).bool(), inner, x_s / expand(schedule.alpha(s), x_s))
        square = (student(x_t, t, condition).x0 - target) ** 2
        return _counted(square, condition, weight), schedule.log_snr(t)


def _check_boundary(student: NetworkDenoiser) -> None:
    """The estimate must be x where there is no noise: the prediction must involve the noise."""
    near = torch.full((), 1e-3, dtype=torch.float64)
    if float(student.parameterization.coefficients(student.schedule, near)[1]) == 0:
        raise ValueError("a consistency student cannot predict data: at t = 0 its estimate must be x itself")


@dataclass(frozen=True)
class Reflow:
    """`loss` on the teacher's own pairs: x0 is what `sampler` (deterministic) makes of the noise over `times`.

    The x0 of the batch is not used. Every batch costs a run of the teacher.
    """

    teacher: Denoiser
    sampler: Sampler
    times: Tensor
    loss: DiffusionLoss

    def __call__(
        self,
        student: NetworkDenoiser,
        x0: Tensor,
        noise: Tensor,
        u: Tensor,
        condition: Condition = None,
        weight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        made = sample(self.teacher, self.sampler, self.times, lambda step, stream=0: noise, condition)
        return self.loss(student, made, noise, u, condition, weight)


def consistency_distillation(teacher: Denoiser, times: Tensor, substeps: int = 1) -> Consistency:
    """Consistency distillation of `teacher`."""
    return Consistency(times, teacher, substeps)


def consistency_training(times: Tensor) -> Consistency:
    """Consistency training, without a teacher."""
    return Consistency(times)


def latent_consistency(
    teacher: Denoiser, times: Tensor, scale: float, null: Mapping[str, Tensor], substeps: int = 1
) -> Consistency:
    """LCM: consistency distillation of `teacher` under classifier-free guidance of one `scale`."""
    return Consistency(times, ClassifierFree(teacher, scale, null), substeps)


DISTILLATIONS: dict[str, Method] = {
    "progressive": Method(Progressive, "one step for two of the teacher's", "Salimans and Ho 2022, 2202.00512"),
    "consistency": Method(consistency_distillation, "one estimate along a path", "Song et al. 2023, 2303.01469"),
    "consistency-training": Method(consistency_training, "without a teacher", "Song and Dhariwal 2023, 2310.14189"),
    "lcm": Method(latent_consistency, "consistency of the guided teacher", "Luo et al. 2023, 2310.04378"),
    "reflow": Method(Reflow, "straight paths from the teacher's pairs", "Liu et al. 2022, 2209.03003"),
}
