"""A new medium is one new folder (tests/images) and one line in the table; everything else then works for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from multidiff import evaluate, recipe, registry, weights
from multidiff.cli import main
from multidiff.train.run import train
from tests.images.media import Image

RECIPE = "name: bars\nmodality: images\ntrain: {steps: 2, batch: 4, warmup: 1}\nsample: {steps: 3}\n"


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder of the new medium, after the one line in the table."""
    monkeypatch.setitem(registry.MODALITIES, "images", "tests.images.modality:IMAGES")
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bars.yaml").write_text(RECIPE)
    train(recipe.load(tmp_path / "bars.yaml"), out=tmp_path / "run", device="cpu")
    yield tmp_path / "run"
    registry.modality.cache_clear()


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_train_sample_complete_edit_and_eval_work_for_it(bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("sample", bars, "a bar at height 3", "-n", 2, "-o", out, "--plot", "--seed", 5) == 0
    made = sorted(path for path in out.glob("*.png") if not path.name.endswith(".plot.png"))
    assert [path.name for path in made] == ["bars_a-bar-at-height-3_5.png", "bars_a-bar-at-height-3_6.png"]
    assert all(path.with_suffix(".plot.png").is_file() for path in made)
    assert json.loads(made[0].with_suffix(".json").read_text())["job"]["seed"] == 5

    assert run("complete", bars, made[0], "-o", tmp_path / "whole") == 0
    whole = Image.read(next((tmp_path / "whole").glob("*.png")))
    np.testing.assert_array_equal(whole.pixels[:, :8], Image.read(made[0]).pixels[:, :8])

    assert run("edit", bars, made[0], "a bar at height 9", "-o", tmp_path / "edited") == 0
    report = evaluate.evaluate(weights.load(bars), ("synth",), tmp_path / "eval", count=3)
    assert set(report.generated) == set(report.floor) == {"brightness"}
    assert run("inspect", made[0]) == run("inspect", bars) == 0


def test_bad_files_of_it_are_counted_and_training_goes_on(bars: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(12):
        Image(np.full((16, 16), index / 12)).save(data / f"{index}.png")
    (data / "broken.png").write_bytes(b"not a picture")
    loaded = recipe.load(tmp_path / "bars.yaml", [f"data.root={data}"])
    train(loaded, out=tmp_path / "again", device="cpu")
    assert "broken.png" in (tmp_path / "again" / "README.md").read_text()
