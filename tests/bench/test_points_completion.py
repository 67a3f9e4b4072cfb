"""Equal-time training for completion: the regressor learns what it is judged by, and both are judged alike."""

import math

import pytest
import torch

from multidiff import core, recipe, weights
from multidiff.bench import points_completion
from multidiff.bench.equal_time import Row
from multidiff.bench.points_completion import (
    CHANGES,
    COLUMNS,
    KINDS,
    OURS,
    PEER,
    REGRESSION,
    RegressorObjective,
    chamfer,
    completions,
)
from multidiff.core import SeededNoise
from multidiff.model import Model
from multidiff.points import synth
from multidiff.points.completion import FLOOR, completion_metrics, trials
from multidiff.points.distance import chamfer_l1
from multidiff.train.loop import Training, accelerator_for
from multidiff.train.pack import Rows

TINY = (
    *CHANGES,
    "data.count=40",
    "data.points=256",
    "data.drawn=64",
    "data.known=16",
    "options.points=64",
    "network.dim=8",
    "network.latent_dim=8",
    "network.latents=4",
    "network.blocks=1",
    "network.condition_dim=8",
    "train.batch=2",
    "train.warmup=0",
)


@pytest.fixture
def regressor() -> Model:
    torch.manual_seed(0)
    model = weights.build(recipe.load("shapes", [*TINY, *REGRESSION]))
    for parameter in model.network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_the_loss_is_the_chamfer_distance_of_the_counted_points():
    made, truth = torch.randn(2, 30, 3), torch.randn(2, 30, 3)
    counted = torch.arange(30) >= torch.tensor([[0], [12]])
    found = chamfer(made, truth, counted)
    for i in range(2):
        expected = chamfer_l1(made[i, counted[i]].numpy(), truth[i, counted[i]].numpy())
        assert float(found[i]) == pytest.approx(expected, rel=1e-5)
    permuted = chamfer(made[:, torch.randperm(30)], truth, torch.ones(2, 30, dtype=torch.bool))
    torch.testing.assert_close(permuted, chamfer(made, truth, torch.ones(2, 30, dtype=torch.bool)))


def test_what_is_trained_is_what_one_step_of_sampling_makes(regressor: Model):
    known = torch.randn(1, 64, 3)
    mask = torch.zeros(1, 64, 1)
    mask[:, :16] = 1
    condition, noise = {"known": known, "mask": mask}, SeededNoise([3], (64, 3))
    asked = regressor.settings(steps=1).sampling
    denoiser = regressor.denoiser()
    times = asked.times(denoiser.schedule)
    x = core.sample(denoiser, asked.sampler.make(core.SAMPLERS), times, noise, condition)
    trained = denoiser(noise(0), torch.ones(1, dtype=torch.float64), condition).x0
    torch.testing.assert_close(x, trained)
    assert torch.equal(trained[:, :16], known[:, :16])
    assert trained[:, 16:].std() > 0.01


def test_the_regressor_learns_a_shape(regressor: Model):
    points = torch.from_numpy(synth.shape(4, 256)[0].points).half()
    rows, objective = Rows({"points": points[None]}), RegressorObjective(regressor)

    def error() -> float:
        same = {"points": points.expand(16, -1, -1)}
        with torch.no_grad():
            return next(float(loss) for _, loss in objective.losses(same, torch.Generator().manual_seed(0)))

    before = error()
    spec = regressor.recipe.train.model_copy(update={"steps": 100, "lr": 1e-2})
    for _ in Training(objective, spec, accelerator_for("cpu", "fp32")).steps(rows):
        pass
    assert error() < 0.8 * before


def test_both_ways_are_trained_for_the_same_seconds_and_judged_beside_simpler_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path))
    found = list(points_completion.rows(["synth"], 0.5, 3, 2, TINY))
    simple = [FLOOR, "part alone", "part + mirror image", "retrieved shape", "part + retrieved shape"]
    assert [row.name for row in found] == [*simple, OURS, PEER]
    for row in found:
        assert all(math.isfinite(row.metrics[f"{kind}/{name}"]) for kind in KINDS for name in COLUMNS)
        assert row.metrics["view/cd_l1"] >= found[0].metrics["view/cd_l1"]
    for row in found[5:]:
        assert row.steps >= 1
        assert 0.5 <= row.seconds < 4
    lines = list(points_completion.markdown(iter(found), 2))
    assert [line.split("|")[1].strip() for line in lines[2:9]] == [row.name for row in found]
    assert len({line.count("|") for line in lines[:9]}) == 1


def test_figures_are_those_of_an_evaluation(regressor: Model):
    of = trials(synth.shape(4, 512)[0], 0)
    made = completions(regressor, of, 1)
    assert [len(hypotheses) for hypotheses in made] == [4, 4]
    found = points_completion.figures(of, made)["completed"]
    for trial, hypotheses in zip(of, made, strict=True):
        expected = completion_metrics([trial], [hypotheses], [])["completed"]
        assert {name: found[f"{trial.kind}/{name}"] for name in expected} == expected


def test_the_table_tells_thousandths():
    told = {f"{kind}/{name}": 0.0612 for kind in KINDS for name in COLUMNS}
    lines = list(points_completion.markdown(iter([Row(PEER, 2_500_000, 90.0, 7, told)]), 16))
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == [PEER, "2.50", "1.5", "7", *["61.2", "61.2", "0.061", "0.061"] * 2]
