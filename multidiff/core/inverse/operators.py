"""What a measurement does to x (B, *event): differentiable functions, for `posterior`. Any such function will do."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.core.method import Method

Operator = Callable[[Tensor], Tensor]
"""x (B, *event) -> y (B, *measured), differentiable, each sample by itself."""


def masked(mask: Tensor) -> Operator:
    """Missing parts: x where mask, broadcastable to x, is 1, and 0 elsewhere."""
    return lambda x: x * mask.to(x)


def linear(matrix: Tensor) -> Operator:
    """Linear measurements: matrix (M, D) times the flattened event, (B, M)."""
    return lambda x: x.flatten(1) @ matrix.to(x).T


def averaged(factor: int, axes: int = 1) -> Operator:
    """Lower resolution: the mean over blocks of `factor` along each of the last `axes` axes, which it must divide.

    Its inverse task is super-resolution.
    """
    if factor < 1 or axes < 1:
        raise ValueError(f"factor {factor} and axes {axes} must be at least 1")

    def operator(x: Tensor) -> Tensor:
        for axis in range(-axes, 0):
            if x.shape[axis] % factor:
                raise ValueError(f"factor {factor} does not divide the length {x.shape[axis]} of axis {axis}")
            x = x.unflatten(axis, (-1, factor)).mean(axis)
        return x

    return operator


def blurred(width: float, axes: int = 1) -> Operator:
    """A Gaussian blur of standard deviation `width`, in elements, along each of the last `axes` axes; zeros beyond."""
    if width <= 0 or axes < 1:
        raise ValueError(f"width {width} must be positive and axes {axes} at least 1")
    reach = math.ceil(4 * width)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * width**2))
    kernel = (kernel / kernel.sum())[None, None]

    def operator(x: Tensor) -> Tensor:
        for axis in range(-axes, 0):
            rows = x.movedim(axis, -1)
            blurred = F.conv1d(rows.reshape(-1, 1, rows.shape[-1]), kernel.to(x), padding=reach)
            x = blurred.reshape(rows.shape).movedim(-1, axis)
        return x

    return operator


OPERATORS: dict[str, Method] = {
    "masked": Method(masked, "missing parts"),
    "linear": Method(linear, "linear measurements"),
    "averaged": Method(averaged, "lower resolution, for super-resolution"),
    "blurred": Method(blurred, "Gaussian blur"),
}
