"""What a step costs besides the denoiser, of ours and of diffusers' for the same sampler.

One thread, a tensor (1, 4), 50 steps, a denoiser that returns a constant. Counted is a whole run divided by its steps:
ours with the weights of its path, a state for every step and seeded noise, theirs with `set_timesteps` and noise from
a generator. The least of the runs of four seconds, ten of each in turn: other work on the machine only ever adds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from multidiff.bench.peers import DIFFUSERS
from multidiff.core import GRIDS, SAMPLERS, SCHEDULES, Condition, Estimate, NoiseSchedule, SeededNoise, make, sample

STEPS, TURN, SECONDS = 50, 10, 4.0

COMPARED: list[tuple[str, int | None]] = [
    ("ddim", None),
    ("ddpm", None),
    ("euler", None),
    ("heun", None),
    ("dpm++2m", None),
    ("dpm++3m", None),
    ("dpm++2m-sde", None),
    ("unipc", 2),
    ("deis", 3),
    ("lms", 4),
    ("consistency", None),
]


@dataclass(frozen=True)
class _Constant:
    """A denoiser that costs nothing."""

    schedule: NoiseSchedule
    estimate: Estimate

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition = None) -> Estimate:
        return self.estimate


def _ours(name: str, order: int | None) -> Callable[[], object]:
    denoiser = _Constant(make(SCHEDULES, "tabulated"), Estimate(torch.zeros(1, 4)))
    times = make(GRIDS, "trailing")(denoiser.schedule, STEPS)
    sampler = make(SAMPLERS, name, {"order": order} if order else {})
    x, noise = torch.zeros(1, 4), SeededNoise([0], (4,))
    return lambda: sample(denoiser, sampler, times, noise, x=x)


def _theirs(name: str, order: int | None) -> Callable[[], object]:
    import diffusers

    kind, settings = DIFFUSERS[name, order]
    scheduler = getattr(diffusers, kind)(**settings)
    start, prediction = torch.zeros(1, 4), torch.zeros(1, 4)
    noisy = {"generator": torch.Generator()} if name in ("ddpm", "dpm++2m-sde", "consistency") else {}

    def run() -> Tensor:
        scheduler.set_timesteps(STEPS)
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(prediction, t, scheduler.scale_model_input(x, t), **noisy).prev_sample
        return x

    return run


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def rows() -> Iterator[tuple[str, float, float]]:
    """(sampler, our microseconds a step, theirs); theirs is NaN where diffusers is not installed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, order in COMPARED:
            yield (name, *_both(name, order))
    finally:
        torch.set_num_threads(threads)


def _both(name: str, order: int | None) -> tuple[float, float]:
    ours, best = _ours(name, order), [math.inf, math.inf]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs: Any = _theirs(name, order)
        except ImportError:
            theirs = None
        end = perf_counter() + SECONDS
        while perf_counter() < end:
            for i, run in enumerate((ours, theirs)):
                best[i] = min(best[i], *(_seconds(run) for _ in range(TURN))) if run else math.nan
    return best[0] / STEPS * 1e6, best[1] / STEPS * 1e6


def markdown(found: Iterator[tuple[str, float, float]]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    yield "| sampler | multidiff, us a step | diffusers, us a step | ratio |"
    yield "| --- | ---: | ---: | ---: |"
    for name, ours, theirs in found:
        compared = "- | -" if math.isnan(theirs) else f"{theirs:.0f} | {ours / theirs:.2f}"
        yield f"| {name} | {ours:.0f} | {compared} |"
