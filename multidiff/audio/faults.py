"""Sounds that are known to be wrong: their figures say whether the metrics answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from multidiff.audio.media import Audio
from multidiff.modality import Example

NOISE_DB = 20
"""Level of a sound over the noise that is added to it."""


def faults(examples: Sequence[Example], seed: int) -> Mapping[str, list[Example]]:
    """Fault -> as many sounds: these with white noise; those of the most frequent label only, again and again (where
    there are others); white noise as loud as each; silence."""
    random, share = np.random.default_rng(seed), 10 ** (-NOISE_DB / 20)
    ways: dict[str, Callable[[Audio], np.ndarray]] = {
        f"noise at {NOISE_DB} dB": lambda audio: audio.samples + share * _noise(audio, random),
        "white noise": lambda audio: _noise(audio, random),
        "silence": lambda audio: np.zeros_like(audio.samples),
    }
    found = {
        name: [replace(each, media=Audio(way(each.media), each.media.rate)) for each in examples]
        for name, way in ways.items()
    }
    labels = Counter(example.label for example in examples if example.label)
    if len(labels) > 1:
        most = labels.most_common(1)[0][0]
        alike = [example.media for example in examples if example.label == most]
        of_one = [replace(each, media=alike[index % len(alike)]) for index, each in enumerate(examples)]
        found[f"{most.replace('_', ' ')} only"] = of_one
    return found


def _noise(audio: Audio, random: np.random.Generator) -> np.ndarray:
    """White noise at the level of a sound."""
    return np.asarray(np.sqrt(np.mean(audio.samples**2)) * random.standard_normal(audio.samples.shape))
