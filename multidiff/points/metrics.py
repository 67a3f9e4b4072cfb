"""How good generated and completed point clouds are.

Distances between clouds A and B, with d(a, B) the distance of a to its nearest point of B:
- Chamfer, generation convention (Yang et al. 2019, PointFlow, eq. 11, as means): mean d(a, B)^2 + mean d(b, A)^2.
- Chamfer, completion convention (Yuan et al. 2018, PCN): CD-L1 = (mean d(a, B) + mean d(b, A)) / 2.
- Earth mover's: mean |a - match(a)| of the best one-to-one matching, exact.
Between sets of clouds: MMD, coverage and 1-NNA (PointFlow, section 5.1; Lopez-Paz and Oquab 2017). A set is compared
only within one frame: the one of `PointCloud.normalized`. 1-NNA is blind to surface noise (FACTS section 4), so
`metrics` gives it beside the roughness and the real-against-real floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidiff.points.media import PointCloud
from multidiff.points.sampling import Array, local_planes

COMPARED = 1024
"""Points to which the clouds of a set are thinned at most before they are compared."""


def nearest(a: Array, b: Array) -> Array:
    """Distance of each point of a (N, 3) to its nearest point of b (M, 3): (N,)."""
    from scipy.spatial import cKDTree

    distances: Array = cKDTree(b).query(a)[0]
    return distances


def chamfer_l2(a: Array, b: Array) -> float:
    """Mean squared nearest distance from a to b plus that from b to a (generation; PCN's CD-L2)."""
    return float((nearest(a, b) ** 2).mean() + (nearest(b, a) ** 2).mean())


def chamfer_l1(a: Array, b: Array) -> float:
    """Half of the mean nearest distance from a to b plus that from b to a (completion; PCN's CD-L1)."""
    return float((nearest(a, b).mean() + nearest(b, a).mean()) / 2)


def emd(a: Array, b: Array) -> float:
    """Earth mover's distance of two clouds of as many points: the mean distance of the best matching.

    Exact; .3 s at 1024 points, 4 s at 2048. Raises ValueError when the numbers differ.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if len(a) != len(b):
        raise ValueError(f"clouds of {len(a)} and {len(b)} points cannot be matched one to one; resample them")
    cost = cdist(a, b)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def f_score(a: Array, b: Array, threshold: float) -> float:
    """Harmonic mean of the shares of a near b and of b near a, near meaning distance < `threshold` (not squared)."""
    precision, recall = (nearest(a, b) < threshold).mean(), (nearest(b, a) < threshold).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def uhd(part: Array, whole: Array) -> float:
    """Unidirectional Hausdorff distance: how far the farthest given point is from the completion (fidelity)."""
    return float(nearest(part, whole).max())


def tmd(completions: Sequence[Array]) -> float:
    """Total mutual difference: sum over completions of the mean Chamfer distance (L2) to the others (diversity).

    Wu et al. 2020, "Multimodal Shape Completion via Conditional Generative Adversarial Networks", section 4.1.
    """
    between = distances(completions, completions)
    return float(between.sum() / (len(completions) - 1))


def roughness(points: Array, neighbours: int = 12) -> float:
    """Mean distance of points to the plane of their neighbours: 0 on a plane, about the noise on a noisy one."""
    return float(local_planes(points, neighbours)[1].mean())


def distances(
    a: Sequence[Array], b: Sequence[Array], distance: Callable[[Array, Array], float] = chamfer_l2
) -> NDArray[np.float64]:
    """Distances (len(a), len(b)) between all clouds of two sets; a set with itself is computed once per pair."""
    if a is b:
        result = np.zeros((len(a), len(a)))
        for i, j in combinations(range(len(a)), 2):
            result[i, j] = result[j, i] = distance(a[i], a[j])
        return result
    return np.array([[distance(x, y) for y in b] for x in a])


def mmd(between: NDArray[np.float64]) -> float:
    """Minimum matching distance from `between` (real, generated): mean over real of the nearest generated."""
    return float(between.min(axis=1).mean())


def coverage(between: NDArray[np.float64]) -> float:
    """Share of the real clouds that are the nearest one of some generated cloud, from `between` (real, generated)."""
    return len(np.unique(between.argmin(axis=0))) / len(between)


def told_apart(
    real: NDArray[np.float64], generated: NDArray[np.float64], between: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """For each cloud of both sets, whether its nearest other one is of its own set: (R + G,).

    real (R, R), generated (G, G) and between (R, G) distances.
    """
    whole = np.block([[real, between], [between.T, generated]])
    np.fill_diagonal(whole, np.inf)
    is_real = np.arange(len(whole)) < len(real)
    result: NDArray[np.bool_] = is_real[whole.argmin(axis=1)] == is_real
    return result


def one_nna(real: NDArray[np.float64], generated: NDArray[np.float64], between: NDArray[np.float64]) -> float:
    """Leave-one-out accuracy of telling the two sets apart by the nearest neighbour: 0.5 is best, 1 is worst."""
    return float(told_apart(real, generated, between).mean())


def interval(values: NDArray[Any], draws: int = 2000) -> tuple[float, float]:
    """The 95 % interval of a mean by the percentile bootstrap (Efron 1979), the same at each call."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def jsd(a: Sequence[Array], b: Sequence[Array], cells: int = 28) -> float:
    """Jensen-Shannon divergence (in bits) of where the points of two sets lie, on a grid of [-1, 1]^3.

    Achlioptas et al. 2018, section 3.
    """
    edges = [np.linspace(-1, 1, cells + 1)] * 3
    p, q = (np.histogramdd(np.clip(np.concatenate(clouds), -1, 1), edges)[0].ravel() for clouds in (a, b))
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def relative(x: Array) -> float:
        inside = x > 0
        return float((x[inside] * np.log2(x[inside] / middle[inside])).sum())

    return (relative(p) + relative(q)) / 2


def metrics(real: Sequence[PointCloud], generated: Sequence[PointCloud]) -> dict[str, float]:
    """Set metrics (Chamfer, generation convention) of generated clouds against real ones, each normalised.

    Clouds are thinned to 1024 points, or as many as the smallest has; `low` and `high` are the ends of 1-NNA's 95 %
    interval. Where there are at least four real clouds, `floor` values compare one half
    of them with the other: what a perfect model of half as many shapes would get.
    """
    count = min(COMPARED, *map(len, (*real, *generated)))
    sets = [[_thinned(cloud, count, seed) for seed, cloud in enumerate(clouds)] for clouds in (real, generated)]
    r, g = sets
    within, made, between = distances(r, r), distances(g, g), distances(r, g)
    low, high = interval(told_apart(within, made, between))
    result = {
        "mmd_cd": mmd(between),
        "coverage_cd": coverage(between),
        "1nna_cd": one_nna(within, made, between),
        "1nna_cd_low": low,
        "1nna_cd_high": high,
        "jsd": jsd(r, g),
        "roughness": float(np.mean([roughness(points) for points in g])),
        "roughness_real": float(np.mean([roughness(points) for points in r])),
        "real_count": float(len(r)),
        "generated_count": float(len(g)),
    }
    if len(r) >= 4:
        result.update(_floor(within))
    return result


def _floor(within: NDArray[np.float64], splits: int = 20) -> dict[str, float]:
    """MMD and 1-NNA of one half of the real clouds against the other, as a mean over random halvings."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(splits):
        a, b = np.array_split(rng.permutation(len(within)), 2)
        between = within[np.ix_(a, b)]
        found.append((mmd(between), one_nna(within[np.ix_(a, a)], within[np.ix_(b, b)], between)))
    mean = np.mean(found, axis=0)
    return {"floor_mmd_cd": float(mean[0]), "floor_1nna_cd": float(mean[1])}


def _thinned(cloud: PointCloud, count: int, seed: int) -> Array:
    return cloud.normalized()[0].resample(count, seed, "random").points
