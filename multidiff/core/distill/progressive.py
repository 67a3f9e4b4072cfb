"""Progressive distillation: one step of the student for several of the teacher's. Salimans and Ho 2022 (2202.00512).

The student's step from t to s of its own grid must land where the teacher's `substeps` steps land; the target is the
x0 with which DDIM would get there (algorithm 2):

    x0 = (x_s - (sigma_s/sigma_t) x_t) / (alpha_s (1 - e^-h))

The paper halves the steps round after round, each student the next one's teacher (substeps = 2); in one go the errors
of the earlier students are not inherited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.core.distill.lesson import Examples, Lesson, check_count, distance, follow, neighbours, step_target
from multidiff.core.samplers.step import Transition


@dataclass(frozen=True)
class Progressive:
    """`substeps` of the teacher, of second order, for one of the student's."""

    substeps: int = 4
    sampler: ClassVar[str] = "ddim"
    taught: ClassVar[bool] = True
    critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("substeps", self.substeps)

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]:
        schedule = lesson.student.schedule
        t, s = neighbours(lesson.grid(lesson.steps), given.u)
        x_t = schedule.diffuse(given.x0, given.draw(), t)
        with torch.no_grad():
            x_s = follow(lesson.teacher, x_t, t, s, given.condition, self.substeps)
            target = step_target(Transition.between(schedule, t, s), x_t, x_s)
        yield "network", distance(lesson, x_t, t, target, given)
