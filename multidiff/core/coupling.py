"""Which noise goes with which data in a batch of training.

Drawn independently, the straight paths of a batch cross, and the flow that is learned bends. Pairing them so that the
mean squared distance of the batch is least makes paths straighter and so needs fewer steps. Pooladian et al. 2023
(2304.14772), Tong et al. 2024 (2302.00482, section 3.2). Only for training without conditions, or within one: across
conditions it ties the noise to the condition, which sampling knows nothing of.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multidiff.core.method import Method

Coupling = Callable[[Tensor, Tensor], Tensor]
"""(x0 (B, *event), noise (B, *event)) -> the order (B,) of the noise: noise[order] goes with x0."""


def independent() -> Coupling:
    """As drawn."""
    return lambda x0, noise: torch.arange(len(x0), device=noise.device)


def optimal_transport(x0: Tensor, noise: Tensor, tolerance: float = 1e-3) -> Tensor:
    """The order (B,) of the noise: noise[order] pairs with x0 (B, *event) at a mean squared distance that is least,
    up to `tolerance` of the mean squared distance of all pairs."""
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance {tolerance} must lie between 0 and 1")
    gain = x0.flatten(1).double() @ noise.flatten(1).double().T
    # |x0|^2 and |noise|^2 are the same for every pairing: half of the distance is minus the product.
    scale = torch.cdist(x0.flatten(1).double(), noise.flatten(1).double()).square().mean()
    return auction(gain, max(float(tolerance * scale / 2), torch.finfo(torch.float64).tiny))


def auction(gain: Tensor, tolerance: float) -> Tensor:
    """For each row of gain (B, B) a column of its own, (B,), with a mean gain within `tolerance` of the greatest.

    Bertsekas 1988 (Annals of Operations Research 14, p. 105): rows without a column all bid at once for the one that
    is worth most to them at its price, by what it is worth more than the second, plus epsilon; epsilon falls from
    coarse to fine and the prices stay, which saves most of the bidding.
    """
    size = len(gain)
    if size == 1:
        return torch.zeros(1, dtype=torch.long, device=gain.device)
    prices = gain.new_zeros(size)
    epsilon = max(float(gain.max() - gain.min()) / 4, tolerance)
    while True:
        owner = _bid(gain, prices, epsilon)
        if epsilon <= tolerance:
            return torch.argsort(owner)
        epsilon = max(epsilon / 5, tolerance)


def _bid(gain: Tensor, prices: Tensor, epsilon: float) -> Tensor:
    """The owning row of each column; `prices` (B,) are raised in place."""
    owner = torch.full_like(prices, -1, dtype=torch.long)
    free = torch.arange(len(gain), device=gain.device)
    while len(free):
        values, columns = (gain[free] - prices).topk(2, dim=1)
        bids = prices[columns[:, 0]] + values[:, 0] - values[:, 1] + epsilon
        best = torch.full_like(prices, -torch.inf).scatter_reduce_(0, columns[:, 0], bids, "amax")
        highest = bids == best[columns[:, 0]]
        winner = torch.full_like(owner, -1)
        winner[columns[highest, 0]] = free[highest]
        won = winner >= 0
        losers = owner[won & (owner >= 0)]
        prices[won], owner[won] = best[won], winner[won]
        free = torch.cat([free[~torch.isin(free, winner[won])], losers])
    return owner


def _optimal_transport(tolerance: float = 1e-3) -> Coupling:
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance {tolerance} must lie between 0 and 1")
    return lambda x0, noise: optimal_transport(x0, noise, tolerance)


COUPLINGS: dict[str, Method] = {
    "independent": Method(independent, "noise drawn for itself", "Ho et al. 2020, 2006.11239"),
    "optimal-transport": Method(_optimal_transport, "least distance in the batch", "Pooladian et al. 2023, 2304.14772"),
}
