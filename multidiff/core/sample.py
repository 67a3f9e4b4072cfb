"""The one sampling loop: a generator over states; a sample is the last one's x.

The path of times usually falls from 1 to 0. Where it rises (RePaint, restarts) the loop diffuses forward and the
history starts anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.noise import Noise
from multidiff.core.samplers.planned import Planned, plan
from multidiff.core.samplers.step import Sampler, State, diffuse_forward
from multidiff.core.schedule import expand


def states(
    denoiser: Denoiser,
    sampler: Sampler,
    times: Tensor,
    noise: Noise,
    condition: Condition = None,
    x: Tensor | None = None,
) -> Iterator[State]:
    """Every state of a run: len(times) of them, the first before any step.

    times (N + 1, ...): a grid from `timesteps`; its further axes, if any, broadcast with (B, ...).
    x (B, *event) at times[0]; without it the run starts from sigma(times[0]) noise(0).
    Raises ValueError when times holds fewer than two, or a step that does not fall, or rise, for all alike.
    """
    times = times.double()
    changes = times.reshape(len(times), -1).diff(dim=0)
    falls, rises = (changes < 0).all(1), (changes > 0).all(1)
    if not len(changes) or not bool((falls | rises).all()):
        raise ValueError("times must hold two entries or more, and each step fall, or rise, for all samples alike")
    if x is None:
        start = noise(0)
        x = expand(denoiser.schedule.sigma(times[0]), start) * start
    planned = sampler if isinstance(sampler, Planned) else None
    rising = rises.tolist()
    weights = plan(planned, denoiser.schedule, times, rising) if planned else []
    of_samples = times if times.ndim > 1 else times[:, None]
    levels = of_samples.expand(len(times), len(x), *of_samples.shape[2:]).unbind()

    state = State(x, levels[0])
    yield state
    for i, s in enumerate(levels[1:]):
        draw = partial(noise, i + 1)
        with torch.no_grad() if torch.is_grad_enabled() else nullcontext():
            if rising[i]:
                x = diffuse_forward(denoiser.schedule, state.x, state.t, s, draw())
                state = State(x, s, state.step + 1)
            elif planned:
                state = planned.step(denoiser, state, s, weights[i], draw, condition)
            else:
                state = sampler(denoiser, state, s, draw, condition)
        yield state


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    times: Tensor,
    noise: Noise,
    condition: Condition = None,
    x: Tensor | None = None,
) -> Tensor:
    """x (B, *event) at the end of a run; see `states`."""
    for state in states(denoiser, sampler, times, noise, condition, x):
        last = state
    return last.x
