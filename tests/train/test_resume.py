"""A real medium's training, interrupted and resumed, repeats an uninterrupted one."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multidiff import weights
from multidiff.errors import RecipeError
from multidiff.train import run
from multidiff.train.loop import Training
from tests.tiny import RECIPES, tiny_recipe

STEPS = 12


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


LEARNING = {
    "weights/weighting/linear.weight": ("diffusion.loss=uncertainty", "diffusion.huber=0.5"),
    "weights/times/squares": ("diffusion.times=importance:bins=2",),
}
"""A loss and a distribution of times that learn, and the state of their own that they have."""


@pytest.mark.parametrize(
    ("medium", "learning"), [*((medium, "") for medium in RECIPES), *(("points", state) for state in LEARNING)]
)
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(
    medium: str, learning: str, tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = ("train.validate_every=6", "train.checkpoint_every=6", "diffusion.coupling=optimal-transport")
    overrides = ("data=synth", "data.limit=9", f"train.steps={STEPS}", "train.batch=4", "train.ema=0.9", *every)
    recipe = tiny_recipe(medium, tiny_codec, *overrides, *LEARNING.get(learning, ()))
    whole = run.train(recipe, tmp_path / "whole", device="cpu")
    cut = run.train(recipe, tmp_path / "cut", max_minutes=0.0, device="cpu")
    assert whole
    assert cut
    assert len(table(cut / "log.csv")) == 1
    _interrupted(recipe, cut, monkeypatch)
    assert 1 < len(table(cut / "log.csv")) < STEPS
    run.train(recipe, cut, resume=True, device="cpu")

    assert table(cut / "log.csv") == table(whole / "log.csv")
    validated = {row["step"]: row for row in table(cut / "val.csv")}
    assert all(validated[row["step"]] == row for row in table(whole / "val.csv"))
    ours, theirs = load_file(cut / "state.safetensors"), load_file(whole / "state.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=0, equal_nan=True) for name in ours)
    if learning:
        assert ours[learning].isfinite().all()
        assert ours[learning].abs().max() > 0
    assert weights.load(cut, "cpu").sample("a chair", steps=2)


def _interrupted(recipe: run.Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C twice in the middle of a step after the first checkpoint: what came after it is lost."""
    advance = Training._advance

    def killed(self: Training, rows: run.Rows) -> object:
        if self.step == 8:
            raise KeyboardInterrupt
        return advance(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_advance", killed)
        with pytest.raises(KeyboardInterrupt):
            run.train(recipe, folder, resume=True, device="cpu")


def test_a_loss_and_times_that_undo_each_other_are_refused(tiny_codec: Path, tmp_path: Path) -> None:
    both = ("diffusion.loss=uncertainty", "diffusion.times=importance", "data=synth", "data.limit=9")
    with pytest.raises(RecipeError, match="take one of them"):
        run.train(tiny_recipe("points", tiny_codec, *both), tmp_path / "both", device="cpu")
