"""Equal-time training: our point transformer and diffusion-point-cloud's design for the same CPU seconds and shapes.

No prompt, no parts to complete, like parameters, and one loop for all (`bench.equal_time`), with the same points of the
same varied shapes in the same batches. Ours is the network and the diffusion of the recipe `shapes`; theirs is
`bench.pointnet`. Ours samples as the recipe says, theirs by its own ancestral steps, both in as many steps.

Judged by 1-NNA and the figures beside it (`points.metrics`) against held-out shapes. Two rows say what they can reach:
training shapes against the held-out ones, and one part of the training shapes against another, the floor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multidiff import core, recipe, weights
from multidiff.bench import equal_time, pointnet
from multidiff.bench.equal_time import Row, Way
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.points.augment import PointTraining
from multidiff.points.codec import PointCodec
from multidiff.points.media import PointCloud
from multidiff.points.modality import POINTS, PointOptions
from multidiff.train import pack
from multidiff.train.objective import DenoiserObjective

OURS, PEER = "multidiff", "diffusion-point-cloud"
TRAINING, FLOOR = "training shapes", "training shapes, against others of them"
CHANGES = ("text.encoder=none", "data.known=0", "options.points=1024", "train.warmup=20", "train.ema=0.99")
"""From recipes/points/shapes.yaml: no prompts and tasks, as many points as are compared, some hundred steps."""
BATCH = 8
"""Clouds sampled at once."""


class PeerObjective:
    """The peer's loss of the batches that ours sees."""

    def __init__(self, codec: PointCodec, data: PointTraining) -> None:
        self.codec, self.data = codec, data
        self.module = pointnet.PointNetDiffusion()
        self.groups: Mapping[str, nn.Module] = {"network": self.module}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        x0 = POINTS.batch(rows, self.codec, self.data, generator).x0
        yield "network", self.module.loss(x0, generator).mean()

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        return {}

    def sample(self, count: int, steps: int, options: PointOptions) -> list[PointCloud]:
        """Item i from the latent and the noise of seed i."""
        made: list[PointCloud] = []
        for start in range(0, count, BATCH):
            seeds = range(start, min(start + BATCH, count))
            z = self.module.latent(core.SeededNoise(seeds, (pointnet.LATENT,))(0, stream=1))
            denoiser = equal_time.chained(partial(self.module.noise, z=z), pointnet.SCHEDULE)
            x0 = equal_time.ancestral(denoiser, steps, core.SeededNoise(seeds, (options.points, 3)))
            made += self.codec.decode(x0, options)
        return made


def ways(model: Model, data: pack.Pack) -> Iterator[Callable[[], Way]]:
    """Ours and theirs, each made when its turn comes."""
    shapes: Any = model.recipe.data
    options: Any = model.recipe.options

    def own() -> Way:
        return Way(OURS, DenoiserObjective(model, data), partial(_own, model))

    def peer() -> Way:
        codec: Any = model.codec
        objective = PeerObjective(codec, shapes)
        return Way(PEER, objective, partial(objective.sample, options=options))

    return iter((own, peer))


def _own(model: Model, count: int, steps: int) -> list[PointCloud]:
    made: list[PointCloud] = []
    for start in range(0, count, BATCH):
        made += model.sample("", count=min(BATCH, count - start), seed=start, steps=steps, guidance=1.0)
    return made


def shapes_of(data: PointTraining) -> tuple[list[PointCloud], list[PointCloud]]:
    """Held-out shapes (splits val and test), and those to train on. Raises InputError for too few."""
    held_out, known = (
        [example.media for example in chain.from_iterable(POINTS.examples(data, split) for split in splits)]
        for splits in (("val", "test"), ("train",))
    )
    if len(held_out) < 4 or len(known) < 8:
        raise InputError(
            f"{', '.join(data.root)}: {len(held_out)} shapes in the splits 'val' and 'test', {len(known)} in 'train'; "
            "at least 4 and 8 are needed"
        )
    return held_out, known


def drawn(shapes: Sequence[PointCloud], count: int) -> list[PointCloud]:
    """So many of them at most, at random, the same at each call."""
    order = np.random.default_rng(0).permutation(len(shapes))
    return [shapes[i] for i in order[:count]]


def rows(
    roots: Sequence[str],
    seconds: float,
    count: int,
    steps: int,
    changes: Sequence[str] = CHANGES,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Row]:
    """The two rows of training shapes, then one for each way, trained for so many CPU seconds; `count` clouds of each
    against as many of the splits val and test; fewer where these, or halves of the training shapes, are fewer.

    Raises InputError for too few shapes.
    """
    chosen = recipe.load("shapes", [*changes, f"data.root={json.dumps(list(roots))}"])
    shapes: Any = chosen.data
    held_out, known = shapes_of(shapes)
    count = min(count, len(held_out), len(known) // 2)  # 1-NNA of sets of two sizes has no 50 % to compare with
    real, order = drawn(held_out, count), drawn(known, 2 * count)
    one, other = order[:count], order[count:]
    yield Row(FLOOR, 0, 0.0, 0, POINTS.metrics(one, other))
    yield Row(TRAINING, 0, 0.0, 0, POINTS.metrics(real, other))
    torch.manual_seed(chosen.train.seed)
    model = weights.build(chosen, "cpu")
    data = pack.load(chosen, model.codec)
    judge = partial(POINTS.metrics, real)
    yield from equal_time.judged(ways(model, data), data.train, chosen.train, seconds, count, steps, judge, say)


def markdown(found: Iterator[Row], steps: int) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    heads = ["by", "parameters, M", "CPU minutes", "training steps", "1-NNA (CD), %", "95 %", "MMD (CD) x1e3"]
    heads += ["coverage, %", "JSD", "roughness x1e3"]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    told: dict[str, float] = {}
    for row in found:
        told = row.metrics
        cells = [row.name, *["-"] * 3]
        if row.steps:
            cells[1:] = [f"{row.parameters / 1e6:.2f}", f"{row.seconds / 60:.1f}", str(row.steps)]
        nna, low, high = (100 * told[f"1nna_cd{end}"] for end in ("", "_low", "_high"))
        cells += [f"{nna:.1f}", f"{low:.1f} to {high:.1f}", f"{1e3 * told['mmd_cd']:.2f}"]
        cells += [f"{100 * told['coverage_cd']:.0f}", f"{told['jsd']:.3f}", f"{1e3 * told['roughness']:.1f}"]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}; {told['generated_count']:.0f} clouds of each "
        f"in {steps} steps against {told['real_count']:.0f} held-out ones, whose roughness is "
        f"{1e3 * told['roughness_real']:.1f}; 1-NNA: 50 is best."
    )
