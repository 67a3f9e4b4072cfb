"""Sampling under what is known: completion of a known region, and editing.

These need nothing of the network. A network trained with masks is told the known region in its condition
instead (`denoiser.keep_known`), which is better where it exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.noise import Noise
from multidiff.core.sample import states
from multidiff.core.samplers.step import Draw, Sampler, State

KNOWN_STREAM = -1
"""The stream of the noise on the known region; samplers draw from 0 up."""


@dataclass(frozen=True)
class Replacement:
    """A sampler that puts the known region, diffused to the level reached, in its place after every step.

    Song et al. 2021 (2011.13456, section 5 and appendix I.2). known (B, *event), mask broadcastable to it, 1 where
    known. At the end the known region is exactly `known`. The unknown region is only drawn towards what fits (it
    never sees the joint law); `repaint_times` repairs that.
    """

    sampler: Sampler
    known: Tensor
    mask: Tensor

    def __call__(self, denoiser: Denoiser, state: State, s: Tensor, draw: Draw, condition: Condition = None) -> State:
        after = self.sampler(denoiser, state, s, draw, condition)
        noise = draw(KNOWN_STREAM) if bool((denoiser.schedule.sigma(s) > 0).any()) else torch.zeros_like(after.x)
        known = denoiser.schedule.diffuse(self.known.to(after.x), noise, s)
        return replace(after, x=torch.where(self.mask.bool(), known, after.x))


def repaint_times(times: Tensor, jump: int = 10, repeats: int = 10) -> Tensor:
    """RePaint's path: after every `jump` steps down, back up and down again, `repeats` times in all.

    Lugmayr et al. 2022 (2201.09865, appendix B), for use with `Replacement`: going back up mixes what was generated
    with what is known. times (N + 1,) -> (M + 1,); 1 repeat is the path itself.
    """
    if jump < 1 or repeats < 1:
        raise ValueError(f"jump {jump} and repeats {repeats} must be at least 1")
    path = [0]
    for start in range(0, len(times) - 1, jump):
        stop = min(start + jump, len(times) - 1)
        for _ in range(repeats - 1):
            path += [*range(start + 1, stop + 1), start]
        path += range(start + 1, stop + 1)
    return times[path]


def sdedit(
    denoiser: Denoiser,
    sampler: Sampler,
    times: Tensor,
    noise: Noise,
    x0: Tensor,
    strength: float,
    condition: Condition = None,
) -> Iterator[State]:
    """States of an edit: x0 (B, *event) diffused part of the way, then sampled from there.

    Meng et al. 2022 (2108.01073). strength in (0, 1]: the share of the grid's steps that is taken; 1 starts from
    times[0]. Raises ValueError outside of it.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength {strength} must lie in (0, 1]")
    steps = max(1, round(strength * (len(times) - 1)))
    rest = times[len(times) - 1 - steps :].double()
    start = denoiser.schedule.diffuse(x0, noise(0), rest[0].expand(len(x0)))
    return states(denoiser, sampler, rest, noise, condition, start)
