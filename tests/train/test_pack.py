from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from multidiff import files, text
from multidiff.errors import InputError, MediaError
from multidiff.recipe import Recipe
from multidiff.train import pack, run
from tests.train.toy import TOY

Make = Callable[..., Recipe]


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """A folder of ten points with captions, two of them bad, one validating."""
    folder = tmp_path / "points"
    folder.mkdir()
    rows = ["file_name,text,split"]
    for i in range(10):
        (folder / f"{i}.txt").write_text(f"{i} 1")
        rows.append(f"{i}.txt,{'odd' if i % 2 else 'even'},{'val' if i == 9 else 'train'}")
    (folder / "3.txt").write_text("hello")
    (folder / "4.txt").write_text("nan 1")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


class Letters:
    """A text encoder that counts how often it is asked."""

    dim = 4
    asked = 0

    def encode(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        Letters.asked += len(prompts)
        return torch.tensor([[[float(len(p))] * 4] * 3 for p in prompts]), torch.ones(len(prompts), 3, dtype=torch.bool)


def load(recipe: Recipe) -> pack.Pack:
    return pack.load(recipe, TOY.codec(recipe.codec))


def test_bad_files_are_counted_and_listed(make_recipe: Make, points: Path) -> None:
    data = load(make_recipe(f"data={points}"))
    assert data.info["counts"] == {"train": 7, "val": 1}
    assert sorted(Path(source).name for source, _ in data.info["skipped"]) == ["3.txt", "4.txt"]
    assert data.train.tensors["at"][:, 0].tolist() == [0, 1, 2, 5, 6, 7, 8]
    folder = run.train(make_recipe(f"data={points}", steps=2), device="cpu")
    assert folder
    assert "skipped: 2 files" in (folder / "README.md").read_text()


def test_training_fails_only_when_nothing_is_left(make_recipe: Make, points: Path) -> None:
    for path in points.glob("*.txt"):
        path.write_text("hello")
    with pytest.raises(InputError, match=r"none of \d+ items can be used; the first: .*not two numbers"):
        run.train(make_recipe(f"data={points}"), device="cpu")
    assert not list(pack.cache().iterdir())


def test_a_pack_is_prepared_once_and_again_when_a_file_changes(make_recipe: Make, points: Path) -> None:
    recipe = make_recipe(f"data={points}")
    load(recipe)
    load(recipe)
    assert len(list(pack.cache().iterdir())) == 1
    (points / "0.txt").write_text("77 1")
    os.utime(points / "0.txt", ns=(1, 1))
    assert load(recipe).train.tensors["at"][0, 0] == 77
    assert pack.key(recipe) != pack.key(make_recipe(f"data={points}", "data.limit=3"))
    assert pack.key(recipe) == pack.key(make_recipe(f"data={points}", "train.lr=0.5"))


def test_captions_are_encoded_once_each_and_the_null_prompt_comes_first(
    make_recipe: Make, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "load", lambda encoder, length: Letters())
    data = load(make_recipe(f"data={points}", "text.encoder=minilm"))
    assert data.captions == ["", "even", "odd"]
    assert Letters.asked == 3
    assert (data.frequent(9), data.frequent(1)) == (("even", "odd"), ("even",))
    assert data.tokens.shape == (3, 3, 4)
    assert [data.captions[i] for i in data.train.tensors["caption"]] == [
        "even",
        "odd",
        "even",
        "odd",
        "even",
        "odd",
        "even",
    ]


def test_a_carried_pack_trains_without_its_files(make_recipe: Make, points: Path, tmp_path: Path) -> None:
    recipe = make_recipe(f"data={points}", steps=3)
    carried = pack.prepare(recipe, TOY.codec(recipe.codec), tmp_path / "points.pack")
    first = run.train(recipe, "first", device="cpu")
    for path in points.iterdir():
        path.unlink()
    second = run.train(make_recipe(f"data={carried}", steps=3), "second", device="cpu")
    assert first
    assert second
    column = [[row.split(",")[2] for row in (f / "log.csv").read_text().splitlines()] for f in (first, second)]
    assert column[0] == column[1]
    assert len(load(make_recipe(f"data={carried}", "data.limit=2")).train) == 2


def test_a_pack_older_than_an_option_of_its_codec_has_the_default(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe()
    path = pack.prepare(recipe, TOY.codec(recipe.codec), tmp_path / "synth.pack")
    with safe_open(path, "pt") as file:
        info = json.loads(file.metadata()["multidiff"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    assert info["codec"] == {"trained": False}
    files.save_tensors(path, tensors, {"multidiff": json.dumps({**info, "codec": {}})})
    assert len(load(make_recipe(f"data={path}")).train)
    with pytest.raises(InputError, match="was prepared for codec"):
        load(make_recipe(f"data={path}", "codec.trained=true"))


def test_a_foreign_or_broken_pack_is_named(make_recipe: Make, tmp_path: Path) -> None:
    recipe = make_recipe()
    path = pack.prepare(recipe, TOY.codec(recipe.codec), tmp_path / "synth.pack")
    with pytest.raises(InputError, match="was prepared for codec"):
        load(make_recipe(f"data={path}", "codec.trained=true"))
    with pytest.raises(InputError, match=r"data.val was fixed"):
        load(make_recipe(f"data={path}", "data.val=fold=1"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not a readable pack"):
        load(make_recipe(f"data={path}"))
    with pytest.raises(MediaError, match="no such file"):
        load(make_recipe("data=elsewhere.pack"))
