"""Averages of other lengths, built from what a run kept."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multidiff.cli import main
from multidiff.core.posthoc import PowerEMA
from multidiff.errors import InputError, ModelError
from multidiff.train import run
from multidiff.train.loop import Training
from multidiff.train.posthoc import rebuilt
from tests.train.conftest import toy_recipe

KEPT = {"power_ema": [0.05, 0.1], "checkpoint_every": 2}


def test_an_average_of_another_length_is_what_training_would_have_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked: list[PowerEMA] = []
    update = Training._update

    def also(self: Training, group: str, lr: float) -> torch.Tensor:
        norm = update(self, group, lr)
        if not tracked:
            tracked.append(PowerEMA(self.groups[group], 0.08))
        tracked[0].update(self.groups[group])
        return norm

    monkeypatch.setattr(Training, "_update", also)
    folder = run.train(toy_recipe(**KEPT), tmp_path / "run", device="cpu")
    assert folder
    built = rebuilt(folder, 0.08).network.state_dict()
    for name, value in tracked[0].averages.items():
        torch.testing.assert_close(built[name], value, rtol=0, atol=2e-4, msg=name)
    wide = rebuilt(folder, 0.25).network.state_dict()
    assert any((built[name] - value).abs().max() > 1e-2 for name, value in wide.items())
    with pytest.raises(SystemExit):
        main(["posthoc", str(folder), "--std", "0.08", "--step", "20", "-o", str(tmp_path / "half")])
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert not torch.equal(half["network.layers.0.weight"], built["layers.0.weight"])


def test_a_resumed_run_keeps_the_same_averages(tmp_path: Path) -> None:
    whole = run.train(toy_recipe(**KEPT), tmp_path / "whole", device="cpu")
    cut = run.train(toy_recipe(**KEPT), tmp_path / "cut", max_minutes=0.0, device="cpu")
    assert whole
    assert cut
    run.train(toy_recipe(**KEPT), cut, resume=True, device="cpu")
    for path in (whole / "snapshots").iterdir():
        ours, theirs = load_file(cut / "snapshots" / path.name), load_file(path)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_was_not_kept_cannot_be_built(tmp_path: Path) -> None:
    plain = run.train(toy_recipe(steps=4), tmp_path / "plain", device="cpu")
    with pytest.raises(ModelError, match="kept no snapshots"):
        rebuilt(plain, 0.1)
    folder = run.train(toy_recipe(**KEPT, steps=10), tmp_path / "run", device="cpu")
    for std, step, said in ((0.0, None, "between 0"), (0.3, None, "between 0"), (0.1, 1, "first is of step 2")):
        with pytest.raises(InputError, match=said):
            rebuilt(folder, std, step)
