"""How a reverse step's variance is learned: by the variational bound. Nichol and Dhariwal 2021 (2102.09672).

The variance is the one of `samplers.learned`, from the network's v. Its loss is the step's share of the bound,

    KL(q(x_s | x_t, x0) || p(x_s | x_t)) = (r - 1 - log r + d^2/variance)/2,   r = small/variance,
    d = alpha_s (1 - e^-2h) (x0 - x0_hat),

with x0_hat held fixed, so that the prediction learns from the plain loss alone (section 3.1):

    L_hybrid = L_simple + 0.001 L_vlb                                                                        (eq. 16)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multidiff.core.denoiser import Estimate, NetworkDenoiser
from multidiff.core.samplers.learned import log_variance
from multidiff.core.samplers.step import Transition
from multidiff.core.schedule import expand


def step_divergence(step: Transition, x0: Tensor, estimate: Estimate) -> Tensor:
    """The step's share of the variational bound, in nats, element by element (B, *event), for sigma_s > 0.

    Raises ValueError for an estimate without a learned variance.
    """
    if estimate.v is None:
        raise ValueError("the network learns no variance; build it with learned_variance: true")
    added = 1 - step.decay**2
    variance = log_variance(step, estimate.v)
    ratio = expand(2 * step.sigma_s.log() + added.log(), x0) - variance
    distance = expand(step.alpha_s * added, x0) * (x0 - estimate.x0)
    return (ratio.exp() - 1 - ratio + distance**2 * torch.exp(-variance)) / 2


@dataclass(frozen=True)
class Hybrid:
    """The plain loss plus `weight` times the bound of a chain of `levels` steps, in nats for each element."""

    weight: float = 0.001
    levels: int = 1000

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.levels < 2:
            raise ValueError(f"weight {self.weight} must be positive and levels {self.levels} at least 2")

    def __call__(self, log_snr: Tensor, factor: Tensor) -> Tensor:
        """The weighting of the plain loss."""
        return factor

    def bound(self, denoiser: NetworkDenoiser, x0: Tensor, t: Tensor, estimate: Estimate) -> Tensor:
        """What is added to the squared errors (B, *event): the bound by the step that begins at t.

        None for the last step, into clean data, which has no variance to learn.
        """
        length = 1 / self.levels
        inside = t > length
        t = torch.where(inside, t, 2 * length)
        step = Transition.between(denoiser.schedule, t, t - length)
        fixed = replace(estimate, x0=estimate.x0.detach())
        return expand(self.weight * self.levels * inside, x0) * step_divergence(step, x0, fixed)
