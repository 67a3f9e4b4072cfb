"""Where in the bar each latent frame lies: what a network is told of a tempo besides the prompt's words.

Words make a network's rhythm waver; the phases of the bar and of its parts, as channels beside the latent, fix it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multidiff.audio.codec import MelModule

PARTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Periods in a beat: of a bar of 4 beats, half of it, the beat, its half and its quarter."""
PHASES = 2 * len(PARTS)


def beat(codec: MelModule, bpm: Tensor, start: Tensor, length: int) -> Tensor:
    """Sines and cosines (B, PHASES, length) of those periods in the middle of each latent frame.

    bpm (B,): beats per minute, 0 where there is no tempo, which makes zeros; start (B,): the seconds from the first
    beat to the first frame.
    """
    seconds = start[:, None] + (torch.arange(length) + 0.5) * (codec.stride / codec.rate)
    phase = 2 * math.pi * torch.tensor(PARTS)[:, None] * (bpm[:, None] / 60 * seconds)[:, None]
    return torch.cat([phase.sin(), phase.cos()], dim=1) * (bpm > 0)[:, None, None]
