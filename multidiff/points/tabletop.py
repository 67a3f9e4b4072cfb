"""Procedural things that stand on tables, for completing scans of them: boxes, tins, bottles, cups, bowls, balls.

Lengths are in metres, y is up and the table is y = 0. Hollow things are rings of staves, since solids are convex.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from multidiff.points.solids import Solid, ball, box, frustum, rod
from multidiff.points.synth import Kinds, Shape, one, sized

STAVES = 20
"""Of a round wall."""
OVERLAP = 1.06
"""How much wider staves are than their share of the ring, so that no gap is left."""


def wall(low: float, high: float, foot: float, top: float, thickness: float) -> list[Solid]:
    """A round wall open at both ends, from height `low` and radius `foot` to height `high` and radius `top`."""
    staves = []
    for angle in (np.arange(STAVES) + 0.5) * 2 * np.pi / STAVES:
        out, along = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])
        start, end = foot * out + [0, low, 0], top * out + [0, high, 0]
        half = OVERLAP * max(foot, top) * np.tan(np.pi / STAVES)
        linear = np.stack([thickness / 2 * out, (end - start) / 2, half * along], axis=1)
        staves.append(Solid("box", linear, (start + end) / 2))
    return staves


def carton(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.05, 0.28, "low", "tall")
    width, depth = rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.2)
    solids = [box((0, height / 2, 0), (width, height, depth))]
    if rng.random() < 0.3:
        # Open: a bottom and four walls.
        t = rng.uniform(0.004, 0.01)
        solids = [box((0, t / 2, 0), (width, t, depth))]
        solids += [box((s * (width - t) / 2, height / 2, 0), (t, height, depth)) for s in (-1, 1)]
        solids += [box((0, height / 2, s * (depth - t) / 2), (width, height, t)) for s in (-1, 1)]
        return solids, "open box", tall, []
    return solids, "box", tall, []


def tin(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.05, 0.25, "flat", "tall")
    radius = rng.uniform(0.03, 0.07)
    solids = [frustum((0, 0, 0), (0, height, 0), radius, one(rng, (1.0, 1.0, rng.uniform(0.8, 1.2))))]
    return solids, "tin", tall, []


def bottle(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.16, 0.32, "small", "tall")
    radius, neck = rng.uniform(0.028, 0.05), rng.uniform(0.25, 0.45)
    shoulder, throat = rng.uniform(0.5, 0.65) * height, rng.uniform(0.7, 0.8) * height
    solids = [
        frustum((0, 0, 0), (0, shoulder + 0.001, 0), radius),
        frustum((0, shoulder, 0), (0, throat + 0.001, 0), radius, neck),
        frustum((0, throat, 0), (0, height, 0), neck * radius),
    ]
    return solids, "bottle", tall, []


def cup(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.06, 0.14, "low", "tall")
    top = rng.uniform(0.03, 0.05)
    foot, thick = top * rng.uniform(0.7, 1.0), rng.uniform(0.004, 0.008)
    solids = [*wall(0, height, foot, top, thick), frustum((0, 0, 0), (0, thick, 0), foot)]
    if rng.random() < 0.25:
        return solids, "beaker", tall, []
    reach, low, high = rng.uniform(0.02, 0.035), 0.25 * height, 0.78 * height
    x = 0.9 * (foot + top) / 2
    bent = [(x, low), (x + reach, 1.3 * low), (x + reach, 0.95 * high), (x, high)]
    for a, b in pairwise(bent):
        solids.append(rod((*a, 0.0), (*b, 0.0), rng.uniform(0.004, 0.006)))
    return solids, "cup", tall, ["a handle"]


def bowl(rng: Generator) -> Shape:
    height, deep = sized(rng, 0.035, 0.1, "shallow", "deep")
    top, thick = rng.uniform(0.06, 0.13), rng.uniform(0.004, 0.008)
    foot, middle = top * rng.uniform(0.35, 0.55), top * rng.uniform(0.8, 0.92)
    solids = [frustum((0, 0, 0), (0, thick, 0), foot)]
    solids += wall(0, 0.45 * height, foot, middle, thick) + wall(0.43 * height, height, middle, top, thick)
    return solids, "bowl", deep, []


def globe(rng: Generator) -> Shape:
    size = rng.uniform(0.06, 0.22)
    squash = one(rng, (1.0, 1.0, rng.uniform(0.7, 1.3)))
    return [ball((0, squash * size / 2, 0), (size, squash * size, size))], "ball", [], []


KINDS: Kinds = {"ball": globe, "bottle": bottle, "bowl": bowl, "box": carton, "cup": cup, "tin": tin}
