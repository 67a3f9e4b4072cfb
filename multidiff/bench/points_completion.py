"""Equal-time training for completion: our point transformer as a denoiser and as a regressor, on the same parts.

Network, parameters, shapes, simulated parts and frames are the same for both, and so is the loop (`bench.equal_time`);
no prompt is told. The denoiser is trained and sampled as the recipe `shapes` says, the regressor puts out all missing
points at once: noise stands for those wanted, as at the first step of a sampler, and its loss is the Chamfer distance
without squares of what comes out (Yuan et al. 2018, PCN, 1808.00671, eq. 1). So the regressor is a model, too, that
predicts data in one step.

Both are judged as `multidiff eval --task complete` judges, on single views and 50 % crops of held-out shapes
(`points.completion`), beside the simpler ways to complete them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multidiff import recipe, weights
from multidiff.bench import equal_time
from multidiff.bench.equal_time import Row, Way
from multidiff.bench.points_training import drawn, shapes_of
from multidiff.modality import Trial
from multidiff.model import Model
from multidiff.points.completion import completion_metrics
from multidiff.points.media import PointCloud
from multidiff.points.modality import POINTS
from multidiff.train import pack
from multidiff.train.objective import DenoiserObjective, noise_like

OURS, PEER = "multidiff", "regressor"
CHANGES = ("text.encoder=none", "data.complete=1", "train.warmup=20", "train.ema=0.99")
"""From recipes/points/shapes.yaml: no prompts, a part to complete in every item, some hundred steps."""
REGRESSION = ("diffusion.parameterization=data",)
"""From these: the network's output is the points."""
HYPOTHESES = 4
KINDS = ("view", "crop")
"""Of trials."""
COLUMNS = {"cd_l1": "CD-L1", "cd_l1_best": "best", "f_score_0.02": "F@.02", "f_score_0.04": "F@.04"}


class RegressorObjective:
    """The Chamfer distance of the points that a model makes in one step, of the batches that a denoiser sees."""

    def __init__(self, model: Model) -> None:
        network: Any = model.network
        self.groups: Mapping[str, nn.Module] = {"network": network}
        self.codec: Any = model.codec
        self.data: Any = model.recipe.data
        self.denoiser = model.denoiser(network)

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        batch = POINTS.batch(rows, self.codec, self.data, generator)
        first = torch.ones(len(batch.x0), dtype=torch.float64)
        made = self.denoiser(noise_like(batch.x0, generator), first, batch.condition).x0
        yield "network", chamfer(made, batch.x0, batch.condition["mask"][..., 0] == 0).mean()

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        return {}


def chamfer(made: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """(mean d(a, B) + mean d(b, A)) / 2 of the counted points (B, N) bool of both clouds (B, N, 3): (B,)."""
    distance = torch.cdist(made, truth)
    left_out, weight = ~counted, counted / counted.sum(1, keepdim=True)
    there = distance.masked_fill(left_out[:, None, :], torch.inf).amin(2)
    back = distance.masked_fill(left_out[:, :, None], torch.inf).amin(1)
    return ((there + back) * weight).sum(1) / 2


def completions(model: Model, trials: Sequence[Trial], steps: int) -> list[list[PointCloud]]:
    """HYPOTHESES of each trial, of seeds of their own."""
    return [
        model.complete(trial.given, "complete", count=HYPOTHESES, seed=HYPOTHESES * i, steps=steps, guidance=1.0)
        for i, trial in enumerate(trials)
    ]


def figures(
    trials: Sequence[Trial], made: Sequence[Sequence[PointCloud]], training: Sequence[PointCloud] = ()
) -> dict[str, dict[str, float]]:
    """`completion_metrics` of each kind of trial in one: row -> kind/figure -> value."""
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        chosen = [i for i, trial in enumerate(trials) if trial.kind == kind]
        rows = completion_metrics([trials[i] for i in chosen], [made[i] for i in chosen], training)
        for row, values in rows.items():
            found.setdefault(row, {}).update({f"{kind}/{name}": value for name, value in values.items()})
    return found


def ways(model: Callable[[Sequence[str]], Model], trials: Sequence[Trial]) -> Iterator[Callable[[], Way]]:
    """Ours and the regressor, each made when its turn comes of `model` with some changes."""

    def own() -> Way:
        denoiser = model(())
        objective = DenoiserObjective(denoiser, pack.load(denoiser.recipe, denoiser.codec))
        return Way(OURS, objective, lambda _, steps: completions(denoiser, trials, steps))

    def peer() -> Way:
        regressor = model(REGRESSION)
        return Way(PEER, RegressorObjective(regressor), lambda *_: completions(regressor, trials, 1))

    return iter((own, peer))


def rows(
    roots: Sequence[str],
    seconds: float,
    count: int,
    steps: int,
    changes: Sequence[str] = CHANGES,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Row]:
    """The rows of simpler ways, then one for each way, trained for so many CPU seconds: completions of `count` held-out
    shapes (splits val and test), or of all where these are fewer.

    Raises InputError for too few shapes.
    """

    def model(more: Sequence[str]) -> Model:
        return weights.build(recipe.load("shapes", [*changes, *more, f"data.root={json.dumps(list(roots))}"]), "cpu")

    untrained = model(())
    data: Any = untrained.recipe.data
    held_out, known = shapes_of(data)
    shown = drawn(held_out, count)
    trials = [trial for i, shape in enumerate(shown) for trial in POINTS.trials(shape, "complete", i, {})]
    _, *simple = figures(trials, [[trial.given] for trial in trials], known).items()
    yield from (Row(name, 0, 0.0, 0, told) for name, told in simple)
    train, rows = untrained.recipe.train, pack.load(untrained.recipe, untrained.codec).train

    def judge(made: list[list[PointCloud]]) -> dict[str, float]:
        return figures(trials, made)["completed"]

    yield from equal_time.judged(ways(model, trials), rows, train, seconds, len(shown), steps, judge, say)


def markdown(found: Iterator[Row], steps: int) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    heads = ["by", "parameters, M", "CPU minutes", "training steps"]
    heads += [f"{kind}s: {name}" for kind in KINDS for name in COLUMNS.values()]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for row in found:
        cells = [row.name, *["-"] * 3]
        if row.steps:
            cells[1:] = [f"{row.parameters / 1e6:.2f}", f"{row.seconds / 60:.1f}", str(row.steps)]
        for kind in KINDS:
            told = {name: row.metrics[f"{kind}/{name}"] for name in COLUMNS}
            cells += [f"{1e3 * value:.1f}" if "cd" in name else f"{value:.3f}" for name, value in told.items()]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}; CD-L1 x1e3 in radii of the shape, the mean of "
        f"{HYPOTHESES} completions of each part in {steps} steps (the regressor: 1), and the best of them."
    )
