"""Clips that are known to be wrong: their figures say whether the metrics answer.

The faults of motion leave every picture as it is, so that a metric of pictures alone cannot see them; flicker changes
the light of whole frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from multidiff.frames import Frames
from multidiff.modality import Example
from multidiff.video.media import Video

FLICKER = 0.1
"""By how much at most a frame is brighter or darker, as a share of its light."""


def faults(examples: Sequence[Example], seed: int) -> Mapping[str, list[Example]]:
    """Fault -> these clips with it: the first frame throughout, played backwards, frames in random order, flicker."""
    random = np.random.default_rng(seed)
    ways: dict[str, Callable[[Frames], Frames]] = {
        "frozen": lambda frames: frames[:1].repeat(len(frames), axis=0),
        "reversed": lambda frames: frames[::-1],
        "shuffled": random.permutation,
        "flickering": lambda frames: _flickering(frames, random),
    }
    return {
        name: [
            replace(example, media=Video(np.ascontiguousarray(way(example.media.frames)), example.media.fps))
            for example in examples
        ]
        for name, way in ways.items()
    }


def _flickering(frames: Frames, random: np.random.Generator) -> Frames:
    light = 1 + FLICKER * random.uniform(-1, 1, (len(frames), 1, 1, 1))
    return np.round(light * frames).clip(0, 255).astype(np.uint8)
