"""Evaluation: figures beside their floor, a report and a page, for every medium."""

import json
from pathlib import Path

import numpy as np
import pytest

from multidiff import weights
from multidiff.errors import InputError, ModelError
from multidiff.evaluate import evaluate, evaluate_completion
from multidiff.modality import Looping
from multidiff.points.media import PointCloud
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
    player = {
        "audio": '<audio controls loop src="03_generated.wav">',
        "video": "<video controls loop",
        "points": "<img",
    }
    assert player[medium] in page


def shapes(folder: Path, count: int = 8) -> tuple[str, ...]:
    """A data set of clouds, half of them held out."""
    folder.mkdir()
    for i in range(count):
        PointCloud(np.random.default_rng(i).standard_normal((160, 3))).save(folder / f"{i}.ply")
    rows = [f"{i}.ply,a <i>chair</i>,{'val' if i % 2 else 'train'}" for i in range(count)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,split", *rows]))
    return (str(folder),)


def test_completions_are_measured_beside_floor_and_baselines(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec)
    told: list[tuple[int, int]] = []
    report = evaluate_completion(
        model,
        "complete",
        shapes(tmp_path / "data"),
        tmp_path / "out",
        hypotheses=2,
        progress=lambda *step: told.append(step),
        steps=2,
    )
    assert told == [(i, 4) for i in range(1, 5)]
    assert (report.count, report.hypotheses, report.captions, report.steps) == (4, 2, False, 2)
    assert set(report.figures) == {"view", "crop"}
    for rows in report.figures.values():
        assert next(iter(rows)) == "completed"
        assert "part + retrieved shape" in rows
        assert rows["completed"]["cd_l1_best"] < rows["completed"]["cd_l1"]
        assert rows["completed"]["tmd"] > 0
    assert "| part alone |" in report.table()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["figures"] == report.figures
    assert "crop: a &lt;i&gt;chair&lt;/i&gt;" in (tmp_path / "out" / "index.html").read_text()
    assert (tmp_path / "out" / "view_03_truth.png").stat().st_size > 1000


def test_samples_are_compared_with_the_training_set_where_there_is_one(tiny_codec: Path, tmp_path: Path) -> None:
    report = evaluate(tiny_model("points", tiny_codec), shapes(tmp_path / "data"), tmp_path / "out", steps=1)
    assert report.generated["duplicates"] == 0
    assert report.floor["duplicates"] == 1  # all are samplings of one and the same Gaussian
    assert 0 < report.floor["nearest_training_cd"] < report.generated["nearest_training_cd"]


def sounds(folder: Path) -> tuple[str, ...]:
    """A data set of sounds, all held out."""
    folder.mkdir()
    for i in range(8):
        given("audio", seed=i).save(folder / f"{i}.wav")
    rows = [f"{i}.wav,a dog barking,dog_bark,val" for i in range(8)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,label,split", *rows]))
    return (str(folder),)


def test_a_judge_says_how_many_samples_are_what_was_asked_for(tiny_codec: Path, tmp_path: Path) -> None:
    report = evaluate(tiny_model("audio", tiny_codec), sounds(tmp_path / "data"), tmp_path / "out", steps=1)
    assert 0 <= report.generated["class_accuracy"] <= 1
    assert {"kad", "kad_ci95", "embedding_frechet"} <= report.floor.keys()
    assert not report.left_out


def test_without_a_judge_the_rest_is_measured_and_the_report_says_so(
    tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = tiny_model("audio", tiny_codec), sounds(tmp_path / "data")
    monkeypatch.setattr(type(model.modality), "judge", "nobody")
    report = evaluate(model, data, tmp_path / "out", steps=1)
    assert "kad" not in report.generated
    assert "mel_frechet" in report.generated
    assert "left out: figures of a judge (nobody: no such model" in report.table()


def test_a_judge_that_cannot_judge_is_refused_before_anything_is_made(tiny_codec: Path, tmp_path: Path) -> None:
    data = sounds(tmp_path / "data")

    def told(*_: int) -> None:
        pytest.fail("a sample was made")

    model = tiny_model("audio", tiny_codec)
    for judge, fault in (("nobody", "no such model"), (str(tiny_codec), "the judge is no classifier")):
        with pytest.raises((InputError, ModelError), match=fault):
            evaluate(model, data, tmp_path / "out", judge=judge, progress=told, steps=1)
    with pytest.raises(InputError, match="no figures that a judge finds"):
        evaluate(tiny_model("points", tiny_codec), shapes(tmp_path / "shapes"), tmp_path / "out", judge="x", steps=1)


def test_completions_that_cannot_be_measured_are_refused(
    tiny_codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="'complete'"):
        evaluate_completion(tiny_model("points", tiny_codec), "complet", ("synth",), tmp_path / "out")
    model = tiny_model("video", tiny_codec, "data.count=80")
    with pytest.raises(InputError, match="at least 11 x 11 pixels, not 8 x 8"):
        evaluate_completion(model, "predict", ("synth",), tmp_path / "out")
    monkeypatch.setattr("multidiff.evaluate.Completing", Looping)  # which no modality is
    with pytest.raises(InputError, match="completions of video are not measured"):
        evaluate_completion(model, "predict", ("synth",), tmp_path / "out")


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


@pytest.mark.parametrize("medium", RECIPES)
@pytest.mark.parametrize("chosen", ["data.val=fold=4", "data.where={action: walk}", "data.where={label: chair}"])
def test_all_of_a_users_own_folder_is_measured_whatever_the_model_was_trained_on(
    tiny_codec: Path, tmp_path: Path, medium: str, chosen: str
) -> None:
    model = tiny_model(medium, tiny_codec, "data.root=elsewhere", chosen)
    suffix = {"audio": "wav", "video": "mkv", "points": "ply"}[medium]
    for i in range(8):
        given(medium, seed=i).save(tmp_path / f"{i}.{suffix}")
    report = evaluate(model, (str(tmp_path),), tmp_path / "out", steps=1)
    assert (report.count, report.split) == (4, "all")
    with pytest.raises(InputError, match="split 'val'"):
        evaluate(model, (str(tmp_path),), tmp_path / "out", split="val")


def test_a_codec_alone_cannot_be_evaluated(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no denoiser to sample from"):
        evaluate(weights.load(tiny_codec, "cpu"), ("synth",), tmp_path / "out")
