"""A grid of so many steps for a given denoiser, by its measured local errors.

A path is followed in many fine steps, D_k = x0 at its nodes lambda_k. A first-order step from node i to node j takes
D_i for all of D; its error in x/alpha is

    E(i, j) = |integral over [lambda_i, lambda_j] of e^(lambda - lambda_j) (D - D_i) dlambda|

known for every pair from one cumulative sum. Among all choices of nodes that make so many steps, dynamic programming
finds the one whose errors sum to the least (as Watson et al. 2021, 2106.03802, do for the ELBO; Xue et al. 2024,
2402.17376, bound the error instead of measuring it).

How a local error grows until the end is left out, so it is not the best grid there is. With DDIM on a mixture in the
plane (cosine, flow) it leaves 37 % of the log-SNR grid's error, and at most 11 % more than the best of the named grids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multidiff.core.denoiser import Condition, Denoiser
from multidiff.core.noise import Noise
from multidiff.core.sample import states
from multidiff.core.samplers.multistep import DPMSolver
from multidiff.core.timesteps import log_snr


def optimised_times(
    denoiser: Denoiser, steps: int, noise: Noise, condition: Condition = None, fine: int = 100
) -> Tensor:
    """(steps + 1,) float64 times from 1 to 0, for the grid "fixed". The errors are measured on `noise`'s samples.

    Raises ValueError where steps exceed the fine grid's.
    """
    if not 1 <= steps <= fine:
        raise ValueError(f"steps {steps} must lie between 1 and the {fine} of the fine grid")
    schedule = denoiser.schedule
    times = log_snr()(schedule, fine)
    run = states(denoiser, DPMSolver(order=3), times, noise, condition)
    estimates = torch.stack([state.x0 for state in run if state.x0 is not None]).flatten(1).double().cpu()
    growth = torch.exp(schedule.log_snr(times[:-1]))
    cost = local_errors(growth, estimates)
    # least[j]: the least sum of errors that reaches node j; the last column is the clean end.
    least = torch.full((fine + 1,), torch.inf, dtype=torch.float64)
    least[0] = 0.0
    choices = []
    for _ in range(steps):
        least, before = (least[:, None] + cost).min(0)
        choices.append(before)
    path = [fine]
    for before in reversed(choices):
        path.append(int(before[path[-1]]))
    return times[path[::-1]]


def local_errors(growth: Tensor, estimates: Tensor) -> Tensor:
    """E (N + 1, N + 1), infinite where j <= i, from e^lambda (N,) and D (N, *) at the nodes; column N is clean data."""
    count = len(growth)
    cells = growth.diff()[:, None] * (estimates[1:] + estimates[:-1]) / 2
    sums = torch.cat([torch.zeros_like(estimates[:1]), cells.cumsum(0)])
    errors = torch.full((count + 1, count + 1), torch.inf, dtype=torch.float64)
    for i in range(count):
        later = growth[i + 1 :, None]
        error = (sums[i + 1 :] - sums[i]) / later - (1 - growth[i] / later) * estimates[i]
        errors[i, i + 1 : count] = error.square().mean(1).sqrt()
        errors[i, count] = (estimates[-1] - estimates[i]).square().mean().sqrt()
    return errors
