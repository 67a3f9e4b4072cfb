"""Evaluation: figures beside their floor, a report and a page, for every medium."""

import json
from pathlib import Path

import pytest

from multidiff import weights
from multidiff.errors import InputError, ModelError
from multidiff.evaluate import evaluate
from tests.evaluate.sets import SUFFIX, shapes, sounds
from tests.tiny import RECIPES, given, tiny_model


@pytest.mark.parametrize("medium", RECIPES)
def test_a_model_is_measured_against_held_out_files(medium: str, tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model(medium, tiny_codec)
    suffix = SUFFIX[medium]
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
    assert "<th scope=col>real against real</th>" in page


def test_samples_are_compared_with_the_training_set_where_there_is_one(tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("points", tiny_codec, "network.neighbours=0")
    report = evaluate(model, shapes(tmp_path / "data"), tmp_path / "out", steps=1)
    assert report.generated["duplicates"] == 0
    assert report.floor["duplicates"] == 1  # all are samplings of one and the same Gaussian
    assert 0 < report.floor["nearest_training_cd"] < report.generated["nearest_training_cd"]


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
    suffix = SUFFIX[medium]
    for i in range(8):
        given(medium, seed=i).save(tmp_path / f"{i}.{suffix}")
    report = evaluate(model, (str(tmp_path),), tmp_path / "out", steps=1)
    assert (report.count, report.split) == (4, "all")
    with pytest.raises(InputError, match="split 'val'"):
        evaluate(model, (str(tmp_path),), tmp_path / "out", split="val")


def test_a_codec_alone_cannot_be_evaluated(tiny_codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no denoiser to sample from"):
        evaluate(weights.load(tiny_codec, "cpu"), ("synth",), tmp_path / "out")


def test_faults_stand_beside_the_floor_and_what_prompts_state_is_looked_for(tiny_codec: Path, tmp_path: Path) -> None:
    model, data = tiny_model("audio", tiny_codec), sounds(tmp_path / "data", ("dog_bark", "rain"))
    report = evaluate(model, data, tmp_path / "out", steps=1)
    assert set(report.faults) == {"noise at 20 dB", "white noise", "silence", "dog bark only"}
    for found in report.faults.values():
        assert {"mel_frechet", "kad", "class_accuracy"} <= found.keys()
    assert report.faults["silence"]["silence_rate"] == 1
    assert report.faults["silence"]["bpm_accuracy"] == 0
    assert {"bpm_accuracy", "mel_frechet"} <= report.generated.keys() & report.floor.keys()
    assert "| metric | generated | real against real | noise at 20 dB | white noise | silence | dog bark only |" in (
        report.table()
    )
    silent = evaluate(model, data, tmp_path / "out", captions=False, steps=1)
    assert "bpm_accuracy" not in silent.generated  # nothing was asked for


def test_loops_are_measured_where_they_meet(tiny_codec: Path, tmp_path: Path) -> None:
    data = sounds(tmp_path / "data")
    report = evaluate(tiny_model("audio", tiny_codec), data, tmp_path / "out", steps=1, loop=True)
    assert {"loop_seam", "loop_elsewhere", "loop_rank"} <= report.generated.keys() & report.floor.keys()


def test_clips_that_go_round_are_measured_at_their_seam(tiny_codec: Path, tmp_path: Path) -> None:
    for i in range(8):
        given("video", seed=i).save(tmp_path / f"{i}.mkv")
    report = evaluate(tiny_model("video", tiny_codec), (str(tmp_path),), tmp_path / "out", steps=1, loop=True)
    assert {"loop_seam", "loop_seam_worst", "loop_rank"} <= report.generated.keys() & report.floor.keys()


def test_clips_are_judged_by_their_columns_where_the_judge_knows_them(tiny_codec: Path, tmp_path: Path) -> None:
    """Real ones of other kinds, radar say, are not judged, and that is no error."""
    model, data = tiny_model("video", tiny_codec), tmp_path / "data"
    data.mkdir()
    for i in range(8):
        given("video", seed=i).save(data / f"{i}.mkv")
    for columns, told in (("action,direction", "walk,left"), ("coverage,intensity", "broken,moderate")):
        rows = [f"{i}.mkv,something,val,{told}" for i in range(8)]
        (data / "metadata.csv").write_text("\n".join([f"file_name,text,split,{columns}", *rows]))
        report = evaluate(model, (str(data),), tmp_path / "out", steps=1)
        assert not report.left_out
        found = [report.generated.keys(), report.floor.keys(), report.faults["frozen"].keys()]
        for keys in found:
            judged = {"action_accuracy", "direction_accuracy", "all_accuracy", "frame_embedding_frechet"} & keys
            assert len(judged) == (4 if "action" in columns else 0)
