"""What the core's tests share: exact denoisers, networks made of them, and cheap noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multidiff.core import (
    PARAMETERIZATIONS,
    SCHEDULES,
    Denoiser,
    MixtureDenoiser,
    NoiseSchedule,
    Parameterization,
    make,
)
from multidiff.core.denoiser import noise_estimate


def schedule(name: str) -> NoiseSchedule:
    result: NoiseSchedule = make(SCHEDULES, name)
    return result


ENDLESS = [name for name in SCHEDULES if schedule(name).alpha(torch.ones(())) == 0]
"""Schedules at whose end no data is left."""

PAIRS = [(s, p) for s in SCHEDULES for p in PARAMETERIZATIONS if not (s in ENDLESS and p in ("noise", "score"))]
"""Every schedule with every parameterization that determines x0 under it; the others are refused
(test_parameterization)."""


def mixture(schedule: NoiseSchedule) -> MixtureDenoiser:
    """Three components in the plane, clearly non-Gaussian."""
    return MixtureDenoiser(
        schedule,
        means=torch.tensor([[-1.0, 0.5], [1.0, 0.2], [0.1, -1.2]], dtype=torch.float64),
        stds=torch.tensor([0.3, 0.4, 0.2], dtype=torch.float64),
        weights=torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64),
    )


def white(schedule: NoiseSchedule, variance: float, size: int) -> MixtureDenoiser:
    """Independent Gaussians of mean 0, event (size,)."""
    mean, std = torch.zeros(1, size, dtype=torch.float64), torch.tensor([variance], dtype=torch.float64).sqrt()
    return MixtureDenoiser(schedule, mean, std, torch.ones(1, dtype=torch.float64))


@dataclass
class ExactNetwork:
    """A network that predicts without error, from what a network is given: scaled x and log-SNR."""

    denoiser: Denoiser
    parameterization: Parameterization

    def __call__(self, x: Tensor, log_snr: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        schedule = self.denoiser.schedule
        t = schedule.inverse(log_snr.double())
        x_t = x / self.parameterization.scaled(schedule, torch.ones_like(x), t)
        x0 = self.denoiser(x_t, t).x0
        return self.parameterization.target(schedule, x0, noise_estimate(schedule, x_t, x0, t), t)


@dataclass
class CheapNoise:
    """Noise of a whole batch at once, for laws that need many samples."""

    shape: tuple[int, ...]
    seed: int = 0

    def __call__(self, step: int, stream: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1000 * step + 100 * stream + 7_000)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64)
