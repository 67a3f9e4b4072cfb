"""Consistency: the student's estimate is the same all along a path of the ODE. Song et al. 2023 (2303.01469).

    x0_hat(x_t, t) = x0_hat(x_s, s) for neighbours t > s of a grid, the latter held fixed, and x at s = 0

x_s is the teacher's step from x_t (distillation, algorithm 2), or the diffused x0 with the same noise (training,
algorithm 3, without a teacher). The student is its own target, without a moving average (Song and Dhariwal 2023,
2310.14189, section 3.2). It predicts noise, velocity, flow or EDM's output, whose estimate of x0 is x itself where
there is no noise, as the boundary condition asks. The error is weighted as in the plain loss ("simple": as an error
of the prediction): an error made where there is little noise is handed on to all higher levels, and unweighted x0
hides it. On the plane that takes the energy distance to the data from 0.18 to below 0.01 without a teacher.

LCM (Luo et al. 2023, 2310.04378) is consistency distillation of the guided teacher, with its guidance folded into the
student and a DDIM step over many of the teacher's levels at once (its k = 20 of 1000: `levels` = 50). The paper draws
the scale anew for each sample and tells it to the student (algorithm 1); here the teacher's one scale is folded in, as
by every method, so that the student is a network like any other, and has no scale to choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, NetworkDenoiser
from multidiff.core.distill.lesson import Examples, Lesson, check_count, distance, follow, neighbours
from multidiff.core.schedule import expand


@dataclass(frozen=True)
class Consistency:
    """Between neighbours of a grid of `levels` steps (0: the student's own), by `substeps` of the teacher."""

    levels: int = 0
    substeps: int = 4
    sampler: ClassVar[str] = "consistency"
    taught: ClassVar[bool] = True
    critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("substeps", self.substeps)
        if self.levels < 0:
            raise ValueError(f"levels {self.levels} must not be negative")

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]:
        t, s = neighbours(lesson.grid(self.levels or lesson.steps), given.u)
        x_t = lesson.student.schedule.diffuse(given.x0, given.draw(), t)
        with torch.no_grad():
            x_s = follow(lesson.teacher, x_t, t, s, given.condition, self.substeps)
        target = _target(lesson.student, x_s, s, t, given.condition)
        yield "network", distance(lesson, x_t, t, target, given)


def latent_consistency(levels: int = 50) -> Consistency:
    """LCM: one DDIM step between neighbours of many levels."""
    return Consistency(levels, substeps=1)


@dataclass(frozen=True)
class ConsistencyTraining:
    """Without a teacher, on levels that double from `first` to `last` as training goes on.

    Song and Dhariwal 2023 (2310.14189, section 3.4). Few levels teach fast and are biased, many are exact and slow.
    """

    first: int = 10
    last: int = 160
    sampler: ClassVar[str] = "consistency"
    taught: ClassVar[bool] = False
    critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ValueError(f"levels must rise from at least 1, not from {self.first} to {self.last}")

    def levels(self, progress: float) -> int:
        """At a share of the training: every level count lasts equally long."""
        doublings = math.floor(progress * (math.log2(self.last / self.first) + 1))
        return min(self.first * 2**doublings, self.last)

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]:
        schedule, noise = lesson.student.schedule, given.draw()
        t, s = neighbours(lesson.grid(self.levels(lesson.progress)), given.u)
        x_t, x_s = schedule.diffuse(given.x0, noise, t), schedule.diffuse(given.x0, noise, s)
        target = _target(lesson.student, x_s, s, t, given.condition)
        yield "network", distance(lesson, x_t, t, target, given)


@torch.no_grad()
def _target(student: NetworkDenoiser, x_s: Tensor, s: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """The student's estimate at s. Raises ValueError for a student whose estimate at t = 0 is not x itself."""
    near = torch.full((), 1e-3, dtype=torch.float64)
    if float(student.parameterization.coefficients(student.schedule, near)[1]) == 0:
        raise ValueError("a consistency student cannot predict data: at t = 0 its estimate must be x itself")
    # Any time will do where s = 0: the student is not asked there.
    inner = student(x_s, torch.where(s > 0, s, t), condition).x0
    return torch.where(expand(s > 0, x_s).bool(), inner, x_s / expand(student.schedule.alpha(s), x_s))
