"""Steps that are weighted sums, with weights that depend on the times alone.

    x_s = w_x x_t + w_0 x0 + sum_k w_k f_k + w_z z

f_k is what the k-th step before estimated, x0 or eps. Nearly every sampler is such a sum; they differ in their weights.
A step on its own computes the weights it needs; a run computes those of its whole path at once (`plan`), so that what
a step costs besides the denoiser is the sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.samplers.step import Draw, State
from multidiff.core.schedule import NoiseSchedule, expand

Weight = Tensor | float
"""float64 of t's shape (B, ...), or one number for the whole batch."""

W = TypeVar("W")

ZERO = torch.zeros(())


class Weights(NamedTuple):
    """The weights of x_t, x0, the past (newest first) and the noise. `eps`: those of x_t and x0 in eps, for samplers
    that look back on eps instead of x0."""

    x: Weight
    x0: Weight
    past: tuple[Weight, ...] = ()
    noise: Weight = 0.0
    eps: tuple[Weight, Weight] | None = None


class Planned(ABC, Generic[W]):
    """A sampler of known weights W: `Weights`, or several of them where a step has more than one evaluation."""

    @property
    def memory(self) -> int:
        """How many past estimates it looks back on."""
        return 0

    @abstractmethod
    def weights(self, schedule: NoiseSchedule, t: Tensor, s: Tensor, past: Sequence[Tensor]) -> W:
        """The weights of the step from t to s, given the times (newest first) of as many steps before as there are, up
        to `memory`. All times float64 of one shape, which is also the weights'."""

    @abstractmethod
    def step(self, denoiser: Denoiser, state: State, s: Tensor, weights: W, draw: Draw, condition: Condition) -> State:
        """The step from state.t to s with the weights that belong to it."""

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        past = [earlier.t for earlier in state.history[: self.memory]]
        weights = self.weights(denoiser.schedule, state.t.double(), s.double(), past)
        return self.step(denoiser, state, s, weights, draw, condition)


class OneEvaluation(Planned[Weights]):
    """The step of a single sum, after one evaluation at its start."""

    def step(
        self, denoiser: Denoiser, state: State, s: Tensor, weights: Weights, draw: Draw, condition: Condition
    ) -> State:
        x, x0 = state.x, denoiser(state.x, state.t, condition).x0
        eps = None if weights.eps is None else weighted_sum((weights.eps[0], x), (weights.eps[1], x0))
        terms = [(weights.x0, x0)]
        if present(weights.x):
            terms.append((weights.x, x))
        for weight, earlier in zip(weights.past, state.history, strict=False):
            terms.append((weight, earlier.x0 if earlier.eps is None else earlier.eps))
        if present(weights.noise):
            terms.append((weights.noise, draw()))
        return state.advance(weighted_sum(*terms), s, x0, self.memory, eps)


def present(weight: Weight) -> bool:
    """Whether a weight is anywhere different from 0."""
    return bool(weight) if isinstance(weight, float) else bool((weight != 0).any())


def weighted_sum(first: tuple[Weight, Tensor], *others: tuple[Weight, Tensor]) -> Tensor:
    """The sum of weight * tensor (B, *event), in the first tensor's dtype. One new tensor, whatever the number.

    Half precision is summed in float32 and rounded once: the weights of high orders are large and nearly cancel.
    """
    weight, x = first
    if x.dtype.itemsize < 4:
        return weighted_sum((weight, x.float()), *others).to(x.dtype)
    # Adding to nothing takes half the time of a product with a Python number.
    result = torch.add(ZERO, x, alpha=weight) if isinstance(weight, float) else x * expand(weight, x)
    for weight, v in others:
        if isinstance(weight, float):
            result.add_(v, alpha=weight)
        else:
            result.addcmul_(expand(weight, result), v.to(result))
    return result


def plan(sampler: Planned[W], schedule: NoiseSchedule, times: Tensor, rises: Sequence[bool]) -> list[W | None]:
    """The weights of each step of a path of times (N + 1, ...), float64; None for those that rise.

    Numbers where times are (N + 1,), tensors (...) otherwise. A rise forgets the past, as `states` does.
    """
    steps: dict[int, list[int]] = {}  # by the length of their past
    age = 0
    for i, rise in enumerate(rises):
        if not rise:
            steps.setdefault(min(age, sampler.memory), []).append(i)
        age = 0 if rise else age + 1
    result: list[W | None] = [None] * len(rises)
    for length, members in steps.items():
        at = torch.tensor(members)
        past = [times[at - back] for back in range(1, length + 1)]
        weights = sampler.weights(schedule, times[at], times[at + 1], past)
        for i, row in zip(members, _rows(weights, len(members)), strict=True):
            result[i] = row
    return result


def _rows(weights: Any, count: int) -> list[Any]:
    """Nested tuples of tensors (count, ...) as `count` nested tuples of what each holds there."""
    if isinstance(weights, Tensor):
        return weights.tolist() if weights.ndim == 1 else list(weights)
    if not isinstance(weights, tuple) or not weights:
        return [weights] * count
    make = getattr(weights, "_make", tuple)
    return [make(row) for row in zip(*(_rows(part, count) for part in weights), strict=True)]
