"""The tempo of a sound, and whether it is the one that a prompt states."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from multidiff.audio.media import SILENCE, Audio
from multidiff.modality import Example

TOLERANCE = 0.04
"""Share of the stated tempo by which the one that is found may differ: that of Gouyon et al. 2006 ("An experimental
comparison of audio tempo induction algorithms", IEEE TASLP 14), whose Accuracy 2 allows thirds besides octaves."""
OCTAVES = (0.5, 1.0, 2.0)
"""Multiples of the stated tempo that count as right: listeners, too, differ by them."""


def stated(prompt: str) -> float | None:
    """The N of "N bpm" in a prompt, beats per minute."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*bpm\b", prompt, re.IGNORECASE)
    return float(found[1]) if found else None


def tempo(audio: Audio) -> float:
    """Beats per minute by librosa's autocorrelation of onset strength; NaN for silence."""
    if audio.peak < SILENCE:
        return float("nan")
    import librosa

    return float(np.ravel(librosa.feature.tempo(y=audio.mono().samples[0], sr=audio.rate))[0])


def agrees(audio: Audio, bpm: float) -> bool:
    """Whether a sound has that tempo, within TOLERANCE and an octave."""
    found = tempo(audio)
    return any(abs(found - octave * bpm) <= TOLERANCE * octave * bpm for octave in OCTAVES)


def prompt_accuracy(made: Sequence[Example]) -> dict[str, float]:
    """`bpm_accuracy`: the share of sounds whose tempo agrees with the one that their text states, where any does."""
    told = [(example.media, bpm) for example in made if (bpm := stated(example.text)) is not None]
    return {"bpm_accuracy": float(np.mean([agrees(audio, bpm) for audio, bpm in told]))} if told else {}
