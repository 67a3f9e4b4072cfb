"""What every method of distillation is given and gives: who learns from whom, in how many steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser, NetworkDenoiser
from multidiff.core.loss import DiffusionLoss, counted
from multidiff.core.samplers.multistep import DPMSolver
from multidiff.core.samplers.step import Draw, Sampler, State, Transition
from multidiff.core.schedule import expand


@dataclass(frozen=True)
class Lesson:
    """The parts of one distillation.

    `grid` (steps) -> times (steps + 1,) falling from 1 to 0; the student shall sample in `steps` of them. `teacher`
    carries the guidance that is to be folded in; `critic` is a trained network where the method asks for one.
    `loss` is the loss a denoiser would be trained by. `progress` in [0, 1): the share of the training that is done.
    """

    student: NetworkDenoiser
    teacher: Denoiser
    loss: DiffusionLoss
    grid: Callable[[int], Tensor]
    steps: int
    critic: NetworkDenoiser | None = None
    progress: float = 0.0


@dataclass(frozen=True)
class Examples:
    """What a step of training is given: x0 (B, *event); `draw`, new standard normal noise like it at each call; u (B,)
    uniform in [0, 1), for example from `stratified`; `condition` and `weight` as `DiffusionLoss` takes them."""

    x0: Tensor
    draw: Draw
    u: Tensor
    condition: Condition = None
    weight: Tensor | None = None


class Distillation(Protocol):
    """A method: `losses` yields (group, loss (B,)) for each update of a training step; the student is "network"."""

    sampler: ClassVar[str]
    """The name in SAMPLERS of the sampler that the student is for."""
    taught: ClassVar[bool]
    """Whether it learns from the teacher, or from data alone."""
    critic: ClassVar[bool]
    """Whether a second network, the group "critic", is trained beside the student."""

    def losses(self, lesson: Lesson, given: Examples) -> Iterator[tuple[str, Tensor]]: ...


def neighbours(times: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """(t, s) (B,) float64: the step of a falling grid (N + 1,) that u in [0, 1) falls into."""
    grid = times.double().to(u.device)
    i = (u.double() * (len(grid) - 1)).long().clamp(max=len(grid) - 2)
    return grid[i], grid[i + 1]


def distance(lesson: Lesson, x_t: Tensor, t: Tensor, target: Tensor, given: Examples) -> Tensor:
    """w(lambda) |x0_hat(x_t, t) - target|^2 (B,), by the lesson's loss: as an error of the student's prediction."""
    student = lesson.student
    factor = student.parameterization.factor(student.schedule, t)
    scale = lesson.loss.weighting(student.schedule.log_snr(t), factor) / factor
    error = expand(factor.sqrt(), x_t) * (student(x_t, t, given.condition).x0 - target)
    return counted(expand(scale, x_t) * lesson.loss.square(error), given.condition, given.weight)


def follow(teacher: Denoiser, x: Tensor, t: Tensor, s: Tensor, condition: Condition, substeps: int) -> Tensor:
    """x_s by `substeps` steps of the teacher's ODE, equal in t: the first of order 1, the others DPM-Solver++ 2M."""
    solver: Sampler = DPMSolver(order=2)
    state = State(x, t)
    for k in range(1, substeps + 1):
        state = solver(teacher, state, t + (s - t) * k / substeps, _no_noise, condition)
    return state.x


def _no_noise(stream: int = 0) -> Tensor:
    raise RuntimeError("a deterministic sampler draws no noise")


def step_target(step: Transition, x_t: Tensor, x_s: Tensor) -> Tensor:
    """The x0 with which one DDIM step leads from x_t to x_s: Salimans and Ho 2022 (2202.00512, algorithm 2)."""
    kept = expand(step.sigma_s / step.sigma_t, x_t) * x_t
    return (x_s - kept) / expand(step.alpha_s * (1 - step.decay), x_t)


def check_count(name: str, value: int) -> None:
    """Raises ValueError for a number of steps below 1."""
    if value < 1:
        raise ValueError(f"{name} {value} must be at least 1")
