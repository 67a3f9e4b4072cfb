"""The core's samplers: measured order of convergence, error by evaluations, and difference from peers.

All on a mixture of three Gaussians in the plane, whose denoiser is exact, in float64. The order is that between 225
and 675 steps uniform in log-SNR from -5 to 4, against UniPC-3 with 3000. The errors are root mean squares of x0
against the same path in 500 steps, on the cosine schedule, steps uniform in log-SNR to 5 and then into clean data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from multidiff.bench.peers import diffusers_difference, k_difference
from multidiff.core import GRIDS, SAMPLERS, SCHEDULES, MixtureDenoiser, Sampler, make, sample

SHOWN: list[tuple[str, int | None, int | None]] = [
    ("ddim", None, 1),
    ("euler", None, 1),
    ("heun", None, 2),
    ("dpm++", None, 1),
    ("dpm++2m", None, 2),
    ("dpm++3m", None, 3),
    ("unipc", 1, 2),
    ("unipc", 2, 3),
    ("unipc", 3, 4),
    ("lms", 2, 2),
    ("lms", 4, 4),
    ("deis", 2, 2),
    ("deis", 3, 3),
    ("eab", 4, 4),
    ("ddpm", None, None),
    ("dpm++2m-sde", None, None),
    ("consistency", None, None),
]
"""Sampler, its order where that is an option, and the theoretical order of convergence; none where it is stochastic
(`law` measures those)."""

FAMILIES: dict[str, tuple[str, dict[str, float]]] = {
    "VP": ("cosine", {}),
    "VE": ("ve", {"sigma_max": 200.0}),
    "flow": ("flow", {}),
}
START, END = -5.0, 4.0
COARSE, FINE, EXACT = 225, 675, 3000
EVALUATIONS = (5, 10, 20, 50)
REFERENCE = make(SAMPLERS, "unipc", {"order": 3})


@dataclass(frozen=True)
class Row:
    """One sampler's figures; None where there is none."""

    name: str
    theory: int | None
    orders: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    diffusers: float | None
    k_diffusion: float | None


def mixture(schedule: str, options: Mapping[str, float] | None = None) -> MixtureDenoiser:
    """The exact denoiser that all is measured on."""
    return MixtureDenoiser(
        make(SCHEDULES, schedule, options),
        means=torch.tensor([[-1.0, 0.5], [1.0, 0.2], [0.1, -1.2]], dtype=torch.float64),
        stds=torch.tensor([0.3, 0.4, 0.2], dtype=torch.float64),
        weights=torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    )


def _noise(step: int, stream: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + stream)
    return torch.randn(16, 2, dtype=torch.float64, generator=generator)


def _end(sampler: Sampler, family: str, steps: int) -> Tensor:
    """x/alpha (16, 2) at log-SNR END of paths from START."""
    denoiser = mixture(*FAMILIES[family])
    times = denoiser.schedule.inverse(torch.linspace(START, END, steps + 1, dtype=torch.float64))
    x = denoiser.schedule.alpha(times[0]) * math.exp(-START) * _noise(0)
    return sample(denoiser, sampler, times, _noise, x=x) / denoiser.schedule.alpha(times[-1])


def _clean(sampler: Sampler, steps: int) -> Tensor:
    denoiser = mixture("cosine")
    return sample(denoiser, sampler, make(GRIDS, "log-snr")(denoiser.schedule, steps), _noise)


@cache
def _exact_end(family: str) -> Tensor:
    return _end(REFERENCE, family, EXACT)


@cache
def _exact_clean() -> Tensor:
    return _clean(REFERENCE, 500)


def _error(x: Tensor, exact: Tensor) -> float:
    return float((x - exact).square().mean().sqrt())


def rows() -> Iterator[Row]:
    """One sampler after the other."""
    for name, order, theory in SHOWN:
        sampler = make(SAMPLERS, name, {"order": order} if order else {})
        orders: list[float | None] = [None] * len(FAMILIES)
        errors: list[float | None] = [None] * len(EVALUATIONS)
        if theory is not None:
            for i, family in enumerate(FAMILIES):
                coarse, fine = (_error(_end(sampler, family, n), _exact_end(family)) for n in (COARSE, FINE))
                orders[i] = math.log(coarse / fine, FINE / COARSE)
            # Heun evaluates twice, but for the step into clean data.
            steps = [(n + 1) // 2 if name == "heun" else n for n in EVALUATIONS]
            errors = [_error(_clean(sampler, n), _exact_clean()) for n in steps]
        label = f"{name} ({order})" if order else name
        table = mixture("tabulated")
        gaps = diffusers_difference(name, order, table), k_difference(name, order, table)
        yield Row(label, theory, tuple(orders), tuple(errors), *gaps)


def markdown(found: Iterator[Row]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    heads = ["sampler", "order", *FAMILIES, *(f"{n} eval." for n in EVALUATIONS), "diffusers", "k-diffusion"]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for row in found:
        cells = [row.name, str(row.theory or "-")]
        cells += ["-" if value is None else f"{value:.2f}" for value in row.orders]
        cells += ["-" if value is None else f"{value:.1e}" for value in row.errors]
        cells += ["-" if value is None else f"{value:.0e}" for value in (row.diffusers, row.k_diffusion)]
        yield "| " + " | ".join(cells) + " |"
