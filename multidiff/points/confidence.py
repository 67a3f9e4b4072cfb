"""How far several completions of one part agree, point by point.

For a point at distance d_j from the nearest point of another completion j (of J),

    confidence = mean over j of exp(-(d_j / (REACH s))^2),

with s the spacing of what its own completion added: the median distance of an added point to the nearest other added
one. 1 says that every other has a point right there, as they all have where points were given; .37 that it is REACH
spacings off. It tells where one model is of one mind, not where it is right: see `points.completion` for how well the
one goes with the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multidiff.points.sampling import Array

REACH = 3.0
"""Spacings over which completions can still be told to agree. With 3 to 6 the points of 12 held-out shapes' completions
are ranked by their error about as well (Spearman .38 to .42), with fewer worse."""
SAME = 1e-6
"""Points are the same that are no farther apart than this share of the cloud's extent, as rounding may put them."""


def confidence(points: Array, others: Sequence[Array]) -> NDArray[np.float32]:
    """The confidence (N,) of points (N, 3), given at least one other completion, each (M, 3)."""
    from scipy.spatial import cKDTree

    away = np.stack([cKDTree(other).query(points)[0] for other in others])
    same = SAME * float(np.ptp(points, axis=0).max())
    added = points[away.max(axis=0) > same]
    spacing = float(np.median(cKDTree(added).query(added, k=2)[0][:, 1])) if len(added) > 1 else 0.0
    away[away <= same] = 0
    result: NDArray[np.float32] = np.exp(-((away / (REACH * max(spacing, same))) ** 2)).mean(axis=0).astype(np.float32)
    return result
