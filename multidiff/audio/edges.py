"""Where sounds begin, end, go round and reach full scale: gradually, so that nothing clicks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.005
"""Seconds over which a generated sound fades in and out."""


def rising(size: int) -> Tensor:
    """Squared sine from 0 to 1, neither included, (size,): it and its mirror image sum to 1."""
    return torch.sin(0.5 * math.pi * torch.arange(1, size + 1) / (size + 1)).square()


def faded(waves: Tensor, size: int) -> Tensor:
    """Waveforms (..., n) rising from and falling to silence within `size` samples, or n/2 if that is less."""
    size = min(size, waves.shape[-1] // 2)
    ramp = rising(size).to(waves)
    middle = ramp.new_ones(waves.shape[-1] - 2 * size)
    return waves * torch.cat([ramp, middle, ramp.flip(0)])


def stretched(waves: Tensor, samples: int) -> Tensor:
    """Waveforms (..., n) that go round in a circle, as (..., samples) of the same circle: by their Fourier series, of
    what lies below half of both rates."""
    below = torch.fft.rfft(waves)[..., : (min(waves.shape[-1], samples) + 1) // 2]
    return torch.fft.irfft(below, samples) * (samples / waves.shape[-1])


def limited(waves: Tensor, ceiling: float, size: int) -> Tensor:
    """Waveforms (channels, n) turned down together about each peak beyond `ceiling`, within 2 `size` samples of it.

    A look-ahead limiter: the mean over 2 size + 1 samples of the least gain that any of 2 size + 1 samples allows.
    """
    allowed = (ceiling / waves.abs().amax(dim=0, keepdim=True)).clamp(max=1)
    least = -F.max_pool1d(-allowed, 2 * size + 1, 1, size)
    return waves * F.avg_pool1d(least, 2 * size + 1, 1, size, count_include_pad=False)
