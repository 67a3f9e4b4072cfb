"""Noise that frames share: white noise made correlated along one axis, as a linear map of it.

Frames of a film resemble each other, and so do the noises that a picture model would be given for them: noise that they
share leaves less for a denoiser to make agree. Ge et al. 2023 ("Preserve Your Own Correlation", 2305.10474, section
3.2), with r = a^2/(1 + a^2):

    mixed        cov(eps_i, eps_j) = r for i != j:  a shared part of variance r, an own one of variance 1 - r
    progressive  cov(eps_i, eps_j) = sqrt(r)^|i-j|:  eps_i = sqrt(r) eps_(i-1) + sqrt(1 - r) w_i

Each element stays standard normal. The forward process is that of x0 and x_t seen through the inverse of the map, so
whatever sampler is right for white noise is right for this one, if all noise that it draws is mapped alike and the
denoiser has learned E[x0 | x_t] under it; log-likelihoods and guidance by a measurement's gradient, which take the
noise of elements to be independent, are not. A part of the axis has the law of an axis as long as it, so that windows
may be cut out of it; mixed noise has that of any order of its elements, so that it goes round in a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from multidiff.core.method import Method

Correlation = Callable[[Tensor, int], Tensor]
"""(white noise (B, *event), axis counted from the end) -> noise like it, correlated along the axis."""


def white() -> Correlation:
    """As drawn."""
    return lambda noise, axis: noise


def mixed(alpha: float = 1.0) -> Correlation:
    """A part of variance alpha^2/(1 + alpha^2) that all share."""
    _check(alpha)

    def correlated(noise: Tensor, axis: int) -> Tensor:
        # The symmetric root of the covariance: its mean along the axis is scaled by one factor, the rest by another.
        shared, own = alpha**2 / (1 + alpha**2), 1 / (1 + alpha**2)
        mean = noise.mean(dim=axis, keepdim=True)
        return math.sqrt(own) * (noise - mean) + math.sqrt(own + shared * noise.shape[axis]) * mean

    return correlated


def progressive(alpha: float = 2.0) -> Correlation:
    """Each a share alpha/sqrt(1 + alpha^2) of the one before, and the rest its own."""
    _check(alpha)
    share, own = alpha / math.sqrt(1 + alpha**2), 1 / math.sqrt(1 + alpha**2)

    def correlated(noise: Tensor, axis: int) -> Tensor:
        first, *others = noise.unbind(axis)
        made = [first]
        for each in others:
            made.append(share * made[-1] + own * each)
        return torch.stack(made, dim=axis)

    return correlated


def _check(alpha: float) -> None:
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha {alpha} must be finite and not negative")


NOISES: dict[str, Method] = {
    "white": Method(white, "every element its own", "Ho et al. 2020, 2006.11239"),
    "mixed": Method(mixed, "a part that all frames share", "Ge et al. 2023, 2305.10474"),
    "progressive": Method(progressive, "each frame's like the one before", "Ge et al. 2023, 2305.10474"),
}
