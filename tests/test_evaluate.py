"""Evaluation: figures beside their floor, a report and a page, for every medium."""

import json
from pathlib import Path

import pytest

from multidiff import weights
from multidiff.errors import InputError, ModelError
from multidiff.evaluate import evaluate
from tests.tiny import RECIPES, given, tiny_model


@pytest.mark.parametrize("medium", RECIPES)
def test_a_model_is_measured_against_held_out_files(medium: str, tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model(medium, tiny_codec)
    suffix = {"audio": "wav", "video": "mkv", "points": "ply"}[medium]
    data = tmp_path / "data"
    data.mkdir()
    for i in range(8):
        given(medium, seed=i).save(data / f"{i}.{suffix}")
    (data / f"8.{suffix}").write_bytes(b"broken")
    rows = [f"{i}.{suffix},a <b>dog</b> {i},val" for i in range(9)]
    (data / "metadata.csv").write_text("\n".join(["file_name,text,split", *rows]))
    told: list[tuple[int, int]] = []
    report = evaluate(
        model, (str(data),), tmp_path / "out", count=4, seed=3, progress=lambda *step: told.append(step), steps=2
    )
    assert told == [(i, 4) for i in range(1, 5)]
    assert (report.model, report.count, report.steps, report.seed) == (model.name, 4, 2, 3)
    assert report.generated.keys() == report.floor.keys()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["generated"] == report.generated
    page = (tmp_path / "out" / "index.html").read_text()
    assert "a &lt;b&gt;dog&lt;/b&gt; 0" in page
    for name in ("00_real.png", "00_generated.png", "03_generated.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
        assert name in page


def test_too_few_files_are_an_error(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec)
    for i in range(3):
        given("points", seed=i).save(tmp_path / f"{i}.ply")
    rows = [f"{i}.ply,val" for i in range(3)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,split", *rows]))
    with pytest.raises(InputError, match=r"3 usable items in split 'val'[,;] at least 4 are needed"):
        evaluate(model, (str(tmp_path),), tmp_path / "out")
    with pytest.raises(InputError, match="no option 'stepz', did you mean 'steps'"):
        evaluate(model, (str(tmp_path),), tmp_path / "out", stepz=3)


def test_a_codec_alone_cannot_be_evaluated(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no denoiser to sample from"):
        evaluate(weights.load(tiny_codec, "cpu"), ("synth",), tmp_path / "out")
