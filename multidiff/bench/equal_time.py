"""Equal-time training: several networks with their objectives for the same CPU seconds on the same rows, then judged.

One loop for all (`multidiff.train.loop`): batch, order of the rows, AdamW, warm-up, fall of the learning rate to the
end of the time, average of the weights, so that what differs is the network and its diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import process_time
from typing import Any

import torch
from torch import Tensor

from multidiff import core
from multidiff.core.schedules.tabulated import Tabulated
from multidiff.modality import Objective
from multidiff.specs import TrainSpec
from multidiff.train.loop import Training, accelerator_for
from multidiff.train.pack import Rows


@dataclass(frozen=True)
class Way:
    """A network with its objective, and media from it: `sample(count, steps)`; `one_by_one`: a batch goes through it
    item by item, which takes a part of the memory."""

    name: str
    objective: Objective
    sample: Callable[[int, int], list[Any]]
    one_by_one: bool = False


@dataclass(frozen=True)
class Row:
    """What a way reached: parameters, CPU seconds and steps of training, and the metrics of its media."""

    name: str
    parameters: int
    seconds: float
    steps: int
    metrics: dict[str, float]


def trained(objective: Objective, rows: Rows, spec: TrainSpec, seconds: float) -> tuple[Training, float]:
    """Trained for so many CPU seconds of this process, a step at least, and what it took.

    The number of steps, on which the learning rate depends, is what the time is expected to suffice for.
    """
    training = Training(objective, spec.model_copy(update={"steps": 10**9}), accelerator_for("cpu", "fp32"))
    start, spent = process_time(), 0.0
    for record in training.steps(rows):
        spent = process_time() - start
        if spent >= seconds:
            break
        expected = max(record.step + 1, math.ceil(record.step * seconds / spent))
        training.spec = spec.model_copy(update={"steps": expected})
    return training, spent


def judged(
    ways: Iterable[Callable[[], Way]],
    rows: Rows,
    spec: TrainSpec,
    seconds: float,
    count: int,
    steps: int,
    metrics: Callable[[list[Any]], dict[str, float]],
    say: Callable[[str], object],
) -> Iterator[Row]:
    """A row for each way, which is made when its turn comes: trained for so many CPU seconds, then the metrics of
    `count` media in `steps` steps each."""
    for make in ways:
        torch.manual_seed(spec.seed)
        way = make()
        say(f"{way.name}: training")
        its = spec
        if way.one_by_one:
            its = spec.model_copy(update={"batch": 1, "accumulate": spec.batch * spec.accumulate})
        training, spent = trained(way.objective, rows, its, seconds)
        say(f"{way.name}: {training.step} steps, sampling")
        with training.averaged(), torch.no_grad():
            made = way.sample(count, steps)
        parameters = sum(p.numel() for p in way.objective.groups["network"].parameters())
        yield Row(way.name, parameters, spent, training.step, metrics(made))


def chained(
    network: Callable[[Tensor, Tensor], Tensor], schedule: Tabulated, clamp: Callable[[Tensor], Tensor] = lambda x0: x0
) -> core.NetworkDenoiser:
    """The denoiser of a network (x_t, level (B,)) -> noise of a discrete chain, DDPM's, whose first level is 0."""

    def told(x: Tensor, log_snr: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        level = schedule.inverse(log_snr.double()) * schedule.levels - 1
        return network(x, level.clamp(min=0).to(x.dtype))

    return core.NetworkDenoiser(told, schedule, core.make(core.PARAMETERIZATIONS, "noise"), clamp)


def ancestral(denoiser: core.NetworkDenoiser, steps: int, noise: core.Noise) -> Tensor:
    """x0 by DDPM's ancestral steps on so many of the denoiser's own levels."""
    times = core.make(core.GRIDS, "trailing")(denoiser.schedule, steps)
    return core.sample(denoiser, core.make(core.SAMPLERS, "ddpm"), times, noise)
