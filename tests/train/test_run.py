from __future__ import annotations

import csv
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multidiff import weights
from multidiff.errors import InputError, ModelError
from multidiff.recipe import Recipe
from multidiff.train import run
from multidiff.train.loop import Training

Make = Callable[..., Recipe]


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def losses(folder: Path, name: str = "log.csv") -> list[tuple[str, ...]]:
    return [tuple(v for k, v in row.items() if k != "seconds") for row in table(folder / name)]


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C in the middle of a run."""
    advance = Training._advance

    def interrupted(self: Training, rows: run.Rows) -> object:
        record = advance(self, rows)
        if self.step == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return record

    monkeypatch.setattr(Training, "_advance", interrupted)


@pytest.mark.parametrize("objective", ["denoiser", "adversary"])
@pytest.mark.parametrize(("accumulate", "at"), [(1, 13), (3, 20)])
def test_a_resumed_run_repeats_the_losses_of_an_uninterrupted_one(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch, objective: str, accumulate: int, at: int
) -> None:
    recipe = make_recipe(objective=objective, accumulate=accumulate)
    whole = run.train(recipe, "whole", device="cpu")
    with monkeypatch.context() as patch:
        stop_after(patch, at)
        run.train(recipe, "cut", device="cpu")
    assert len(losses(Path("cut"))) == at
    cut = run.train(recipe, "cut", resume=True, device="cpu")
    assert whole
    assert cut
    assert losses(cut) == losses(whole)
    assert set(losses(whole, "val.csv")) <= set(losses(cut, "val.csv"))
    ours, theirs = load_file(cut / "state.safetensors"), load_file(whole / "state.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_validation_loss_falls_in_every_bin(make_recipe: Make) -> None:
    folder = run.train(make_recipe("diffusion.parameterization=data", steps=300, validate_every=150), device="cpu")
    assert folder == Path("runs/toy-1")
    rows = table(folder / "val.csv")
    bins = [name for name in rows[0] if name.startswith("loss[")]
    assert [row["step"] for row in rows] == ["0", "150", "300"]
    assert len(bins) == 8
    assert all(float(rows[-1][name]) < float(rows[0][name]) for name in bins)


def test_the_run_folder_is_a_model_and_holds_no_pickle(make_recipe: Make) -> None:
    folder = run.train(make_recipe(sample_every=20), "out", device="cpu")
    assert folder
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} <= {".safetensors", ".yaml", ".csv", ".md", ".png"}
    assert len(list((folder / "samples").iterdir())) == 2
    assert "40 of 40 steps" in (folder / "README.md").read_text()
    loaded = weights.load(folder, "cpu")
    averages = load_file(folder / "state.safetensors")
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(value, averages[f"ema/network/{name}"])
    assert loaded.sample(steps=4)[0].at.isfinite().all()


def test_max_minutes_ends_with_a_checkpoint(make_recipe: Make) -> None:
    folder = run.train(make_recipe(steps=100_000), max_minutes=0.01, device="cpu")
    assert folder
    steps = len(losses(folder))
    assert 0 < steps < 100_000
    assert f"{steps} of 100000 steps" in (folder / "README.md").read_text()
    run.train(make_recipe(steps=100_000), resume=True, max_minutes=0.001, device="cpu")
    assert len(losses(folder)) > steps


def test_overfit_trains_and_validates_on_the_same_few_items_and_says_how_they_come_back(
    make_recipe: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(overfit=1, steps=200, lr=1e-2, objective="denoiser")
    folder = run.train(recipe, device="cpu")
    assert folder
    rows = table(folder / "val.csv")
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert "validated on the same items" in (folder / "README.md").read_text()
    said = capsys.readouterr().err
    back, other = map(float, re.findall(r"(\d+\.\d+) away", said))
    assert back < other
    assert sorted(path.name.split(".")[0] for path in (folder / "overfit").iterdir()) == ["0-item", "0-made"]


def test_a_dry_run_leaves_nothing_behind(make_recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.train(make_recipe(), "out", dry_run=True, device="cpu") is None
    assert not Path("out").exists()
    assert not Path("runs").exists()
    assert "peak memory" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named_before_data_are_prepared(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("")
    monkeypatch.setattr(run.pack, "load", None)
    with pytest.raises(InputError, match="file: is a file"):
        run.train(make_recipe(), "file/run", device="cpu")


def test_how_to_go_on_is_a_command_and_many_bad_files_are_counted(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = run.pack.load

    def skipping(*arguments: object) -> object:
        found = load(*arguments)
        found.info["skipped"] = [[f"{i}.toy", f"{i}.toy: is bad"] for i in range(14)]
        return found

    monkeypatch.setattr(run.pack, "load", skipping)
    stop_after(monkeypatch, 3)
    run.train(make_recipe(), "out", device="cpu")
    said = capsys.readouterr().err
    assert "go on with: multidiff train out --resume" in said
    assert "9.toy: is bad" in said
    assert "10.toy" not in said
    assert "and 4 more; `multidiff data check toy synth` lists all" in said


def test_a_run_is_never_overwritten_nor_resumed_with_another_recipe(make_recipe: Make) -> None:
    recipe = make_recipe(steps=4)
    run.train(recipe, "out", device="cpu")
    with pytest.raises(InputError, match="holds a run already"):
        run.train(recipe, "out", device="cpu")
    with pytest.raises(InputError, match=r"train.lr was 0.003 and is now 0.1"):
        run.train(make_recipe(steps=4, lr=0.1), "out", resume=True, device="cpu")
    with pytest.raises(InputError, match="no interrupted run"):
        run.train(recipe, "elsewhere", resume=True, device="cpu")
    assert run.train(make_recipe(steps=8), "out", resume=True, device="cpu")
    assert len(losses(Path("out"))) == 8


def test_a_broken_or_foreign_state_is_named(make_recipe: Make) -> None:
    recipe = make_recipe(steps=4)
    folder = run.train(recipe, "out", device="cpu")
    assert folder
    whole = (folder / "state.safetensors").read_bytes()
    (folder / "state.safetensors").write_bytes(whole[:200])
    with pytest.raises(ModelError, match="not a readable training state"):
        run.train(recipe, folder, resume=True, device="cpu")


def test_an_unknown_objective_names_the_known_ones_before_data_are_prepared(
    make_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.pack, "load", lambda *given: pytest.fail("prepared"))
    with pytest.raises(InputError, match="known: denoiser, distillation, classifier, adversary"):
        run.train(make_recipe(objective="vae"), device="cpu")
