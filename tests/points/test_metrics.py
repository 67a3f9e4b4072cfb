import numpy as np
import pytest
import torch
from scipy.spatial.distance import directed_hausdorff

from multidiff.points import metrics as m
from multidiff.points.media import PointCloud

RNG = np.random.default_rng(1)
A, B = RNG.normal(size=(200, 3)), RNG.normal(size=(150, 3)) + 0.3


def brute(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = torch.cdist(torch.tensor(a), torch.tensor(b), compute_mode="donot_use_mm_for_euclid_dist").numpy()
    return table.min(1), table.min(0)


def test_chamfer_agrees_with_brute_force_in_both_conventions() -> None:
    forth, back = brute(A, B)
    assert m.chamfer_l2(A, B) == pytest.approx((forth**2).mean() + (back**2).mean())
    assert m.chamfer_l1(A, B) == pytest.approx((forth.mean() + back.mean()) / 2)
    assert m.chamfer_l2(A, A) == m.chamfer_l1(A, A) == 0


def test_chamfer_of_two_far_points_has_its_closed_form() -> None:
    line = np.array([[0.0, 0, 0], [1, 0, 0]])
    assert m.chamfer_l1(line, line + np.array([0, 0.2, 0])) == pytest.approx(0.2)
    assert m.chamfer_l2(line, line + np.array([0, 0.2, 0])) == pytest.approx(0.08)


def test_emd_finds_a_hidden_permutation_and_is_the_shift_of_a_translation() -> None:
    assert m.emd(A, RNG.permutation(A)) == pytest.approx(0)
    assert m.emd(A, A + np.array([3.0, 4.0, 0.0])) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="resample"):
        m.emd(A, B)


def test_emd_on_a_line_is_the_distance_of_sorted_values() -> None:
    x, y = RNG.normal(size=64), RNG.normal(size=64)
    a, b = (np.stack([v, 0 * v, 0 * v], 1) for v in (x, y))
    assert m.emd(a, b) == pytest.approx(np.abs(np.sort(x) - np.sort(y)).mean())


def test_f_score_counts_both_directions() -> None:
    forth, back = brute(A, B)
    p, r = (forth < 0.3).mean(), (back < 0.3).mean()
    assert m.f_score(A, B, 0.3) == pytest.approx(2 * p * r / (p + r))
    assert m.f_score(A, A + 100, 0.3) == 0
    assert m.f_score(A, A, 0.3) == 1


def test_uhd_is_scipys_directed_hausdorff_distance() -> None:
    assert m.uhd(A, B) == pytest.approx(directed_hausdorff(A, B)[0])


def test_tmd_is_the_sum_of_mean_differences() -> None:
    clouds = [A, A + np.array([0.1, 0, 0]), B]
    expected = sum(np.mean([m.chamfer_l2(a, b) for b in clouds if b is not a]) for a in clouds)
    assert m.tmd(clouds) == pytest.approx(expected)
    assert m.tmd([A, A, A]) == 0


def test_roughness_is_zero_on_a_plane_and_follows_the_noise() -> None:
    plane = RNG.uniform(-1, 1, (3000, 3)) * [1, 0, 1]
    assert m.roughness(plane) < 1e-7
    rough = [m.roughness(plane + RNG.normal(size=plane.shape) * [0, s, 0]) for s in (0.005, 0.01)]
    assert rough[1] == pytest.approx(2 * rough[0], rel=0.1)
    assert rough[1] == pytest.approx(0.01, rel=0.25)


def test_set_metrics_agree_with_a_table_worked_by_hand() -> None:
    between = np.array([[1.0, 4.0, 6.0], [3.0, 2.0, 2.5]])
    real, generated = np.array([[0, 5.0], [5.0, 0]]), np.array([[0, 9, 9.0], [9, 0, 1.0], [9, 1, 0.0]])
    assert m.mmd(between) == 1.5
    assert m.coverage(between) == 1.0
    assert m.coverage(between[:, 1:]) == 0.5
    # Real 0 -> generated 0 and real 1 -> generated 1 (wrong), generated 0 -> real 0 (wrong), generated 1 <-> 2.
    assert m.one_nna(real, generated, between) == pytest.approx(2 / 5)


def test_the_interval_of_a_share_has_its_normal_width() -> None:
    low, high = m.interval(np.arange(400) < 200)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_jsd_is_zero_for_the_same_place_and_one_bit_apart() -> None:
    left, right = [RNG.uniform(-1, -0.5, (500, 3))], [RNG.uniform(0.5, 1, (500, 3))]
    assert m.jsd(left, left) == pytest.approx(0)
    assert m.jsd(left, right) == pytest.approx(1)


def shapes(count: int, stretch: float, seed: int) -> list[PointCloud]:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, 1200, 3))
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    return [PointCloud(d * [1, rng.uniform(0.5, 1.0) * stretch, 1]) for d in drawn]


def test_metrics_know_the_same_kind_of_shapes_from_others_and_from_noisy_ones() -> None:
    real = shapes(8, 1.0, 0)
    same, other = m.metrics(real, shapes(8, 1.0, 1)), m.metrics(real, shapes(8, 0.3, 2))
    noisy = m.metrics(real, [PointCloud(c.points + RNG.normal(size=c.points.shape) * 0.03) for c in shapes(8, 1.0, 1)])
    assert other["1nna_cd"] == 1.0
    assert same["1nna_cd"] < 0.9
    assert other["mmd_cd"] > 3 * same["mmd_cd"]
    assert noisy["roughness"] > 1.3 * same["roughness"]
    assert 0 < same["floor_mmd_cd"] < 2 * same["mmd_cd"]
    assert 0.3 < same["floor_1nna_cd"] < 0.7
    assert same["real_count"] == 8
    assert same["1nna_cd_low"] <= same["1nna_cd"] <= same["1nna_cd_high"]
