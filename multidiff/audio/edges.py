"""Where sounds begin, end, meet and reach full scale: gradually, so that nothing clicks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE, SEAM = 0.005, 0.03
"""Seconds over which a generated sound fades in and out, and over which the end of a loop becomes its beginning."""


def rising(size: int) -> Tensor:
    """Squared sine from 0 to 1, neither included, (size,): it and its mirror image sum to 1."""
    return torch.sin(0.5 * math.pi * torch.arange(1, size + 1) / (size + 1)).square()


def faded(waves: Tensor, size: int) -> Tensor:
    """Waveforms (..., n) rising from and falling to silence within `size` samples, or n/2 if that is less."""
    size = min(size, waves.shape[-1] // 2)
    ramp = rising(size).to(waves)
    middle = ramp.new_ones(waves.shape[-1] - 2 * size)
    return waves * torch.cat([ramp, middle, ramp.flip(0)])


def crossfaded(ending: Tensor, beginning: Tensor, size: int) -> Tensor:
    """`beginning` (..., n), whose first `size` samples, or n, come gradually out of `ending` (..., >= size).

    Weights r and 1 - r, divided by the level of their sum at the correlation that the two have: 1 for equal sounds,
    equal power for unrelated ones.
    """
    size = min(size, beginning.shape[-1])
    ending, into = ending[..., :size], beginning[..., :size]
    r = rising(size).to(into)
    alike = torch.cosine_similarity(ending, into, dim=-1).clamp(min=0)[..., None]
    level = (r.square() + (1 - r).square() + 2 * alike * r * (1 - r)).sqrt()
    return torch.cat([torch.lerp(ending, into, r) / level, beginning[..., size:]], dim=-1)


def limited(waves: Tensor, ceiling: float, size: int) -> Tensor:
    """Waveforms (channels, n) turned down together about each peak beyond `ceiling`, within 2 `size` samples of it.

    A look-ahead limiter: the mean over 2 size + 1 samples of the least gain that any of 2 size + 1 samples allows.
    """
    allowed = (ceiling / waves.abs().amax(dim=0, keepdim=True)).clamp(max=1)
    least = -F.max_pool1d(-allowed, 2 * size + 1, 1, size)
    return waves * F.avg_pool1d(least, 2 * size + 1, 1, size, count_include_pad=False)
