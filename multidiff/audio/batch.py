"""Sounds -> prepared rows -> training batches.

A row is one clip of fixed size: `wave` (n,) int16, `mel` (M, F) float16, `samples` () int64 that are sound (the
rest is padding). Everything after that needs tensors and a generator only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.audio.codec import MelCodec, MelModule
from multidiff.audio.data import AudioData
from multidiff.modality import Batch, Example

SHORTEST_CROP = 0.5
"""Share of the clip's length: crops are this long or longer, so that other durations can be sampled as well."""

FILL, CONTINUE = 0.3, 0.2
"""Rates at which a training item has a hole to fill, or a beginning to continue; the rest is free generation."""


def prepare(example: Example, data: AudioData, codec: MelModule) -> dict[str, Tensor]:
    """The row of one clip of at most `data.seconds`, padded with silence to it."""
    wave = codec.wave(example.media)
    size = codec.samples(data.seconds)
    wave = wave[:size]
    padded = F.pad(wave, (0, size - len(wave)))
    with torch.no_grad():
        log_mel = codec.log_mel(padded[None].to(codec.log_mel.window.device))[0]
    return {
        "wave": (padded.clamp(-1, 1) * 32767).round().to(torch.int16),
        "mel": log_mel.cpu().half(),
        "samples": torch.tensor(len(wave)),
    }


def batch(rows: dict[str, Tensor], codec: MelCodec, generator: torch.Generator) -> Batch:
    """Crops of one random length, at random places of the sounds, encoded; a task for each.

    x0 (B, C, T); condition: `mask` (B, 1, T), `known` (B, C, T), `seconds` (B, 2), which are where the crop begins in
    its sound, and where the sound ends as far as the crop shows it. Weight 0 on padding.
    """
    log_mel, samples = rows["mel"].float(), rows["samples"]
    compression, hop = codec.spec.compression, codec.spec.mel.hop
    longest = math.ceil(log_mel.shape[-1] / compression)
    shortest = max(round(SHORTEST_CROP * longest), 1)
    length = shortest + int(uniform(1, generator) * (longest - shortest + 1))
    size = length * compression

    frames = (samples.cpu() + hop - 1) // hop
    start = (uniform(len(frames), generator) * ((frames - size).clamp(min=0) + 1)).long()
    active = (frames - start).clamp(max=size)
    with torch.no_grad():
        x0 = codec.autoencoder.encode(crop(log_mel, start, size, math.log(codec.log_mel.floor)))
    sounding = (active + compression - 1) // compression
    weight = (torch.arange(length) < sounding[:, None])[:, None].to(x0)
    mask = known_frames(sounding, length, generator)[:, None].to(x0)
    seconds = torch.stack([start, start + active], dim=1) * (hop / codec.rate)
    return Batch(x0, {"mask": mask, "known": x0 * mask, "seconds": seconds.to(x0)}, weight)


def known_frames(sounding: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """(B, length) bool: what a random task gives of sounds of `sounding` (B,) frames.

    Nothing; all but a hole of a tenth to six tenths; or the first quarter to three quarters.
    """
    count = len(sounding)
    task, share, place = (uniform(count, generator) for _ in range(3))
    index = torch.arange(length)
    hole = ((0.1 + 0.5 * share) * sounding).ceil()
    begin = (place * (sounding - hole + 1)).floor()
    fill = (index < begin[:, None]) | (index >= (begin + hole)[:, None])
    beginning = index < ((0.25 + 0.5 * share) * sounding).floor()[:, None]
    return torch.where((task < FILL)[:, None], fill, beginning & (task < FILL + CONTINUE)[:, None])


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """(count,) numbers in [0, 1) on the CPU, whatever the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device).cpu()


def crop(values: Tensor, start: Tensor, size: int, fill: float) -> Tensor:
    """`size` items along the last axis of values (B, ..., N) from each row's `start` (B,), `fill` beyond the end."""
    index = (start[:, None] + torch.arange(size)).to(values.device)
    inside = index < values.shape[-1]
    shape = (len(start), *[1] * (values.dim() - 2), size)
    index = index.clamp(max=values.shape[-1] - 1).view(shape).expand(*values.shape[:-1], size)
    return values.gather(-1, index).masked_fill(~inside.view(shape), fill)
