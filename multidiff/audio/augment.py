"""Sounds varied in training of what listens to them, so that it hears what they are and not which recording."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multidiff.audio.batch import QUIETEST, crop, starts, uniform
from multidiff.audio.tagger import MelCNN
from multidiff.audio.vocoder import MEL_MEAN

MASKED = 0.15
"""The largest share of frames and of bins that a mask hides."""


def varied(rows: dict[str, Tensor], listener: MelCNN, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops (B, M, F) of one random length of rows, changed as follows, and the share (B,) of the row before each
    (`roll(1)`) that is mixed in.

    Turned down; one band of frames and one of bins hidden (SpecAugment: Park et al. 2019, 1904.08779, section 2); a
    share of another sound mixed in (mixup: Zhang et al. 2018, 1710.09412, equation 1).
    """
    mel, floor = rows["mel"].float(), math.log(listener.log_mel.floor)
    (count, bins, frames), shortest = mel.shape, listener.shortest_crop
    size = round(frames * (shortest + (1 - shortest) * float(uniform(1, generator))))
    start = starts(rows["samples"].cpu() // listener.log_mel.hop, size, generator)
    gain = math.log(QUIETEST) * uniform(count, generator)[:, None, None].to(mel)
    sound = (crop(mel, start, size, floor) + gain).clamp(min=floor)
    share = listener.mixed * uniform(count, generator).to(mel)
    mixed = torch.lerp(sound, sound.roll(1, 0), share[:, None, None])
    hidden = band(count, size, generator)[:, None] | band(count, bins, generator)[:, :, None]
    return mixed.masked_fill(hidden.to(mixed.device), MEL_MEAN), share


def band(count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, size) bool: a run of up to MASKED of the size, anywhere."""
    width = MASKED * size * uniform(count, generator)
    start = ((size - width) * uniform(count, generator)).floor()
    index = torch.arange(size)
    return (index >= start[:, None]) & (index < (start + width)[:, None])
