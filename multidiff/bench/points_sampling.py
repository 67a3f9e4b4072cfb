"""What completing a part costs, all of it but files: from a cloud to whole ones, by the points that are asked for.

The shipped `shapes` with its own steps and guidance, as `multidiff complete shapes part.ply` asks it; the part is what
is seen of a procedural chair. Each is the least of two runs, after one of all that is loaded when first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from multidiff.bench import meter, steps
from multidiff.bench.points import exponent
from multidiff.model import Model
from multidiff.points import synth
from multidiff.points.completion import trials
from multidiff.points.media import PointCloud

MODEL = "shapes"
ASKED = ((2048, 4), (2048, 1), (4096, 1), (8192, 1), (16_384, 1), (32_768, 1))
"""Points and completions. Those of one completion tell how time grows."""


@dataclass(frozen=True)
class Row:
    """Of `count` completions of as many points: the points of the first with those that were given, the seconds, and
    the MiB of the run."""

    points: int
    count: int
    made: int
    seconds: float
    memory: float


def rows(model: Model, asked: Sequence[tuple[int, int]] = ASKED) -> Iterator[Row]:
    part = trials(synth.shape(4)[0], 0)[0].given
    model.complete(part, "complete", points=64, steps=1, count=2)
    for points, count in asked:
        runs: list[tuple[float, int]] = []
        run = partial(_run, partial(model.complete, part, "complete", points=points, count=count), runs)
        run()
        memory = meter.growth(run)
        seconds, made = min(runs)
        yield Row(points, count, made, seconds, memory)


def _run(complete: Callable[[], list[PointCloud]], runs: list[tuple[float, int]]) -> None:
    """Appends the seconds it takes and the points of the first completion."""
    clock = steps.clock()
    start = clock()
    made = complete()
    runs.append((clock() - start, len(made[0])))


def markdown(model: Model, found: Iterator[Row]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    yield "| points asked for | completions | points of each, with those given | s | s each | MiB |"
    yield "| ---: |" + " ---: |" * 5
    alone: list[Row] = []
    for row in found:
        alone += [row] if row.count == 1 else []
        cells = [str(row.points), str(row.count), str(row.made), f"{row.seconds:.3g}", f"{row.seconds / row.count:.3g}"]
        yield "| " + " | ".join([*cells, f"{row.memory:.0f}"]) + " |"
    asked = model.settings().sampling
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}, float32; {model.name}, {asked.steps} steps, "
        f"guidance {asked.guidance:g}. From {alone[0].points} to {alone[-1].points} points the seconds of one "
        f"completion grow as points^{exponent([row.points for row in alone], [row.seconds for row in alone]):.2f}."
    )
