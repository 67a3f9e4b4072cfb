"""Grids of times for a sampler: (steps + 1,) float64, falling from the noisiest level to t = 0, which is clean.

leading, trailing and linspace choose among `schedule.levels` equal parts of [0, 1] as discrete toolkits do
(names of Lin et al. 2023, 2305.08891, table 2). leading never visits t = 1. The others are uniform in log-SNR
and in Karras' power of sigma/alpha; both start at t = 1, whatever the schedule's log-SNR is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from multidiff.core.method import Method
from multidiff.core.schedule import NoiseSchedule

NOISIEST = 6.0
"""Minus this stands for any noisier log-SNR between given times, as for that of rectified flow at t = 1."""

Grid = Callable[[NoiseSchedule, int], Tensor]
"""(schedule, steps) -> (steps + 1,) float64 times. Raises ValueError when there are no such steps."""


def _from_levels(schedule: NoiseSchedule, levels: Tensor) -> Tensor:
    """Times of falling levels k = N ... 1 (t = k/N), with 0 appended."""
    times = torch.cat([levels.double() / schedule.levels, torch.zeros(1, dtype=torch.float64)])
    if bool((times[1:] >= times[:-1]).any()):
        raise ValueError(f"{len(levels)} steps do not fit into the schedule's {schedule.levels} levels")
    return times


def _counted(grid: Grid) -> Grid:
    def checked(schedule: NoiseSchedule, steps: int) -> Tensor:
        if steps < 1:
            raise ValueError(f"steps {steps} must be at least 1")
        return grid(schedule, steps)

    return checked


def leading() -> Grid:
    """Levels 1, 1 + N//steps, ...: the lowest of each group of N//steps."""
    return _counted(
        lambda schedule, steps: _from_levels(schedule, 1 + torch.arange(steps).flip(0) * (schedule.levels // steps))
    )


def trailing() -> Grid:
    """Levels N, N - N/steps, ...: the highest of each group."""
    return _counted(
        lambda schedule, steps: _from_levels(
            schedule, torch.round(schedule.levels - torch.arange(steps).double() * schedule.levels / steps)
        )
    )


def linspace() -> Grid:
    """Levels equally spaced from N to 1, both included (a single step: N)."""
    return _counted(
        lambda schedule, steps: _from_levels(
            schedule, 1 + torch.linspace(schedule.levels - 1, 0, steps, dtype=torch.float64).round()
        )
    )


def _from_log_snr(schedule: NoiseSchedule, log_snr: Tensor) -> Tensor:
    """Times of rising log-SNRs; the first becomes 1, and 0 is appended."""
    times = torch.cat([schedule.inverse(log_snr), torch.zeros(1, dtype=torch.float64)])
    times[0] = 1.0
    if not bool((times[1:] < times[:-1]).all()):
        raise ValueError("the grid's ends lie outside the schedule's noise levels, or its steps too close")
    return times


def log_snr(start: float = -6.0, end: float = 5.0) -> Grid:
    """lambda uniform from `start` (or the schedule's own end, where that is less noisy) to `end`."""
    if start >= end:
        raise ValueError(f"start {start} must be below end {end}")

    def grid(schedule: NoiseSchedule, steps: int) -> Tensor:
        low = max(start, float(schedule.log_snr(torch.ones((), dtype=torch.float64))))
        return _from_log_snr(schedule, torch.linspace(low, end, steps, dtype=torch.float64))

    return _counted(grid)


def karras(sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Grid:
    """(sigma/alpha)^(1/rho) uniform. Karras et al. 2022 (2206.00364, eq. 5)."""
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma_min {sigma_min} and sigma_max {sigma_max} must satisfy 0 < sigma_min < sigma_max")

    if rho <= 0:
        raise ValueError(f"rho {rho} must be positive")

    def grid(schedule: NoiseSchedule, steps: int) -> Tensor:
        own = -float(schedule.log_snr(torch.ones((), dtype=torch.float64)))
        high = sigma_max if own > math.log(sigma_max) else math.exp(own)
        roots = torch.linspace(high ** (1 / rho), sigma_min ** (1 / rho), steps, dtype=torch.float64)
        return _from_log_snr(schedule, -rho * roots.log())

    return _counted(grid)


def fixed(times: str | Sequence[float]) -> Grid:
    """The given times, falling from 1 at most to 0; as text separated by spaces, for recipes. For `optimised_times`.

    For another number of steps their log-SNR is interpolated linearly (Sabour et al. 2024, 2404.14507, section 4).
    """
    numbers = [float(number) for number in times.split()] if isinstance(times, str) else list(times)
    path = torch.tensor(numbers, dtype=torch.float64)
    if len(path) < 2 or path[0] > 1 or path[-1] != 0 or bool((path.diff() >= 0).any()):
        raise ValueError(f"times {times} must fall from 1 at most to 0, strictly")

    def grid(schedule: NoiseSchedule, steps: int) -> Tensor:
        if steps == len(path) - 1:
            return path.clone()
        log_snr = schedule.log_snr(path[:-1]).clamp(min=-NOISIEST)
        place = torch.linspace(0, len(log_snr) - 1, steps, dtype=torch.float64)
        below = place.floor().long().clamp(max=len(log_snr) - 1)
        above = (below + 1).clamp(max=len(log_snr) - 1)
        between = schedule.inverse(torch.lerp(log_snr[below], log_snr[above], place - below))
        return torch.cat([path[:1], between[1:], path[-1:]])

    return _counted(grid)


GRIDS: dict[str, Method] = {
    "leading": Method(leading, "lowest level of each group, never t = 1", "Lin et al. 2023, 2305.08891"),
    "trailing": Method(trailing, "uniform in t, from t = 1", "Lin et al. 2023, 2305.08891"),
    "linspace": Method(linspace, "uniform in t, first and last level", "Lin et al. 2023, 2305.08891"),
    "log-snr": Method(log_snr, "uniform in log-SNR", "Lu et al. 2022, 2206.00927"),
    "fixed": Method(fixed, "given times, such as optimised ones", "Xue et al. 2024, 2402.17376"),
    "karras": Method(karras, "uniform in (sigma/alpha)^(1/rho)", "Karras et al. 2022, 2206.00364"),
}
