"""Completing a given sound: a hole to fill, or what comes after its end or before its beginning.

The given sound keeps its own rate, channels and level: `given` brings it into model space, and `merge` puts the
generated part into a copy of it. Outside the gap and the short crossfades beside it no sample changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from multidiff.audio.codec import PEAK, MelCodec
from multidiff.audio.edges import EDGE, limited
from multidiff.audio.media import FULL_SCALE, Audio, usable
from multidiff.errors import InputError
from multidiff.modality import Given, Spec

FADE = 0.02
"""Seconds of crossfade on each side of the gap, inside the given sound."""


class Fill(Spec):
    """Generate the part between two times anew."""

    start: float = Field(alias="from", ge=0, description="seconds where the gap begins")
    end: float = Field(alias="to", gt=0, description="seconds where the gap ends")


class Extend(Spec):
    """Go on after the end, or begin before the beginning."""

    seconds: float = Field(2.0, alias="extend", description="seconds to append; negative: to put before it")

    @field_validator("seconds")
    @classmethod
    def _not_nothing(cls, value: float) -> float:
        if value == 0:
            raise ValueError("0 s add nothing")
        return value


@dataclass(frozen=True)
class Gap:
    """Where the generated part goes, in samples of the whole that is `length` long and has the given sound at `offset`.

    `scale` is what brings the given sound to `PEAK`.
    """

    start: int
    stop: int
    offset: int
    length: int
    scale: float


def gap(audio: Audio, task: Fill | Extend) -> Gap:
    """The gap of a task in a sound. Raises InputError where it lies outside the sound, MediaError for a bad sound."""
    usable(audio, "the given sound")
    length, scale = audio.samples.shape[1], PEAK / audio.peak
    if isinstance(task, Extend):
        new = max(round(abs(task.seconds) * audio.rate), 1)
        start, offset = (length, 0) if task.seconds > 0 else (0, new)
        return Gap(start, start + new, offset, length + new, scale)
    if not task.start < task.end <= audio.seconds + 0.5 / audio.rate:
        raise InputError(
            f"cannot fill from {task.start:g} to {task.end:g} s: the sound is {audio.seconds:.2f} s long; "
            "choose from < to within it"
        )
    start, stop = round(task.start * audio.rate), min(round(task.end * audio.rate), length)
    return Gap(start, max(stop, start + 1), 0, length, scale)


def given(audio: Audio, place: Gap, codec: MelCodec) -> Given:
    """The latents that lie wholly outside the gap and its crossfades."""
    ratio = codec.rate / audio.rate
    total = round(place.length * ratio)
    margin = FADE * codec.rate
    start, stop = place.start * ratio - margin, place.stop * ratio + margin
    wave = F.pad(codec.wave(audio), (round(place.offset * ratio), 0))
    log_mel = bridged(codec.mel(wave[None]) + math.log(place.scale), start, stop, total, codec)
    with torch.no_grad():
        x = codec.encode_mel(log_mel)
    edges = torch.arange(x.shape[-1] + 1) * codec.stride
    mask = ((edges[1:] <= start) | (edges[:-1] >= stop)).to(x)[None, None]
    return Given(x * mask, mask, context=place)


def bridged(log_mel: Tensor, start: float, stop: float, total: int, codec: MelCodec) -> Tensor:
    """Log-mel (1, S, M, F) of `total` samples with a straight line through the gap from `start` to `stop`.

    What was in the gap, or silence after the end, must not reach the known latents through the autoencoder's
    receptive field. Frames that look into the gap count as part of it.
    """
    reach, hop, frames = codec.log_mel.n_fft / 2, codec.log_mel.hop, codec.log_mel.frames(total)
    index = torch.arange(frames)
    kept = index[(index * hop + reach <= start) | (index * hop - reach >= stop)]
    kept = kept[kept < log_mel.shape[-1]]
    if len(kept) == 0:
        return log_mel.mean(dim=-1, keepdim=True).expand(*log_mel.shape[:-1], frames)
    after = torch.searchsorted(kept, index).clamp(max=len(kept) - 1)
    left, right = kept[(after - (kept[after] > index).long()).clamp(min=0)], kept[after]
    share = ((index - left) / (right - left).clamp(min=1)).clamp(0, 1).to(log_mel)
    return torch.lerp(log_mel[..., left], log_mel[..., right], share)


def merge(generated: Audio, audio: Audio, place: Gap) -> Audio:
    """A copy of `audio` with the generated sound in the gap, crossfaded over FADE seconds on each given side.

    The generated sound holds the given one too; it is brought to the level at which the two are equally loud there,
    and its peaks beyond full scale are limited.
    """
    new = generated.remix(audio.channels).resample(audio.rate).samples[:, : place.length]
    new = np.pad(new, ((0, 0), (0, place.length - new.shape[1])))
    out = np.zeros((audio.channels, place.length), np.float32)
    out[:, place.offset :][:, : audio.samples.shape[1]] = audio.samples
    fade = round(FADE * audio.rate)
    first, last = max(place.start - fade, 0), min(place.stop + fade, place.length)
    is_given = np.ones(place.length, bool)
    is_given[first:last] = False
    there, here = (np.sqrt(np.mean(x[:, is_given].mean(axis=0) ** 2)) if is_given.any() else 0.0 for x in (new, out))
    new = new * (here / there if here > 0 and there > 0 else 1 / place.scale)
    new = limited(torch.from_numpy(new), FULL_SCALE, round(EDGE * audio.rate)).numpy()
    # Squared sine ramps that sum to 1; 0 at the outermost sample, 1 throughout the gap.
    distance = np.maximum(place.start - np.arange(first, last), np.arange(first, last) - (place.stop - 1))
    weight = np.sin(0.5 * np.pi * (1 - np.clip(distance / (fade + 1), 0, 1))) ** 2
    out[:, first:last] += weight * (new[:, first:last] - out[:, first:last])
    return Audio(out, audio.rate)
