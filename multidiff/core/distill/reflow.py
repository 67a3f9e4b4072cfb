"""Reflow: the plain loss on the pairs (noise, what the teacher makes of it) instead of independent ones, so that
paths become straight and few steps follow them. Liu et al. 2022 (2209.03003, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from multidiff.core.distill.lesson import Examples, Lesson, check_count
from multidiff.core.sample import sample
from multidiff.core.samplers.multistep import DPMSolver


@dataclass(frozen=True)
class Reflow:
    """The teacher makes its pairs in `teacher_steps` of DPM-Solver++ 2M, a run for every batch; x0 is not used."""

    teacher_steps: int = 16
    sampler: ClassVar[str] = "ddim"
    taught: ClassVar[bool] = True
    critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("teacher_steps", self.teacher_steps)

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]:
        noise, times = given.draw(), lesson.grid(self.teacher_steps)
        made = sample(lesson.teacher, DPMSolver(order=2), times, lambda step, stream=0: noise, given.condition)
        yield "network", lesson.loss(lesson.student, made, noise, given.u, given.condition, given.weight)[0]
