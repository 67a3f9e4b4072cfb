"""Every shipped recipe trains: two steps of its small size on procedural data, in the order its comments say."""

import csv
from pathlib import Path

import pytest

from multidiff import recipe, weights
from multidiff.train.run import train

SHIPPED = {path.stem: path for path in sorted(recipe.RECIPES.glob("*/*.yaml"))}
BEFORE = {"sfx": "vocoder", "vocoder": "codec", "clips-latent": "frames"}
"""The recipe whose run holds the codec that this one starts from."""


def two_steps(name: str, folder: Path) -> Path:
    overrides = ["size=small", "data=synth", "data.limit=4", "train.steps=2", "train.batch=2"]
    if name in BEFORE:
        overrides.append(f"codec.weights={two_steps(BEFORE[name], folder)}")
    run = train(recipe.load(SHIPPED[name], overrides), folder / name, device="cpu")
    assert run
    return run


@pytest.mark.parametrize("name", SHIPPED)
def test_each_recipe_trains_for_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    run = two_steps(name, tmp_path)
    with (run / "log.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["1", "2"]
    with (run / "val.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["0", "2"]
    model = weights.load(run, "cpu")
    assert (run / "README.md").is_file()
    assert (model.network is None) == (model.recipe.train.objective != "denoiser")
