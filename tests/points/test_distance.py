"""Distances between clouds, each against brute force, another library or a closed form."""

from itertools import permutations

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from multidiff.points import distance as d

RNG = np.random.default_rng(1)
A, B = RNG.normal(size=(200, 3)), RNG.normal(size=(150, 3)) + 0.3


def brute(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))
    return table.min(1), table.min(0)


def test_chamfer_agrees_with_brute_force_in_both_conventions() -> None:
    forth, back = brute(A, B)
    assert d.chamfer_l2(A, B) == pytest.approx((forth**2).mean() + (back**2).mean())
    assert d.chamfer_l1(A, B) == pytest.approx((forth.mean() + back.mean()) / 2)
    assert d.chamfer_l2(A, A) == d.chamfer_l1(A, A) == 0


def test_chamfer_of_two_far_points_has_its_closed_form() -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 0]])
    assert d.chamfer_l1(line, line + np.array([0, 0.2, 0])) == pytest.approx(0.2)
    assert d.chamfer_l2(line, line + np.array([0, 0.2, 0])) == pytest.approx(0.08)


def test_emd_finds_a_hidden_permutation_and_is_the_shift_of_a_translation() -> None:
    assert d.emd(A, RNG.permutation(A)) == pytest.approx(0)
    assert d.emd(A, A + np.array([3.0, 4.0, 0.0])) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="resample"):
        d.emd(A, B)


def test_emd_on_a_line_is_the_distance_of_sorted_values() -> None:
    x, y = RNG.normal(size=64), RNG.normal(size=64)
    a, b = (np.stack([v, 0 * v, 0 * v], 1) for v in (x, y))
    assert d.emd(a, b) == pytest.approx(np.abs(np.sort(x) - np.sort(y)).mean())


def test_emd_is_the_best_of_all_matchings() -> None:
    a, b = A[:6], B[:6]
    best = min(np.linalg.norm(a - b[list(order)], axis=1).mean() for order in permutations(range(6)))
    assert d.emd(a, b) == pytest.approx(best)


def test_distances_of_a_set_with_itself_are_those_of_its_pairs() -> None:
    clouds = [A, B, A + 1]
    np.testing.assert_allclose(d.distances(clouds, clouds), d.distances(clouds, list(clouds)))
    assert d.distances([A], [B, A], d.chamfer_l1)[0].tolist() == [d.chamfer_l1(A, B), 0.0]


def test_f_score_counts_both_directions() -> None:
    forth, back = brute(A, B)
    p, r = (forth < 0.3).mean(), (back < 0.3).mean()
    assert d.f_score(A, B, 0.3) == pytest.approx(2 * p * r / (p + r))
    assert d.f_score(A, A + 100, 0.3) == 0
    assert d.f_score(A, A, 0.3) == 1


def test_uhd_is_scipys_directed_hausdorff_distance() -> None:
    assert d.uhd(A, B) == pytest.approx(directed_hausdorff(A, B)[0])


def test_tmd_is_the_sum_of_mean_differences() -> None:
    clouds = [A, A + np.array([0.1, 0, 0]), B]
    expected = sum(np.mean([d.chamfer_l2(a, b) for b in clouds if b is not a]) for a in clouds)
    assert d.tmd(clouds) == pytest.approx(expected)
    assert d.tmd([A, A, A]) == d.tmd([A]) == 0


def test_roughness_is_zero_on_a_plane_and_follows_the_noise() -> None:
    plane = RNG.uniform(-1, 1, (3000, 3)) * [1, 0, 1]
    assert d.roughness(plane) < 1e-7
    rough = [d.roughness(plane + RNG.normal(size=plane.shape) * [0, s, 0]) for s in (0.005, 0.01)]
    assert rough[1] == pytest.approx(2 * rough[0], rel=0.1)
    assert rough[1] == pytest.approx(0.01, rel=0.25)
