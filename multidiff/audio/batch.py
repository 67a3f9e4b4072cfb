"""Sounds -> prepared rows -> training batches.

A row is one clip of fixed size, of S channels of sound: `wave` (S, n) int16, `mel` (S, M, F) float16, `samples` ()
int64 that are sound (the rest is padding), `bpm` () float32, the tempo that the caption states, or 0, and `begin` ()
float32, the seconds from the first beat, with which its file begins. Everything after that needs tensors and a
generator only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.audio.beat import beat
from multidiff.audio.codec import PEAK, MelCodec, MelModule
from multidiff.audio.data import AudioData
from multidiff.audio.degrade import spoiled
from multidiff.audio.tempo import stated
from multidiff.modality import Batch, Example

SHORTEST_CROP = 0.5
"""Share of the clip's length: crops are this long or longer, so that other durations can be sampled as well."""

FILL, CONTINUE = 0.3, 0.2
"""Rates at which a training item has a hole to fill, or a beginning to continue; the rest is free generation."""

RESTORE = 0.2
"""Rate at which an item is to be restored, of those generated freely otherwise and of the others alike."""

QUIETEST = 0.1
"""What must work with recordings of every level learns from crops turned down by a random factor between 1 and this."""

LOUDEST_GAIN = 3.0
"""At most, by which an item to be restored is turned up: degraded versions are brought to PEAK, as given sounds are."""


def prepare(example: Example, data: AudioData, codec: MelModule) -> dict[str, Tensor]:
    """The row of one clip of at most `data.seconds`, padded with silence to it."""
    size = codec.samples(data.seconds)
    wave = codec.wave(example.media)[:, :size]
    padded = F.pad(wave, (0, size - wave.shape[1]))
    with torch.no_grad():
        log_mel = codec.mel(padded[None])[0]
    return {
        "wave": (padded.clamp(-1, 1) * 32767).round().to(torch.int16),
        "mel": log_mel.cpu().half(),
        "samples": torch.tensor(wave.shape[1]),
        "bpm": torch.tensor(stated(example.text) or 0.0),
        "begin": torch.tensor(example.start),
    }


def batch(rows: dict[str, Tensor], codec: MelCodec, generator: torch.Generator) -> Batch:
    """Crops of one random length, at random places of the sounds, encoded; a task for each.

    x0 (B, C, T); condition: `mask` (B, 1, T), `known` (B, C, T), `degraded` (B, C, T), `beat` (B, PHASES, T), which
    has its first beat where the sound begins, and `seconds` (B, 2), which are where the crop begins in its sound, and
    where the sound ends as far as the crop shows it. Weight 0 on padding.
    """
    log_mel, samples = rows["mel"].float(), rows["samples"]
    compression, hop = codec.spec.compression, codec.spec.mel.hop
    longest = math.ceil(log_mel.shape[-1] / compression)
    shortest = max(round(SHORTEST_CROP * longest), 1)
    length = shortest + int(uniform(1, generator) * (longest - shortest + 1))
    size = length * compression

    frames = (samples.cpu() + hop - 1) // hop
    start = starts(frames, size, generator)
    active = (frames - start).clamp(max=size)
    floor = math.log(codec.log_mel.floor)
    restoring = uniform(len(frames), generator) < RESTORE
    chosen = restoring.nonzero()[:, 0].to(log_mel.device)
    degraded = log_mel.new_zeros(len(frames), codec.channels, length)
    with torch.no_grad():
        if len(chosen):
            shown, gain = degraded_mel(rows["wave"][chosen], codec, generator)
            degraded[chosen] = codec.encode_mel(crop(shown, start[restoring], size, floor))
            log_mel = log_mel.index_copy(0, chosen, (log_mel[chosen] + gain).clamp(min=floor))
        x0 = codec.encode_mel(crop(log_mel, start, size, floor))
    sounding = (active + compression - 1) // compression
    weight = (torch.arange(length) < sounding[:, None])[:, None].to(x0)
    mask = known_frames(sounding, length, generator)[:, None].to(x0)
    mask = mask * ~restoring[:, None, None].to(mask.device)
    seconds = torch.stack([start, start + active], dim=1) * (hop / codec.rate)
    since = rows["begin"].cpu() + seconds[:, 0]
    condition = {
        "mask": mask,
        "known": x0 * mask,
        "degraded": degraded,
        "beat": beat(codec, rows["bpm"].cpu(), since, length).to(x0),
        "seconds": seconds.to(x0),
    }
    return Batch(x0, condition, weight)


def degraded_mel(wave: Tensor, codec: MelCodec, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Log-mels (B, S, M, F) of spoiled versions, at PEAK, of int16 waveforms (B, S, n), and the logs of the gains
    (B, 1, 1, 1) that the sounds need to be as loud as they are in these."""
    shares = torch.stack([uniform(len(wave), generator) for _ in range(3)])
    waves = spoiled(wave.float() / 32768, shares, generator)
    gain = (PEAK / waves.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)).clamp(max=LOUDEST_GAIN)
    return codec.mel(waves * gain), gain.log()[..., None]


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


def sides(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows with every channel of their sounds as an item of its own: `wave` (B S, n), `mel` (B S, M, F)."""
    count = rows["wave"].shape[1]
    return {
        name: value.flatten(0, 1) if name in ("wave", "mel") else value.repeat_interleave(count, dim=0)
        for name, value in rows.items()
    }


def uniform(count: int, generator: torch.Generator) -> Tensor:
    """(count,) numbers in [0, 1) on the CPU, whatever the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device).cpu()


def starts(lengths: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Random places (B,) int64 where crops of `size` begin, wholly within lengths (B,) that are as long or longer."""
    return (uniform(len(lengths), generator) * ((lengths - size).clamp(min=0) + 1)).long()


def crop(values: Tensor, start: Tensor, size: int, fill: float) -> Tensor:
    """`size` items along the last axis of values (B, ..., N) from each row's `start` (B,), `fill` beyond the end."""
    index = (start[:, None] + torch.arange(size)).to(values.device)
    inside = index < values.shape[-1]
    shape = (len(start), *[1] * (values.dim() - 2), size)
    index = index.clamp(max=values.shape[-1] - 1).view(shape).expand(*values.shape[:-1], size)
    return values.gather(-1, index).masked_fill(~inside.view(shape), fill)
