"""Power-function averages of the weights, and any other length of average afterwards.

Karras et al. 2024 (2312.02696, section 3 and appendix C). After t steps the average with exponent gamma is

    average(t) = (gamma + 1)/t^(gamma + 1) * integral over [0, t] of tau^gamma theta(tau) d tau,
    average(t) = beta average(t - 1) + (1 - beta) theta(t),   beta = (1 - 1/t)^(gamma + 1)

with theta constant within a step. Its width `std`, the standard deviation of its profile as a share of the training so
far, is (gamma + 1)^(1/2) (gamma + 2)^-1 (gamma + 3)^(-1/2), at most 0.28 (gamma = 0, the mean of all).

Two averages of different width, saved now and then, hold enough to build that of any width between them, or of any
earlier end, afterwards: the wanted profile as the best combination, in least squares, of the saved ones. On a
regression learned by 4000 noisy steps (tests/core/test_posthoc.py) widths between those saved every 50 are met to
1e-6; half way, with half as many, to 3e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.core.ema import widened

LARGEST = 12**-0.5
"""The width of gamma = 0."""


def power_exponent(std: float) -> float:
    """gamma of a profile's width in (0, 0.288): the largest root of (gamma + 2)^2 (gamma + 3) std^2 = gamma + 1."""
    if not 0 < std < LARGEST:
        raise ValueError(f"width {std} must lie between 0 and {LARGEST:.3f}")
    low, high = 0.0, 2 / std
    for _ in range(200):
        gamma = (low + high) / 2
        wider = (gamma + 2) ** 2 * (gamma + 3) * std**2 < gamma + 1
        low, high = (gamma, high) if wider else (low, gamma)
    return (low + high) / 2


@dataclass(frozen=True)
class Snapshot:
    """A saved average: its width, the step it was saved after, and the weights by name."""

    std: float
    step: int
    averages: dict[str, Tensor]


class PowerEMA:
    """The average of a module's weights with width `std`, for example 0.05 and 0.1, updated after every step."""

    def __init__(self, module: nn.Module, std: float) -> None:
        self.std, self.gamma, self.updates = std, power_exponent(std), 0
        self.averages = {name: widened(value) for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present parameters; the first time they replace the average."""
        self.updates += 1
        share = 1 - (1 - 1 / self.updates) ** (self.gamma + 1)
        trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        for name, value in module.state_dict().items():
            average = self.averages[name]
            if name in trained and average.is_floating_point():
                average.lerp_(value.to(average), share)
            else:
                average.copy_(value)

    def snapshot(self) -> Snapshot:
        """A copy of the average as it is now, to be kept for `posthoc`."""
        return Snapshot(self.std, self.updates, {name: value.clone() for name, value in self.averages.items()})

    def state_dict(self) -> dict[str, Any]:
        """{"std", "updates", "averages"}."""
        return {"std": self.std, "updates": self.updates, "averages": dict(self.averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Raises ValueError when its names differ."""
        if state["averages"].keys() != self.averages.keys():
            raise ValueError("the saved averages belong to another module: their names differ")
        self.std, self.gamma, self.updates = state["std"], power_exponent(state["std"]), state["updates"]
        for name, value in state["averages"].items():
            self.averages[name].copy_(value)


def _overlap(gammas: Tensor, ends: Tensor, other_gammas: Tensor, other_ends: Tensor) -> Tensor:
    """Inner products (N, M) of profiles: integral of p_i p_j (appendix C.2, eq. 125), float64."""
    a, t = gammas[:, None], ends[:, None]
    b, u = other_gammas[None], other_ends[None]
    ratio = torch.where(t < u, (t / u) ** b, (u / t) ** a)
    return (a + 1) * (b + 1) * ratio / ((a + b + 1) * torch.maximum(t, u))


def posthoc_weights(stds: Sequence[float], steps: Sequence[int], std: float, step: int) -> Tensor:
    """The weight (N,) float64 of each saved average (its width and step) in that of width `std` after `step` steps.

    Raises ValueError when none was saved by then.
    """
    usable = torch.tensor(steps) <= step
    if not bool(usable.any()):
        raise ValueError(f"no snapshot was saved by step {step}")
    gammas = torch.tensor([power_exponent(s) for s in stds], dtype=torch.float64)[usable]
    ends = torch.tensor(steps, dtype=torch.float64)[usable]
    wanted = torch.tensor([power_exponent(std)], dtype=torch.float64), torch.tensor([float(step)], dtype=torch.float64)
    # In units of the end's own length the matrix is better conditioned.
    scale = torch.sqrt(ends)
    matrix = _overlap(gammas, ends, gammas, ends) * scale[:, None] * scale
    target = _overlap(gammas, ends, *wanted) * scale[:, None]
    solution = torch.linalg.lstsq(matrix, target, driver="gelsd", rcond=1e-13).solution[:, 0] * scale
    weights = torch.zeros(len(steps), dtype=torch.float64)
    weights[usable] = solution
    return weights


def posthoc(snapshots: Sequence[Snapshot], std: float, step: int | None = None) -> dict[str, Tensor]:
    """The average of width `std` at `step` (the last saved, if not given), from averages saved on the way.

    Integers and buffers that are not averaged come from the latest usable snapshot.
    """
    step = max(s.step for s in snapshots) if step is None else step
    weights = posthoc_weights([s.std for s in snapshots], [s.step for s in snapshots], std, step)
    latest = max((s for s in snapshots if s.step <= step), key=lambda s: s.step)
    result = {}
    for name, value in latest.averages.items():
        if value.is_floating_point():
            total = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
            for weight, snapshot in zip(weights.tolist(), snapshots, strict=True):
                total += weight * snapshot.averages[name].double()
            result[name] = total.to(value.dtype)
        else:
            result[name] = value.clone()
    return result
