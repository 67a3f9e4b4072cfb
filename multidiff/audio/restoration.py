"""Restoring a given sound: without its noise, or with the high frequencies that it lost.

The network sees the whole degraded sound (the condition `degraded`, as in training), and generates the clean one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from multidiff.audio.codec import PEAK, MelCodec
from multidiff.audio.edges import EDGE, limited
from multidiff.audio.media import FULL_SCALE, Audio, usable
from multidiff.errors import InputError
from multidiff.modality import Given, Spec

AUDIBLE = 1e-6
"""Power of a frequency against the strongest, -60 dB, from which a sound counts as having it."""
CROSSOVER = 0.85
"""Share of the cutoff at which generated frequencies begin to come in."""
FRAME = 1024
"""Samples, over which loudness is compared."""
LOUDER = 4.0
"""Factor by which generated frequencies are turned up at most: a larger one says that the two have little in common."""
NEARLY = 0.95
"""Share of the model's highest frequency from which a sound has nothing left to gain."""


class Denoise(Spec):
    """Generate the sound without its noise."""


class SuperResolution(Spec):
    """Generate the frequencies above those that a sound has."""

    cutoff: float | None = Field(None, gt=0, description="Hz above which the sound has nothing; measured if not given")


@dataclass(frozen=True)
class Degraded:
    """What `restored` needs: `scale` brought the given sound to PEAK; its frequencies below `cutoff` Hz are kept."""

    scale: float
    cutoff: float = 0.0


def given(audio: Audio, task: Denoise | SuperResolution, codec: MelCodec) -> Given:
    """Nothing is known, but for the degraded latents. Raises InputError for a sound with all frequencies already."""
    usable(audio, "the given sound")
    cutoff = 0.0
    if isinstance(task, SuperResolution):
        highest, cutoff = codec.spec.mel.f_max, task.cutoff or bandwidth(audio)
        if cutoff > NEARLY * highest:
            raise InputError(
                f"the given sound has frequencies up to {cutoff:.0f} Hz and the model makes them up to {highest} Hz: "
                "nothing to add; give a --cutoff below"
            )
    with torch.no_grad():
        x = codec.encode([audio])
    mask = x.new_zeros(1, 1, x.shape[-1])
    return Given(torch.zeros_like(x), mask, {"degraded": x}, Degraded(PEAK / audio.peak, cutoff))


def bandwidth(audio: Audio) -> float:
    """Hz: the highest frequency within 60 dB of the strongest, in the mean of the spectrum over time."""
    from scipy.signal import welch

    samples = audio.mono().samples[0]
    frequency, power = welch(samples, audio.rate, nperseg=min(2048, len(samples)))
    return float(frequency[power >= AUDIBLE * power.max()].max())


def _loudness(new: np.ndarray, audio: Audio) -> float:
    """The gain at which the magnitudes of (channels, n) are nearest to those of the given sound, by least squares.

    Loud parts decide, in which noise counts little. Between a quarter and LOUDER.
    """
    window = torch.hann_window(FRAME)
    ours, theirs = (
        torch.stft(
            torch.from_numpy(samples).float(), FRAME, window=window, pad_mode="constant", return_complex=True
        ).abs()
        for samples in (new.mean(axis=0), audio.mono().samples[0])
    )
    level = float(ours.square().sum())
    return min(max(float((ours * theirs).sum()) / level, 1 / LOUDER), LOUDER) if level > 0 else 1.0


def restored(generated: Audio, audio: Audio, degraded: Degraded) -> Audio:
    """The generated sound at the level of `audio`, with its channels and length; of more frequencies also at a rate
    that holds them, and below the cutoff the given sound itself; peaks beyond full scale are limited."""
    rate = max(audio.rate, generated.rate) if degraded.cutoff else audio.rate
    length = round(audio.samples.shape[1] * rate / audio.rate)
    new = generated.remix(audio.channels).resample(rate).samples[:, :length]
    new = np.pad(new, ((0, 0), (0, length - new.shape[1]))) / degraded.scale
    if not degraded.cutoff:
        return Audio(new * _loudness(new, audio), rate)
    old = audio.resample(rate).samples[:, :length]
    old = np.pad(old, ((0, 0), (0, length - old.shape[1])))
    frequency = np.fft.rfftfreq(length, 1 / rate)
    place = np.clip((frequency / degraded.cutoff - CROSSOVER) / (1 - CROSSOVER), 0, 1)
    above = np.sin(0.5 * np.pi * place) ** 2
    spectra = np.fft.rfft(old), np.fft.rfft(new)
    # As loud as the given sound where both have something to say.
    both = (frequency >= 0.5 * degraded.cutoff) & (frequency <= CROSSOVER * degraded.cutoff)
    there, here = (np.sqrt((np.abs(each[:, both]) ** 2).sum()) for each in spectra)
    gain = min(there / here, LOUDER) if here > 0 else 1.0
    mixed = torch.from_numpy(np.fft.irfft(spectra[0] * (1 - above) + spectra[1] * above * gain, length))
    return Audio(limited(mixed, max(FULL_SCALE, audio.peak), round(EDGE * rate)).numpy(), rate)
