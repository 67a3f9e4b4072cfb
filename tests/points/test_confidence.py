"""Confidence: how far several completions agree, point by point."""

import numpy as np
import pytest

from multidiff.model import WITNESSES, others
from multidiff.points.confidence import REACH, confidence
from multidiff.points.media import PointCloud
from multidiff.points.modality import POINTS

GRID = np.stack(np.meshgrid(*[np.arange(5.0)] * 2, [0.0], indexing="ij"), -1).reshape(-1, 3)
"""25 points at a spacing of 1."""


def test_a_points_confidence_is_the_mean_of_a_gaussian_of_its_distances_in_spacings() -> None:
    near, far = (GRID + np.array([0, 0, away]) for away in (1.5, 6.0))
    expected = (np.exp(-((1.5 / REACH) ** 2)) + np.exp(-((6.0 / REACH) ** 2))) / 2
    np.testing.assert_allclose(confidence(GRID, [near, far]), expected, rtol=1e-6)
    np.testing.assert_allclose(confidence(70 * GRID + 900, [70 * near + 900, 70 * far + 900]), expected, rtol=1e-6)


def test_what_all_have_is_sure_and_does_not_count_for_the_spacing() -> None:
    """Given points are, however dense they lie, and however one file rounds them."""
    given = np.random.default_rng(0).uniform(-30, -20, (4000, 3))
    own, other = np.concatenate([given, GRID]), np.concatenate([given + 1e-6, GRID + np.array([0, 0, REACH])])
    found = confidence(own, [other])
    assert (found[:4000] == 1).all()
    np.testing.assert_allclose(found[4000:], np.exp(-1), rtol=1e-6)
    assert (confidence(given, [given, other]) == 1).all()


def test_neither_the_order_of_the_points_nor_that_of_the_others_matters() -> None:
    rng = np.random.default_rng(1)
    own, a, b = (rng.normal(size=(200, 3)) for _ in range(3))
    order = rng.permutation(200)
    np.testing.assert_allclose(confidence(own[order], [b[order], a]), confidence(own, [a, b])[order], rtol=1e-6)


def test_one_point_that_is_new_or_many_at_one_place_have_no_spacing_and_no_confidence() -> None:
    given = np.random.default_rng(0).normal(size=(50, 3))
    for count in (1, 5):
        found = confidence(np.concatenate([given, np.full((count, 3), 9.0)]), [given])
        assert found.tolist() == [1] * 50 + [0] * count


def test_a_cloud_keeps_its_confidence_when_points_are_chosen_turned_or_thinned() -> None:
    cloud = POINTS.confident(PointCloud(GRID), [PointCloud(GRID + np.linspace(0, 9, 25)[:, None])])
    assert cloud.confidence.dtype == np.float32
    assert cloud.confidence[0] == 1 > cloud.confidence[1]
    turned = cloud.rotated(np.diag([1.0, -1, -1])).normalized()[0]
    np.testing.assert_array_equal(turned.confidence, cloud.confidence)
    thinned = cloud.resample(16)
    row = (GRID[:, None] == thinned.points).all(-1).argmax(0)
    np.testing.assert_array_equal(thinned.confidence, cloud.confidence[row])


@pytest.mark.parametrize("count", [1, 2, 4, WITNESSES + 5])
def test_each_of_several_is_compared_with_others_and_each_is_as_often_a_witness(count: int) -> None:
    found = others(range(count))
    most = min(WITNESSES, count - 1)
    for own, witnesses in enumerate(found):
        assert own not in witnesses
        assert len(set(witnesses)) == len(witnesses) == most
    flat = [one for witnesses in found for one in witnesses]
    assert all(flat.count(one) == most for one in range(count))
