"""Our point transformer beside Point-E's at like parameters, and our distances of clouds beside what others use.

For each number of points the two networks run in turns on one shape and the least of the runs counts (`bench.steps`).
How time grows with the points is told as the exponent p of seconds ~ points^p, fitted to all sizes by least squares of
the logarithms: 1 is linear, 2 quadratic. What does not depend on the points (weights, latents, prompt) makes it
smaller, as does the linear part of a transformer.

Distances are of two procedural shapes; SciPy's part (ours) and POT's take float64, torch.cdist takes the float32 that
a training has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from multidiff.bench import points_peers
from multidiff.bench.points_peers import POT, PlainTransformer, cdist_chamfer, pot_emd
from multidiff.bench.steps import Network, Runs, timed
from multidiff.points import synth
from multidiff.points.distance import chamfer_l2, emd
from multidiff.points.network import PointNetwork, PointNetworkSpec
from multidiff.points.sampling import Array

OURS, POINT_E, CDIST = "multidiff", "Point-E's transformer", "torch.cdist"
TOKENS = 24
SMALL = PointNetworkSpec(dim=96, latent_dim=128, latents=64, blocks=4, layers=1, condition_dim=64)
"""size=small of recipes/points/shapes.yaml, which is also what was shipped."""
BUDGET = 5.0
"""Seconds of runs in turns for each number of points or pair of distances, two turns at least."""
SHAPES = (0, 1)
"""Of `points.synth`, whose distance is measured."""


def ours(spec: PointNetworkSpec) -> Network:
    network = PointNetwork(spec)

    def call(x: Tensor, tokens: Tensor) -> Tensor:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        found = network(x, torch.zeros(len(x), device=x.device), {"tokens": tokens, "tokens_mask": mask})
        return found if isinstance(found, Tensor) else found[0]

    return Network(network, call)


def plain(dim: int, depth: int, heads: int) -> Network:
    module = PlainTransformer(dim, depth, heads)
    return Network(module, lambda x, tokens: module(x, torch.zeros(len(x), device=x.device), tokens))


NETWORKS: dict[str, Callable[[], Network]] = {OURS: partial(ours, SMALL), POINT_E: partial(plain, 216, 4, 3)}
"""Heads of 72 channels and 54 channels to a block, near to Point-E's 64 and 43 (512 channels, 12 blocks): at so few
parameters more blocks would cost the transformer more time, since attention grows with their number."""
POINTS: dict[int, tuple[str, ...]] = {
    1024: (OURS, POINT_E),
    4096: (OURS, POINT_E),
    16384: (OURS, POINT_E),
    32768: (OURS,),
}
"""Who is measured at how many points."""
COMPARED: dict[str, tuple[Callable[[Array, Array], float], str, Callable[[Array, Array], float]]] = {
    "Chamfer": (chamfer_l2, CDIST, cdist_chamfer),
    "EMD": (emd, POT, pot_emd),
}
"""Of a distance ours, and a peer with its own."""
CLOUDS = (512, 1024, 2048)


@dataclass(frozen=True)
class Row:
    """Of a network on one shape: parameters, FLOP and seconds (forward, training step), MiB of a training step with the
    weights."""

    name: str
    points: int
    parameters: int
    flop: tuple[float, float]
    seconds: tuple[float, float]
    memory: float


@dataclass(frozen=True)
class Distance:
    """Of two clouds: what ours and the peer's say, and the seconds of both."""

    name: str
    peer: str
    points: int
    values: tuple[float, float]
    seconds: tuple[float, float]


def flop(name: str, points: int) -> tuple[float, float]:
    """Of a shape, forward and training step; counted without computing."""
    with torch.device("meta"):
        return Runs(NETWORKS[name], (points, 3), 1, TOKENS).flop()


def rows(points: dict[int, tuple[str, ...]] = POINTS, budget: float = BUDGET) -> Iterator[Row]:
    for count, names in points.items():
        networks = [Runs(NETWORKS[name], (count, 3), 1, TOKENS) for name in names]
        turns: list[Callable[[], object]] = []
        for runs in networks:
            turns += [runs.forward, runs.step]
        least = timed(turns, budget)
        for i, (name, runs) in enumerate(zip(names, networks, strict=True)):
            seconds = (least[2 * i], least[2 * i + 1])
            yield Row(name, count, runs.parameters, flop(name, count), seconds, runs.memory())


def exponent(points: Sequence[int], seconds: Sequence[float]) -> float:
    """p of seconds ~ points^p by least squares of the logarithms; NaN for a single size."""
    return float(np.polyfit(np.log(points), np.log(seconds), 1)[0]) if len(points) > 1 else math.nan


def distances(counts: Sequence[int] = CLOUDS, budget: float = BUDGET) -> Iterator[Distance]:
    """A row for each distance whose peer is installed, at each number of points."""
    for name, (own, peer, other) in COMPARED.items():
        for count in () if points_peers.missing(peer) else counts:
            a, b = (synth.shape(index, count)[0].points for index in SHAPES)
            least = timed([partial(own, a, b), partial(other, a, b)], budget)
            yield Distance(name, peer, count, (own(a, b), other(a, b)), (least[0], least[1]))


def markdown(found: Iterator[Row]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    heads = ["points", "by", "M", "GFLOP forward", "forward, s", "ours is faster", "training step, s", "ours is faster"]
    heads += ["MiB", "ours takes"]
    yield "| " + " | ".join(heads) + " |"
    yield "| ---: | --- |" + " ---: |" * (len(heads) - 2)
    own: dict[int, Row] = {}
    every: dict[str, list[Row]] = {}
    for row in found:
        every.setdefault(row.name, []).append(row)
        cells = [str(row.points), row.name, f"{row.parameters / 1e6:.2f}", f"{row.flop[0] / 1e9:.2f}"]
        if row.name == OURS:
            own[row.points] = row
        beside = own.get(row.points) if row.name != OURS else None
        for which in (0, 1):
            times = "-" if beside is None else f"{row.seconds[which] / beside.seconds[which]:.1f} x"
            cells += [f"{row.seconds[which]:.3g}", times]
        share = "-" if beside is None else f"{100 * beside.memory / row.memory:.0f} %"
        yield "| " + " | ".join([*cells, f"{row.memory:.0f}", share]) + " |"
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}, float32; one shape and a prompt of {TOKENS} "
        "tokens; a training step is forward and backward."
    )
    for name, its in every.items():
        sizes = [row.points for row in its]
        grown = [exponent(sizes, [row.seconds[which] for row in its]) for which in (0, 1)]
        counted = exponent(sizes, [row.flop[0] for row in its])
        yield (
            f"{name}, {sizes[0]} to {sizes[-1]} points: seconds grow as points^{grown[0]:.2f} forward and "
            f"points^{grown[1]:.2f} in a training step, FLOP as points^{counted:.2f}."
        )


def distances_markdown(found: Iterator[Distance]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    yield "| distance | points | ours, s | by | s | ours is faster | value | relative difference |"
    yield "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |"
    for row in found:
        (own, other), seconds = row.values, row.seconds
        cells = [row.name, str(row.points), f"{seconds[0]:.3g}", row.peer, f"{seconds[1]:.3g}"]
        cells += [f"{seconds[1] / seconds[0]:.1f} x", f"{own:.6f}", f"{abs(own - other) / other:.0e}"]
        yield "| " + " | ".join(cells) + " |"
    for peer in (peer for _, peer, _ in COMPARED.values()):
        if absent := points_peers.missing(peer):
            yield ""
            yield f"Left out: {absent}."
