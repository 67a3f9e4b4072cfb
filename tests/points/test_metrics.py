import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from multidiff.points import metrics as m
from multidiff.points.distance import chamfer_l2, distances
from multidiff.points.media import PointCloud

RNG = np.random.default_rng(1)


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


def test_jsd_is_scipys_on_a_histogram_counted_by_hand() -> None:
    a, b = (RNG.normal(size=(2000, 3)) * s for s in (0.3, 0.4))
    counts = []
    for points in (a, b):
        cell = np.clip(np.floor((np.clip(points, -1, 1) + 1) * 2), 0, 3).astype(int)
        counts.append(np.bincount(cell @ [16, 4, 1], minlength=64))
    assert m.jsd([a], [b], cells=4) == pytest.approx(jensenshannon(*counts, base=2) ** 2)


def test_one_nna_is_a_leave_one_out_classifier() -> None:
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    clouds = [RNG.normal(size=(60, 3)) * RNG.uniform(0.8, 1.2, 3) + 0.1 * (i < 9) for i in range(20)]
    whole = distances(clouds, clouds)
    judge = KNeighborsClassifier(1, metric="precomputed")
    expected = cross_val_score(judge, whole, np.arange(20) < 9, cv=LeaveOneOut()).mean()
    assert m.one_nna(whole[:9, :9], whole[9:, 9:], whole[:9, 9:]) == pytest.approx(expected)


def shapes(count: int, stretch: float, seed: int) -> list[PointCloud]:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, 1200, 3))
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    return [PointCloud(d * [1, rng.uniform(0.5, 1.0) * stretch, 1]) for d in drawn]


def test_metrics_know_the_same_kind_of_shapes_from_others_and_from_noisy_ones() -> None:
    real = shapes(8, 1.0, 0)
    same, other = (m.metrics(real, made) | m.thorough(real, made) for made in (shapes(8, 1.0, 1), shapes(8, 0.3, 2)))
    noisy = m.metrics(real, [PointCloud(c.points + RNG.normal(size=c.points.shape) * 0.03) for c in shapes(8, 1.0, 1)])
    assert other["1nna_cd"] == 1.0
    assert same["1nna_cd"] < 0.9
    assert other["mmd_cd"] > 3 * same["mmd_cd"]
    assert noisy["roughness"] > 1.3 * same["roughness"]
    assert 0 < same["floor_mmd_cd"] < 2 * same["mmd_cd"]
    assert 0.3 < same["floor_1nna_cd"] < 0.7
    assert same["real_count"] == 8
    assert same["1nna_cd_low"] <= same["1nna_cd"] <= same["1nna_cd_high"]
    assert other["1nna_emd"] == 1.0
    assert other["mmd_emd"] > 1.5 * same["mmd_emd"]
    assert 0 < same["floor_mmd_emd"] < 2 * same["mmd_emd"]


def test_a_set_compared_with_itself_is_covered_and_cannot_be_told_apart() -> None:
    real = shapes(4, 1.0, 0)
    found = m.metrics(real, real) | m.thorough(real, real)
    assert found["mmd_cd"] == found["mmd_emd"] == found["jsd"] == 0
    assert found["coverage_cd"] == found["coverage_emd"] == 1
    assert found["1nna_cd"] == found["1nna_emd"] == 0  # each cloud's nearest is its twin in the other set


def test_copies_of_training_shapes_are_found_though_resampled_and_a_little_rough() -> None:
    rng, training = np.random.default_rng(0), shapes(5, 1.0, 0)
    half = [cloud.select(rng.permutation(1200)[:600]) for cloud in training[:2]]
    rough = PointCloud(half[0].points + 0.01 * rng.normal(size=(600, 3)))
    found = m.memorisation(training, [half[1], rough, shapes(1, 0.4, 9)[0]])
    assert found["duplicates"] == pytest.approx(2 / 3)
    other = [cloud.normalized()[0].points for cloud in shapes(1, 0.4, 9)]
    nearest = min(chamfer_l2(other[0], cloud.normalized()[0].points) for cloud in training)
    assert m.memorisation(training, shapes(1, 0.4, 9))["nearest_training_cd"] == pytest.approx(nearest, rel=0.2)
