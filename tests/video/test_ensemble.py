"""Scores of ensembles are those of their definitions, and do not prefer many members to few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from multidiff.video import ensemble as e


def test_crps_is_the_double_sum_of_its_definition() -> None:
    members, truth = np.random.default_rng(0).normal(size=(5, 3, 4)), np.random.default_rng(1).normal(size=(3, 4))
    pairs = sum(np.abs(a - b) for a in members for b in members) / (2 * 5 * 4)
    np.testing.assert_allclose(e.crps(members, truth), np.abs(members - truth).mean(0) - pairs)
    np.testing.assert_allclose(e.crps(members[:1], truth), np.abs(members[0] - truth))


@pytest.mark.parametrize("k", [2, 3, 10])
def test_crps_of_few_members_has_the_mean_of_the_whole_distribution(k: int) -> None:
    mean, std = 0.4, 1.3
    z = -mean / std
    closed = std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))  # Gneiting and Raftery 2007
    drawn = np.random.default_rng(0).normal(mean, std, (k, 100_000))
    assert e.crps(drawn, np.zeros(100_000)).mean() == pytest.approx(closed, abs=0.01)


@pytest.mark.parametrize("width", [1.0, 0.5, 0.0])
def test_an_honest_ensemble_spreads_as_far_as_it_errs(width: float) -> None:
    random = np.random.default_rng(0)
    likely, truth = random.normal(size=100_000), random.normal(size=100_000)
    members = 3 * likely + width * random.normal(size=(4, 100_000))
    # The mean of k members errs by 1 + width^2/k, and (k + 1)/k of their variance is as much where width is 1.
    expected = np.sqrt(1.25 * width**2 / (1 + width**2 / 4))
    assert e.spread_skill(members, 3 * likely + truth) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_the_rank_histogram_of_an_honest_ensemble_is_flat_also_where_values_are_equal(step: float) -> None:
    drawn = np.random.default_rng(0).normal(size=(5, 100_000))
    drawn = np.round(drawn / step) * step if step else drawn
    np.testing.assert_allclose(e.rank_histogram(drawn[:4], drawn[4]), 1 / 5, atol=0.005)


def test_the_rank_histogram_counts_the_members_below() -> None:
    members = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(e.rank_histogram(members, np.array([0.0, 1.5, 2.0])), np.array([3, 4, 1, 1]) / 9)


def test_the_truth_lies_outside_of_an_ensemble_too_sure_of_itself() -> None:
    drawn = np.random.default_rng(0).normal(size=(5, 10_000))
    found = e.rank_histogram(0.3 * drawn[:4], drawn[4])
    assert found[[0, -1]].min() > 0.3
    assert found.sum() == pytest.approx(1)
