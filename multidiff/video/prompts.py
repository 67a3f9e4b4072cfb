"""What captions say that can be seen without a trained judge: where the picture moves, and smoke.

Each figure is to be read beside that of real clips (the column "real against real") and beside faults. Of 50 held-out
clips of simulated smoke colour and side were right in all, the direction of the flow in 49, the order of speeds in 96 %
of pairs; of 146 synthetic clips that move or walk, the direction in all. Of sprites that walk on the spot nothing is
told here; the judge tells action and direction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multidiff.modality import Example
from multidiff.video.flow import drift, way
from multidiff.video.media import Video
from multidiff.video.synth import COLOURS

Array = NDArray[np.float64]
OPPOSITE = {"left": "right", "right": "left", "top": "down", "bottom": "up"}
"""Where what comes from a side goes."""
SMOKE = {**COLOURS, "white": (255, 255, 255)}
"""Colours that smoke is told by; grey would differ from white by its light alone."""
FAST, SLOW = r"\b(quickly|fast)\b", r"\b(gently|slowly)\b"


def prompt_accuracy(made: Sequence[Example]) -> dict[str, float]:
    """Figures of clips and the texts they were made for; each is left out where no text says such a thing.

    `flow_direction_accuracy`: of clips said to be "moving" left, right, up or down, or to come "from the" left, right,
    top or bottom, the share whose mean flow points there rather than in the other three ways. `flow_speed_order`: of
    the pairs of a clip that is said to be quick and one said to be gentle or slow, the share in which the former's flow
    is faster; 0.5 by chance. `smoke_colour_accuracy`, `smoke_side_accuracy`: of texts on smoke that name a colour, or a
    side that it comes from, the share that have it.
    """
    found: dict[str, list[bool]] = {}
    speeds: dict[str, list[float]] = {FAST: [], SLOW: []}
    for example in made:
        text, clip = example.text.lower(), example.media
        towards, pace = _towards(text), [words for words in speeds if re.search(words, text)]
        velocity, speed = drift(clip) if towards or pace else (np.zeros(2), 0.0)
        if towards:
            found.setdefault("flow_direction_accuracy", []).append(way(velocity) == towards)
        for words in pace:
            speeds[words].append(speed)
        if named := re.search(rf"\b({'|'.join(SMOKE)}) smoke\b", text):
            found.setdefault("smoke_colour_accuracy", []).append(smoke_colour(clip) == named[1])
        if side := re.search(r"\bsmoke\b.*\bfrom the (left|right|top|bottom)\b", text):
            found.setdefault("smoke_side_accuracy", []).append(smoke_side(clip) == side[1])
    figures = {name: float(np.mean(each)) for name, each in found.items()}
    if speeds[FAST] and speeds[SLOW]:
        gap = np.array(speeds[FAST])[:, None] - np.array(speeds[SLOW])
        figures["flow_speed_order"] = float(((gap > 0).mean() + (gap >= 0).mean()) / 2)
    return figures


def _towards(text: str) -> str:
    """The way that a text says things move; empty for none."""
    if moving := re.search(r"\bmoving (left|right|up|down)\b", text):
        return moving[1]
    coming = re.search(r"\bfrom the (left|right|top|bottom)\b", text)
    return OPPOSITE[coming[1]] if coming else ""


def smoke_colour(clip: Video) -> str:
    """The colour of SMOKE that what moves adds to the background, nearest in angle; empty where nothing moves."""
    added, weight = _moving(clip)
    mean = (weight[..., None] * added).sum((0, 1, 2))
    if not mean.any():
        return ""
    cosine = {name: float(mean @ np.array(rgb) / np.linalg.norm(rgb)) for name, rgb in SMOKE.items()}
    return max(cosine, key=lambda name: cosine[name])


def smoke_side(clip: Video) -> str:
    """The side nearest to where in the first frame that is which will move; empty where nothing moves."""
    weight = _moving(clip)[1][0]
    if not weight.any():
        return ""
    down, right = ((np.arange(size) + 0.5) / size for size in weight.shape)
    y, x = ((weight.sum(axis) * place).sum() / weight.sum() for axis, place in ((1, down), (0, right)))
    gap = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}
    return min(gap, key=lambda name: gap[name])


def _moving(clip: Video) -> tuple[Array, Array]:
    """What each frame adds to the background, the picture's median colour, (T, H, W, 3), in units of white; and weights
    (T, H, W): its size times the range of the place over time, so that what stands still has none."""
    levels = clip.frames / 255
    added = levels - np.median(levels.reshape(-1, 3), axis=0)
    return added, np.abs(added).mean(-1) * np.ptp(levels, axis=0).mean(-1)
