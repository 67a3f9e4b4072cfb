"""How honest an ensemble of futures is: members (k, *shape) against the one truth (*shape) that came about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def crps(members: Array, truth: Array) -> Array:
    """Continuous ranked probability score of an ensemble (k, *shape) at each element of the truth (*shape).

    E|X - y| - E|X - X'|/2, with the second mean over pairs of different members: sum_i |x_i - y|/k -
    sum_{i<j} |x_i - x_j|/(k (k - 1)). This "fair" estimate does not depend on k where members and truth are drawn
    alike (Ferro 2014, "Fair scores for ensemble forecasts"; Zamo and Naveau 2018, its unbiased estimators), as the one
    that divides by k^2 does. It may be below 0 at an element. One member: the absolute error.
    """
    k = len(members)
    error = np.abs(members - truth).mean(0)
    if k == 1:
        return error
    # In sorted order the sum over pairs is one over members: x_(i) is the larger i times, the smaller k - 1 - i times.
    signed = (2 * np.arange(k) - (k - 1)).reshape(-1, *[1] * truth.ndim)
    pairs: Array = (signed * np.sort(members, axis=0)).sum(0)
    return error - pairs / (k * (k - 1))


def spread_skill(members: Array, truth: Array) -> float:
    """sqrt(mean variance of the members (k + 1)/k) over the root mean square error of their mean: 1 where members and
    truth are drawn alike (Fortin et al. 2014, "Why should ensemble spread match the RMSE of the ensemble mean?"), below
    1 for an ensemble too sure of itself, 0 for one member."""
    k = len(members)
    error = float(np.square(members.mean(0) - truth).mean())
    if k == 1 or error == 0:
        return 0.0
    return float(np.sqrt((k + 1) / k * members.var(0, ddof=1).mean() / error))


def rank_histogram(members: Array, truth: Array) -> Array:
    """(k + 1,): how often the truth is above 0, 1, ... k of the members, as shares; equal ones lie above and below it
    equally often. Flat where members and truth are drawn alike, highest at its ends for an ensemble too sure of itself
    (Hamill 2001, "Interpretation of rank histograms for verifying ensemble forecasts")."""
    k = len(members)
    below, equal = (members < truth).sum(0), (members == truth).sum(0)
    ranks = np.arange(k + 1).reshape(-1, *[1] * truth.ndim)
    found: Array = ((below <= ranks) & (ranks <= below + equal)) / (equal + 1)
    return found.reshape(k + 1, -1).mean(1)
