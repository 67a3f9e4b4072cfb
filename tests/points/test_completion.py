"""Completions are judged by what was neither given nor seen, beside simpler ways to complete."""

import numpy as np
import pytest

from multidiff.modality import Trial
from multidiff.points import synth
from multidiff.points.completion import FLOOR, completion_metrics, trials
from multidiff.points.distance import chamfer_l1, chamfer_l2, f_score, tmd, uhd
from multidiff.points.media import PointCloud


def rows_of(points: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(p) for p in points.tolist()}


@pytest.fixture(scope="module")
def parts() -> list[Trial]:
    return trials(synth.shape(4)[0], seed=3)


def test_what_is_given_is_not_what_is_asked_for(parts: list[Trial]) -> None:
    assert [trial.kind for trial in parts] == ["view", "crop"]
    for trial in parts:
        given, truth, seen = (rows_of(c.points) for c in (trial.given, trial.whole, trial.context))
        assert not given & truth
        assert given < seen
        assert len(trial.whole) == len(trial.context) == 2048
    assert len(parts[1].given) == 1024
    again = trials(synth.shape(4)[0], seed=3)
    np.testing.assert_array_equal(parts[0].given.points, again[0].given.points)
    assert rows_of(parts[0].given.points) != rows_of(trials(synth.shape(4)[0], seed=4)[0].given.points)


def test_a_part_does_not_depend_on_the_unit_of_the_file() -> None:
    cloud = synth.shape(4)[0]
    moved = PointCloud(cloud.points.astype(np.float64) * 250 + [10, -20, 30])
    for a, b in zip(trials(cloud, 0), trials(moved, 0), strict=True):
        np.testing.assert_allclose(a.given.points, b.given.points, atol=1e-5)


def test_figures_are_those_of_the_distances_and_means_over_trials(parts: list[Trial]) -> None:
    made = [[synth.shape(i)[0].resample(2048, method="random") for i in (16, 28)] for _ in parts]
    found = completion_metrics(parts, made, [])
    figures = []
    for trial, clouds in zip(parts, made, strict=True):
        truth, points = trial.whole.points, [cloud.points for cloud in clouds]
        errors = [chamfer_l1(p, truth) for p in points]
        scores = [np.mean([f_score(p, truth, t) for p in points]) for t in (0.02, 0.04)]
        fidelity = np.mean([uhd(trial.given.points, p) for p in points])
        figures.append([np.mean(errors), min(errors), *scores, fidelity, tmd(points)])
    assert list(found["completed"]) == ["cd_l1", "cd_l1_best", "f_score_0.02", "f_score_0.04", "uhd", "tmd"]
    assert list(found["completed"].values()) == pytest.approx(np.mean(figures, axis=0))
    truth, again = parts[0].whole.points, parts[0].context.points
    assert found[FLOOR]["cd_l1"] == pytest.approx(chamfer_l1(truth, again))
    assert found[FLOOR]["tmd"] == pytest.approx(2 * chamfer_l2(truth, again))
    assert set(found) == {"completed", FLOOR, "part alone", "part + mirror image"}


def test_what_completions_are_sure_of_is_measured_beside_as_much_of_anything(parts: list[Trial]) -> None:
    """Sure of the truth, unsure of points a tenth of the radius beside it, or the other way round."""
    figures = {}
    for sign in (1, -1):
        made = []
        for trial in parts:
            beside = trial.whole.points[:700] + 0.1
            points = np.concatenate([trial.given.points, trial.whole.points, beside])
            sure = np.where(np.arange(len(points)) < len(points) - 700, 1.0, 0.5) ** sign
            made.append([PointCloud(points, confidence=sure)] * 2)
        found = figures[sign] = completion_metrics(parts, made, [])
        assert set(found) >= {"completed", "completed, surest 70%", "completed, any 70%"}
        assert "confidence" not in found[FLOOR]
    right, wrong = figures[1], figures[-1]
    assert right["completed"]["confidence"] == pytest.approx(-wrong["completed"]["confidence"])
    assert right["completed"]["confidence"] > 0.5
    errors = [rows["completed, surest 70%"]["cd_l1"] for rows in (right, wrong)]
    assert errors[0] < right["completed, any 70%"]["cd_l1"] == wrong["completed, any 70%"]["cd_l1"] < errors[1]
    flat = [[PointCloud(trial.whole.points, confidence=np.ones(2048))] for trial in parts]
    assert completion_metrics(parts, flat, [])["completed"]["confidence"] == 0


def test_another_sampling_of_the_truth_is_at_the_floor(parts: list[Trial]) -> None:
    found = completion_metrics(parts, [[trial.context] for trial in parts], [])
    assert found["completed"]["cd_l1"] == pytest.approx(found[FLOOR]["cd_l1"])
    assert found["completed"]["uhd"] == found["completed"]["tmd"] == found[FLOOR]["tmd"] == 0
    assert found["part alone"]["cd_l1"] > 1.5 * found[FLOOR]["cd_l1"]


def test_retrieval_finds_the_shape_where_it_is_in_the_training_set(parts: list[Trial]) -> None:
    training = [synth.shape(i)[0] for i in (1, 2, 3, 4, 5)]
    found = completion_metrics(parts, [[trial.given] for trial in parts], training)
    assert found["retrieved shape"]["cd_l1"] < 1.1 * found[FLOOR]["cd_l1"]
    assert found["part + retrieved shape"]["uhd"] == 0
    assert found["retrieved shape"]["uhd"] > 0


def test_mirroring_completes_half_of_a_symmetric_shape() -> None:
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(3000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    observed, truth = ball[:1500], ball[1500:]
    half = Trial("crop", PointCloud(truth), PointCloud(observed[observed[:, 0] > 0]), context=PointCloud(observed))
    found = completion_metrics([half], [[half.given]], [])
    assert found["part + mirror image"]["cd_l1"] < 1.1 * found[FLOOR]["cd_l1"]
    assert found["part alone"]["cd_l1"] > 3 * found[FLOOR]["cd_l1"]
