"""Procedural furniture with captions: varied, clean, and the same for the same index.

Lengths are in metres, y is up, the front looks along +z and the floor is y = 0. Solids that touch overlap a little
(`LAP`), so that no inner faces are left when the union's surface is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from multidiff.points.media import PointCloud
from multidiff.points.solids import Solid, ball, box, frustum, rod, sample_union

LAP = 0.01
STARTS = {"train": 0, "val": 1_000_000, "test": 2_000_000}
"""Index of the first shape of each split."""

Shape = tuple[list[Solid], str, list[str], list[str]]
"""Solids, noun, adjectives, features; the last three make the caption."""

Kinds = Mapping[str, Callable[[Generator], Shape]]
"""Kinds of one family, by their names."""

T = TypeVar("T")

SHAPES = (("square", 0), ("round", 1))


def one(rng: Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def sized(rng: Generator, low: float, high: float, small: str, large: str) -> tuple[float, list[str]]:
    """A length in [low, high]; in the outer thirds it earns its word."""
    share = rng.random()
    words = [small] if share < 1 / 3 and small else [large] if share > 2 / 3 and large else []
    return low + share * (high - low), words


def _legs(rng: Generator, count: int, width: float, depth: float, height: float) -> tuple[list[Solid], str]:
    """Legs from the floor to `height`, under a top of width x depth, and the words for them."""
    top, radius = height + LAP, rng.uniform(0.014, 0.03)
    if count == 1:
        foot = min(width, depth) * rng.uniform(0.28, 0.42)
        return [
            frustum((0, 0, 0), (0, 0.03, 0), foot),
            frustum((0, 0.02, 0), (0, top, 0), 1.3 * radius),
        ], "one central leg"
    style = one(rng, ("square", "round", "splayed"))
    inset = 1.5 * radius
    if count == 3:
        angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
        reach = min(width, depth) / 2 - inset
        places = [(reach * 0.8 * float(np.cos(a)), reach * 0.8 * float(np.sin(a))) for a in angles]
    else:
        places = [(sx * (width / 2 - inset), sz * (depth / 2 - inset)) for sx in (-1, 1) for sz in (-1, 1)]
    number = {3: "three", 4: "four"}[count]
    if style == "square":
        legs = [box((x, top / 2, z), (2 * radius, top, 2 * radius)) for x, z in places]
    elif style == "round":
        legs = [frustum((x, 0, z), (x, top, z), radius) for x, z in places]
    else:
        spread = rng.uniform(1.0, 1.12)
        legs = [frustum((x * spread, 0, z * spread), (0.8 * x, top, 0.8 * z), 0.6 * radius, 1.7) for x, z in places]
    return legs, f"{number} {style} legs"


def _top(round_: bool, width: float, depth: float, height: float, thickness: float) -> Solid:
    """A flat slab whose upper side is at `height`."""
    if round_:
        return frustum((0, height - thickness, 0), (0, height, 0), width / 2)
    return box((0, height - thickness / 2, 0), (width, thickness, depth))


def _back(rng: Generator, width: float, depth: float, seat: float, height: float) -> tuple[list[Solid], str]:
    """A chair's back from the seat at `seat` up to seat + height, and its words."""
    style, tilt, thick = one(rng, ("solid", "slatted", "ladder")), rng.uniform(0, 0.25), rng.uniform(0.02, 0.045)
    z, middle = -depth / 2 + thick / 2, seat + height / 2 - LAP
    lean = lambda y: z - tilt * (y - seat + LAP)  # where the back's plane is at height y
    at = lambda x, y, w, h: box((x, y, lean(y)), (w, h, thick), tilt)
    if style == "solid":
        return [at(0, middle, width, height)], "a solid back"
    post = rng.uniform(0.03, 0.045)
    parts = [at(side * (width - post) / 2, middle, post, height) for side in (-1, 1)]
    if style == "slatted":
        bar = rng.uniform(0.06, 0.09)
        parts.append(at(0, seat - LAP + height - bar / 2, width, bar))
        count = int(rng.integers(3, 6))
        xs = (np.arange(1, count + 1) / (count + 1) - 0.5) * (width - post)
        return parts + [at(float(x), middle, 0.025, height - LAP) for x in xs], "a slatted back"
    count = int(rng.integers(2, 5))
    ys = seat + height * (np.arange(count) + 0.6) / count
    return parts + [at(0, float(y), width, 0.4 * height / count) for y in ys], "a ladder back"


def chair(rng: Generator) -> Shape:
    width, wide = sized(rng, 0.38, 0.56, "narrow", "wide")
    depth, seat = width * rng.uniform(0.9, 1.1), rng.uniform(0.4, 0.5)
    height, tall = sized(rng, 0.3, 0.68, "low-backed", "high-backed")
    legs, legged = _legs(rng, one(rng, (1, 4, 4, 4)), width, depth, seat - 0.03)
    back, backed = _back(rng, width, depth, seat, height)
    solids = [*legs, _top(False, width, depth, seat, 0.04), *back]
    features = [legged, backed]
    if rng.random() < 0.35:
        rest, z = seat + rng.uniform(0.18, 0.26), depth / 2 - 0.04
        for side in (-1, 1):
            x = side * (width / 2 - 0.02)
            solids += [
                box((x, rest, -0.02), (0.05, 0.03, depth)),
                box((x, (rest + seat) / 2, z), (0.03, rest - seat, 0.03)),
            ]
        features.append("armrests")
    return solids, "chair", wide + tall, features


def _upholstered(rng: Generator, width: float, seats: int) -> tuple[list[Solid], list[str]]:
    """A sofa's or armchair's body: base, seat cushions, back, arms and feet."""
    depth, seat, arm = rng.uniform(0.75, 0.95), rng.uniform(0.36, 0.44), rng.uniform(0.1, 0.2)
    back, rest, foot = seat + rng.uniform(0.32, 0.5), seat + rng.uniform(0.14, 0.26), rng.uniform(0.04, 0.14)
    thick, inner = rng.uniform(0.16, 0.24), width - 2 * arm
    solids = [
        box((0, (foot + seat - 0.12) / 2, 0), (width - 0.02, seat - 0.12 - foot, depth - 0.02)),
        box((0, (foot + back) / 2, -depth / 2 + thick / 2), (width - 0.01, back - foot, thick), rng.uniform(0, 0.15)),
    ]
    for side in (-1, 1):
        x = side * (width - arm) / 2
        solids.append(box((x, (foot + rest) / 2, 0), (arm, rest - foot, depth)))
        solids += [frustum((0.95 * x, 0, z * depth), (0.95 * x, foot + LAP, z * depth), 0.022) for z in (-0.4, 0.4)]
    words = []
    if rng.random() < 0.5:
        words.append("rounded arms")
        for side in (-1, 1):
            x = side * (width - arm) / 2
            solids.append(rod((x, rest - 0.01, -depth / 2 + 0.005), (x, rest - 0.01, depth / 2 + 0.02), 0.62 * arm))
    size = inner / seats
    for i in range(seats):
        x = (i - (seats - 1) / 2) * size
        solids.append(box((x, seat - 0.07, thick / 2), (size - 0.015, 0.14, depth - thick + 0.02)))
        solids.append(
            box(
                (x, seat + (back - seat) * 0.5, -depth / 2 + thick + 0.05),
                (size - 0.03, (back - seat) * 0.9, 0.13),
                0.15,
            )
        )
    return solids, words


def armchair(rng: Generator) -> Shape:
    width, wide = sized(rng, 0.72, 1.0, "narrow", "wide")
    solids, features = _upholstered(rng, width, 1)
    return solids, "armchair", wide, features


def sofa(rng: Generator) -> Shape:
    seats = int(rng.integers(2, 5))
    solids, features = _upholstered(rng, seats * rng.uniform(0.58, 0.7) + 0.3, seats)
    return solids, "sofa", [], [f"{('two', 'three', 'four')[seats - 2]} seats", *features]


def stool(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.38, 0.8, "low", "tall")
    word, round_ = one(rng, SHAPES)
    width = rng.uniform(0.3, 0.42)
    legs, legged = _legs(rng, one(rng, (1, 3, 4)), 0.85 * width, 0.85 * width, height - 0.04)
    return [*legs, _top(bool(round_), width, width, height, 0.05)], "stool", [*tall, word], [legged]


def table(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.35, 1.05, "low", "tall")
    word, round_ = one(rng, (*SHAPES, ("rectangular", 0), ("rectangular", 0)))
    depth = rng.uniform(0.6, 1.0)
    width = depth * (rng.uniform(1.4, 2.2) if word == "rectangular" else 1)
    count = 4 if word == "rectangular" else one(rng, (1, 3, 4))
    reach = 0.72 if round_ else 0.96
    legs, legged = _legs(rng, count, reach * width, reach * depth, height - 0.03)
    features, solids = [legged], [*legs, _top(bool(round_), width, depth, height, rng.uniform(0.025, 0.05))]
    if count == 4 and not round_ and rng.random() < 0.3:
        solids.append(_top(False, 0.9 * width, 0.9 * depth, 0.4 * height, 0.02))
        features.append("a lower shelf")
    return solids, "table", [*tall, word], features


def desk(rng: Generator) -> Shape:
    width, wide = sized(rng, 1.0, 1.8, "narrow", "wide")
    depth, height = rng.uniform(0.5, 0.75), rng.uniform(0.7, 0.78)
    sides = one(rng, ((1,), (-1,), (-1, 1), ()))
    solids = [_top(False, width, depth, height, 0.035)]
    for side in (-1, 1):
        if side in sides:
            w, x = 0.36, side * (width / 2 - 0.2)
            solids.append(box((x, (height - 0.02) / 2, 0), (w, height - 0.02, depth - 0.04)))
            for k in range(3):
                y = (k + 0.5) * (height - 0.04) / 3
                solids.append(box((x, y, depth / 2 - 0.02), (w - 0.05, (height - 0.1) / 3, 0.03)))
        else:
            solids.append(
                box((side * (width / 2 - 0.03), (height - 0.02) / 2, 0), (0.035, height - 0.02, depth - 0.04))
            )
    if rng.random() < 0.6:
        solids.append(box((0, 0.6 * height, -depth / 2 + 0.05), (width - 0.08, 0.5 * height, 0.02)))
    words = {0: "panel legs", 1: f"drawers on the {'right' if 1 in sides else 'left'}", 2: "drawers on both sides"}
    return solids, "desk", wide, [words[len(sides)]]


def shelf(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.8, 2.1, "low", "tall")
    width, wide = sized(rng, 0.5, 1.3, "narrow", "wide")
    depth, board, levels = rng.uniform(0.25, 0.4), rng.uniform(0.02, 0.035), int(rng.integers(2, 6))
    ys = np.linspace(board / 2 + 0.03, height - board / 2, levels + 1)
    solids = [box((0, float(y), 0), (width - board, board, depth - 0.01)) for y in ys]
    solids += [box((s * (width - board) / 2, height / 2, 0), (board, height, depth)) for s in (-1, 1)]
    backed = rng.random() < 0.5
    if backed:
        solids.append(box((0, height / 2, -depth / 2 + 0.01), (width - board, height - 0.04, 0.015)))
    number = ("two", "three", "four", "five")[levels - 2]
    return solids, "shelf", tall + wide, [f"{number} levels", "a closed back" if backed else "an open back"]


def _fronts(rng: Generator, width: float, low: float, high: float, z: float, drawers: int) -> list[Solid]:
    """Drawer fronts with knobs between two heights (or two doors, when `drawers` is 0) on the plane z."""
    solids = []
    if drawers:
        step = (high - low) / drawers
        for k in range(drawers):
            y = low + (k + 0.5) * step
            solids.append(box((0, y, z), (width - 0.06, step - 0.025, 0.03)))
            solids.append(ball((0, y, z + 0.03), (0.04, 0.04, 0.04)))
        return solids
    for side in (-1, 1):
        solids.append(box((side * width / 4, (low + high) / 2, z), (width / 2 - 0.03, high - low - 0.02, 0.03)))
        solids.append(box((side * 0.045, (low + high) / 2, z + 0.025), (0.015, 0.14, 0.03)))
    return solids


def cabinet(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.7, 2.0, "low", "tall")
    width, wide = sized(rng, 0.6, 1.4, "narrow", "wide")
    depth, foot = rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.14)
    drawers = int(rng.integers(2, 6)) if rng.random() < 0.5 else 0
    legs = [
        box((x * (width / 2 - 0.04), foot / 2, z * (depth / 2 - 0.04)), (0.05, foot + LAP, 0.05))
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    body = box((0, (foot + height) / 2, 0), (width, height - foot, depth))
    fronts = _fronts(rng, width, foot + 0.02, height - 0.02, depth / 2, drawers)
    feature = f"{('two', 'three', 'four', 'five')[drawers - 2]} drawers" if drawers else "two doors"
    return [*legs, body, *fronts], "cabinet", tall + wide, [feature]


def nightstand(rng: Generator) -> Shape:
    height, tall = sized(rng, 0.42, 0.7, "low", "tall")
    width, depth, drawers = rng.uniform(0.4, 0.55), rng.uniform(0.35, 0.45), int(rng.integers(1, 4))
    foot = rng.uniform(0.08, 0.3 * height if drawers > 1 else 0.6 * height)
    legs, legged = _legs(rng, 4, 0.95 * width, 0.95 * depth, foot)
    body = box((0, (foot + height) / 2, 0), (width, height - foot, depth))
    fronts = _fronts(rng, width, foot + 0.01, height - 0.02, depth / 2, drawers)
    number = ("one drawer", "two drawers", "three drawers")[drawers - 1]
    return (
        [*legs, body, _top(False, width + 0.04, depth + 0.04, height + 0.01, 0.025), *fronts],
        "nightstand",
        tall,
        [number, legged],
    )


def bed(rng: Generator) -> Shape:
    word, width, pillows = one(rng, (("single", 0.95, 1), ("double", 1.6, 2)))
    width, length, base = width * rng.uniform(0.93, 1.07), rng.uniform(1.9, 2.1), rng.uniform(0.22, 0.36)
    head, high = sized(rng, 0.6, 1.3, "low", "high")
    front = length / 2
    legs, _ = _legs(rng, 4, width, length, base - 0.1)
    solids = [
        *legs,
        box((0, base - 0.06, 0), (width, 0.12, length)),
        box((0, base + 0.08, 0.01), (width - 0.05, 0.18, length - 0.06)),
        box((0, head / 2, -front - 0.01), (width + 0.06, head, 0.06)),
    ]
    for k in range(pillows):
        x = (k - (pillows - 1) / 2) * width / 2
        solids.append(ball((x, base + 0.2, -front + 0.28), (0.8 * width / pillows, 0.18, 0.45)))
    features = [f"a {high[0]} headboard" if high else "a headboard", "a pillow" if pillows == 1 else "two pillows"]
    if rng.random() < 0.4:
        solids.append(box((0, 0.5 * (base + 0.25), front + 0.01), (width + 0.04, base + 0.25, 0.05)))
        features.append("a footboard")
    return solids, "bed", [word], features


def lamp(rng: Generator) -> Shape:
    floor = rng.random() < 0.5
    height = rng.uniform(1.3, 1.8) if floor else rng.uniform(0.4, 0.65)
    size = rng.uniform(0.16, 0.26) if floor else rng.uniform(0.12, 0.2)
    shade, pole = size * rng.uniform(1.0, 1.7), 0.02 if floor else 0.015
    solids = [
        frustum((0, 0, 0), (0, 0.03, 0), 0.8 * size, 0.9),
        frustum((0, 0.02, 0), (0, height - 0.3 * shade, 0), pole),
    ]
    if not floor and rng.random() < 0.5:
        solids.append(ball((0, 0.3 * height, 0), (1.2 * size, 0.5 * height, 1.2 * size)))
    style = one(rng, ("cone", "drum", "globe"))
    if style == "globe":
        solids.append(ball((0, height - shade, 0), (2 * size, 2 * size, 2 * size)))
    else:
        solids.append(frustum((0, height - shade, 0), (0, height, 0), size, 0.45 if style == "cone" else 1.0))
    return solids, "floor lamp" if floor else "table lamp", [], [f"a {style} shade"]


def bench(rng: Generator) -> Shape:
    width, wide = sized(rng, 0.9, 1.8, "short", "long")
    depth, seat = rng.uniform(0.35, 0.5), rng.uniform(0.4, 0.48)
    legs, legged = _legs(rng, 4, 0.95 * width, depth, seat - 0.04)
    count = int(rng.integers(1, 5))
    plank = depth / count
    seats = [
        box((0, seat - 0.025, (i - (count - 1) / 2) * plank), (width, 0.05, plank - (0.02 if count > 1 else 0)))
        for i in range(count)
    ]
    solids, features = [*legs, *seats], [legged]
    if count > 1:
        solids += [box((s * 0.42 * width, seat - 0.05, 0), (0.05, 0.03, depth - 0.02)) for s in (-1, 1)]
    if rng.random() < 0.6:
        back, backed = _back(rng, width, depth, seat, rng.uniform(0.3, 0.45))
        solids += back
        features.append(backed)
    return solids, "bench", wide, features


KINDS: Kinds = {
    "armchair": armchair,
    "bed": bed,
    "bench": bench,
    "cabinet": cabinet,
    "chair": chair,
    "desk": desk,
    "lamp": lamp,
    "nightstand": nightstand,
    "shelf": shelf,
    "sofa": sofa,
    "stool": stool,
    "table": table,
}


def label(index: int, kinds: Kinds = KINDS) -> str:
    """The kind of the shape at an index: all kinds take turns."""
    return list(kinds)[index % len(kinds)]


def caption(rng: Generator, noun: str, adjectives: list[str], features: list[str]) -> str:
    """`a tall round table with three legs`; one in five says only the noun, and single details are left out at
    times, so that short prompts work too."""
    terse = rng.random() < 0.2
    words = [] if terse else [word for word in adjectives if rng.random() < 0.85]
    details = [] if terse else [detail for detail in features if rng.random() < 0.75]
    name = " ".join([*words, noun])
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name}" + (f" with {' and '.join(details)}" if details else "")


def shape(index: int, count: int = 4096, kinds: Kinds = KINDS) -> tuple[PointCloud, str]:
    """The shape at an index (0, 1, ...) as `count` points with normals in the unit sphere, and its caption."""
    rng = np.random.default_rng([index, 2026])
    solids, noun, adjectives, features = kinds[label(index, kinds)](rng)
    points, normals = sample_union(solids, count, rng)
    return PointCloud(points, normals=normals).normalized()[0], caption(rng, noun, adjectives, features)
