"""Stochastic samplers against the law of the data: there is no path to compare with, so samples are compared.

The figure is the energy distance, 2 E|a - b| - E|a - a'| - E|b - b'|, unbiased, between 3000 samples and 3000 exact
ones of the mixture of `core`, on the cosine schedule, steps uniform in log-SNR to 5 and then into clean data. The last
row, exact samples against exact samples, says how much is chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from multidiff.bench.core import mixture
from multidiff.core import GRIDS, SAMPLERS, MixtureDenoiser, make, sample

COUNT = 3000
EVALUATIONS = (10, 20, 50, 200, 1000)

SHOWN: list[tuple[str, dict[str, Any], int]] = [
    ("ddpm", {"variance": "small"}, 1),
    ("ddpm", {"variance": "large"}, 1),
    ("ddim", {"eta": 0.5}, 1),
    ("euler", {"gamma": 0.2}, 1),
    ("heun", {"gamma": 0.2}, 2),
    ("dpm++2m-sde", {}, 1),
    ("dpm++3m-sde", {}, 1),
    ("langevin", {"steps": 5, "snr": 0.2}, 5),
    ("predictor-corrector", {}, 2),
    ("consistency", {}, 1),
]
"""Sampler, options, evaluations a step."""


def _noise(step: int, stream: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + stream + 10)
    return torch.randn(COUNT, 2, dtype=torch.float64, generator=generator)


def drawn(law: MixtureDenoiser, seed: int) -> Tensor:
    """COUNT exact samples."""
    generator = torch.Generator().manual_seed(seed)
    component = torch.multinomial(law.weights, COUNT, replacement=True, generator=generator)
    noise = torch.randn(COUNT, 2, dtype=torch.float64, generator=generator)
    return law.means[component] + law.stds[component, None] * noise


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Of two sets of points (N, D), unbiased: near 0, on either side, for one law."""
    count = len(a)
    within = (torch.cdist(a, a).sum() + torch.cdist(b, b).sum()) / (count * (count - 1))
    return float(2 * torch.cdist(a, b).mean() - within)


def markdown() -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    denoiser = mixture("cosine")
    exact = drawn(denoiser, 0)
    yield "| sampler | " + " | ".join(f"{n} eval." for n in EVALUATIONS) + " |"
    yield "| --- |" + " ---: |" * len(EVALUATIONS)
    for name, options, evaluations in SHOWN:
        label = ", ".join([name, *(f"{key} {value}" for key, value in options.items())])
        cells = []
        for n in EVALUATIONS:
            times = make(GRIDS, "log-snr")(denoiser.schedule, n // evaluations)
            x = sample(denoiser, make(SAMPLERS, name, options), times, _noise)
            cells.append(f"{energy_distance(x, exact):.2g}")
        yield f"| {label} | " + " | ".join(cells) + " |"
    floor = f"{energy_distance(drawn(denoiser, 1), exact):.2g}"
    yield "| exact samples | " + " | ".join([floor] * len(EVALUATIONS)) + " |"
