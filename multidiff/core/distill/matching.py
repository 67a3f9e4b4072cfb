"""Distribution matching (DMD): the student's samples shall follow the teacher's law, path by path they need not.

The gradient of KL(student's law || teacher's law) at a sample x of the student is the difference of two scores. Noised
to a random t, with the teacher's estimate and that of a `critic`, a denoiser trained on the student's own samples
(Yin et al. 2024, 2311.18828, eq. 7 and 8):

    gradient = (x0_critic(x_t, t) - x0_teacher(x_t, t)) / mean|x - x0_teacher(x_t, t)|

DMD2 (Yin et al. 2024, 2405.14867) leaves out the regression on the teacher's pairs, trains the critic several times
for each step of the student (section 4.2), and in several steps trains the student on what it makes of noise itself,
as it will sample (section 4.5). Its discriminator on real data is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.distill.lesson import Examples, Lesson, check_count
from multidiff.core.loss import counted
from multidiff.core.samplers.consistency import Consistency
from multidiff.core.samplers.step import State
from multidiff.core.schedule import expand

FIRST, LAST = 0.02, 0.98
"""Times between which samples are noised (2311.18828, section 3.2)."""
GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class DistributionMatching:
    """DMD2 without its discriminator; `critic_steps` updates of the critic for one of the student."""

    critic_steps: int = 2
    sampler: ClassVar[str] = "consistency"
    taught: ClassVar[bool] = True
    critic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("critic_steps", self.critic_steps)

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]:
        critic, u = lesson.critic, given.u
        if critic is None:
            raise ValueError("distribution matching needs a critic, a network of the student's shape")
        for _ in range(self.critic_steps):
            with torch.no_grad():
                made = _made(lesson, given, u)
            yield "critic", lesson.loss(critic, made, given.draw(), u, given.condition, given.weight)[0]
            u = (u + GOLDEN) % 1  # other steps and levels for the next update
        made = _made(lesson, given, u)
        gradient = _gradient(lesson.teacher, critic, made.detach(), given.draw(), u, given.condition)
        yield "network", counted((made - (made.detach() - gradient)) ** 2, given.condition, given.weight) / 2


def _made(lesson: Lesson, given: Examples, u: Tensor) -> Tensor:
    """The student's estimates of x0 at one step of its own sampling, the same for the batch, drawn by u."""
    student, times = lesson.student, lesson.grid(lesson.steps).to(u.device)
    noise, sampler = given.draw(), Consistency()
    state = State(expand(student.schedule.sigma(times[0]), noise) * noise, times[0].expand(len(noise)))
    with torch.no_grad():
        for s in times[1 : 1 + int(u[0] * lesson.steps)]:
            state = sampler(student, state, s.expand(len(noise)), given.draw, given.condition)
    return student(state.x, state.t, given.condition).x0


@torch.no_grad()
def _gradient(
    teacher: Denoiser, critic: Denoiser, made: Tensor, noise: Tensor, u: Tensor, condition: Condition
) -> Tensor:
    """Of the divergence between the two laws at the student's samples, normalised for each."""
    t = FIRST + (LAST - FIRST) * u.double()
    x_t = teacher.schedule.diffuse(made, noise, t)
    real, fake = teacher(x_t, t, condition).x0, critic(x_t, t, condition).x0
    scale = (made - real).abs().flatten(1).mean(1).clamp(min=torch.finfo(made.dtype).eps)
    return (fake - real) / expand(scale, made)
