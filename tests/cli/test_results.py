"""What sample, complete and edit leave behind, for every medium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import multidiff
from multidiff import job, output, registry
from multidiff.model import Model
from multidiff.points.confidence import confidence
from multidiff.points.media import PointCloud
from tests.cli.conftest import SUFFIX, Run
from tests.tiny import RECIPES, values

MEDIUM = {model: medium for medium, model in RECIPES.items()}
COMPLETE: dict[str, list[tuple[str, ...]]] = {
    "sfx": [("--from", "0.1", "--to", "0.2"), ("--extend", "0.1")],
    "clips": [
        ("--box", "2,1,6,5", "--from", "0.1"),
        ("--times", "2"),
        ("--task", "predict", "--keep", "2"),
        ("--task", "interpolate"),
    ],
    "shapes": [("--known", "16", "--points", "30")],
}
models = pytest.mark.parametrize("model", SUFFIX)


def sidecar(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return record


def read(path: Path, model: str) -> np.ndarray:
    return values(registry.modality(MEDIUM[model]).media.read(path))


@models
def test_a_sidecar_says_everything_that_made_the_file(run: Run, model: str) -> None:
    (path,) = run("sample", model, "a dog, barking!", "--steps", 2, "--seed", 7, "--sampler", "ddim").paths
    assert path == Path(f"out/{model}_a-dog-barking_7.{SUFFIX[model]}")
    record = sidecar(path)
    made = record["job"]
    assert (made["command"], made["model"], made["prompt"], made["seed"]) == ("sample", model, "a dog, barking!", 7)
    assert made["settings"]["sampler"]["name"] == "ddim"
    assert made["settings"]["steps"] == 2
    assert made["settings"]["grid"]["name"] == "log-snr", "defaults are written out"
    assert set(made["options"]) == set(registry.modality(MEDIUM[model]).options.model_fields)
    assert record["files"] == [path.name]
    assert record["made"]["multidiff"] == multidiff.__version__
    assert record["made"]["torch"] == torch.__version__
    assert record["made"]["device"] == "cpu"
    assert {"recipe", "weights", "seconds"} <= set(record["made"])


@models
def test_a_sample_made_again_from_its_sidecar_has_equal_bytes(run: Run, model: str) -> None:
    formats = ",".join(k for k in registry.modality(MEDIUM[model]).media.formats if k not in ("png", "frames"))
    first = run("sample", model, "a dog", "--steps", 2, "-n", 2, "--format", formats).paths
    second = first[len(first) // 2]
    again = run("sample", "--from", second.with_suffix(".json"), "-o", "again").paths
    assert sorted(path.name for path in again) == sorted(path.name for path in first[len(first) // 2 :])
    for path in again:
        assert path.read_bytes() == Path("out", path.name).read_bytes(), path.name


def test_each_of_several_completions_says_how_sure_it_is_and_one_alone_does_not(
    run: Run, files: dict[str, Path]
) -> None:
    asked = ("complete", "shapes", files["shapes"], "--known", "16", "--points", "30", "--steps", 2)
    (alone,) = run(*asked, "-o", "alone").paths
    assert PointCloud.read(alone).confidence is None
    paths = run(*asked, "-n", 3).paths
    clouds, given = [PointCloud.read(path) for path in paths], len(PointCloud.read(files["shapes"]))
    np.testing.assert_array_equal(clouds[0].points, PointCloud.read(alone).points)
    assert sidecar(paths[1])["job"]["others"] == [2, 0]
    whole = registry.modality("points").media.read(files["shapes"])
    api = job.weights.load("shapes").complete(whole, known=16, points=30, steps=2, count=3)
    for i, cloud in enumerate(clouds):
        assert (cloud.confidence[:given] == 1).all()
        np.testing.assert_array_equal(cloud.confidence, api[i].confidence)
        np.testing.assert_array_equal(
            cloud.confidence, confidence(cloud.points, [clouds[j].points for j in range(3) if j != i])
        )


@models
def test_a_completion_made_again_from_its_sidecar_has_equal_bytes(run: Run, files: dict[str, Path], model: str) -> None:
    for options in COMPLETE[model]:
        _, second = run("complete", model, files[model], *options, "--prompt", "a dog", "--steps", 2, "-n", 2).paths
        (again,) = run("sample", "--from", second, "-o", "again").paths
        assert again.read_bytes() == second.read_bytes()


@models
def test_an_edit_made_again_from_its_sidecar_has_equal_bytes(run: Run, files: dict[str, Path], model: str) -> None:
    (first,) = run("edit", model, files[model], "a dog", "--strength", 0.5, "--steps", 4, "--no-embed").paths
    (again,) = run("sample", "--from", first, "-o", "again").paths
    assert sidecar(again)["embed"] is False
    assert again.read_bytes() == first.read_bytes()


def test_an_edit_without_a_prompt_varies_a_file(run: Run, files: dict[str, Path]) -> None:
    one, other = run("edit", "sfx", files["sfx"], "--strength", 0.5, "--steps", 4, "-n", 2).paths
    assert sidecar(one)["job"]["prompt"] == ""
    assert one.read_bytes() != other.read_bytes()


def test_a_sidecar_refuses_an_input_that_has_changed(run: Run, files: dict[str, Path]) -> None:
    (path,) = run("edit", "sfx", files["sfx"], "a dog", "--steps", 1).paths
    (other,) = run("sample", "sfx", "a cat", "--steps", 1).paths
    files["sfx"].write_bytes(other.read_bytes())
    assert run("sample", "--from", path).is_refused(2, files["sfx"], "has changed")


def test_a_sidecar_says_when_the_model_has_other_weights(run: Run) -> None:
    (path,) = run("sample", "sfx", "a dog", "--steps", 1).paths
    record = sidecar(path)
    record["made"]["weights"] = "0" * 12
    path.with_suffix(".json").write_text(json.dumps(record))
    again = run("sample", "--from", path, "-o", "again")
    assert again.code == 0
    assert "other weights" in again.err


@models
def test_item_i_of_n_is_the_one_made_alone_with_seed_plus_i(run: Run, model: str) -> None:
    several = run("sample", model, "a dog", "-n", 3, "--seed", 4, "--steps", 2).paths
    (alone,) = run("sample", model, "a dog", "--seed", 6, "--steps", 2, "-o", "alone").paths
    assert [sidecar(path)["job"]["seed"] for path in several] == [4, 5, 6]
    assert alone.read_bytes() == several[2].read_bytes()
    assert several[0].read_bytes() != several[1].read_bytes()


@models
def test_completions_of_one_part_differ_and_keep_it(run: Run, files: dict[str, Path], model: str) -> None:
    given = read(files[model], model)
    options = ("--format", "mkv") if model == "clips" else ()
    first, second = run("complete", model, files[model], *COMPLETE[model][-1], *options, "-n", 2, "--steps", 2).paths
    one, two = read(first, model), read(second, model)
    assert one.shape != two.shape or (one != two).any()
    known = {"sfx": np.s_[:, :5000], "clips": np.s_[[0, -1]], "shapes": np.s_[: len(given)]}[model]
    np.testing.assert_array_equal(one[known], given[known])


def test_a_list_of_formats_writes_each_once_and_a_picture_beside(run: Run) -> None:
    done = run("sample", "shapes", "a chair", "--steps", 1, "--format", "ply, .GLB,ply", "--plot")
    assert [path.name for path in done.paths] == [f"shapes_a-chair_0.{kind}" for kind in ("ply", "glb", "png")]
    assert set(sidecar(done.paths[0])["files"]) == {path.name for path in done.paths}
    assert all(path.stat().st_size for path in done.paths)


def test_a_still_picture_and_numbered_frames_are_made_and_made_again(run: Run) -> None:
    asked = ("sample", "clips", "quetzalcoatl", "--steps", 1)
    still, sheet = run(*asked, "--frames", 1, "--format", "png", "--plot").paths
    assert [path.name for path in (still, sheet)] == ["clips_quetzalcoatl_0.png", "clips_quetzalcoatl_0.plot.png"]
    assert b"quetzalcoatl" in still.read_bytes()
    with Image.open(still) as picture:
        assert picture.size == (8, 8)
    (frames,) = run(*asked, "--seed", 1, "--format", "frames").paths
    assert sorted(path.name for path in frames.iterdir()) == [f"000{i}.png" for i in range(1, 5)]
    assert b"quetzalcoatl" in (frames / "0004.png").read_bytes()
    assert sidecar(still)["files"] == [sheet.name, still.name]
    assert sidecar(frames)["files"] == [frames.name]
    (again,) = run("sample", "--from", still, "-o", "again").paths
    assert again.read_bytes() == still.read_bytes()
    (again,) = run("sample", "--from", frames, "-o", "again").paths
    assert [a.read_bytes() == (frames / a.name).read_bytes() for a in again.iterdir()] == [True] * 4
    assert run(*asked, "--seed", 2, "--format", "png").is_refused(2, "holds one frame, not 4")


def test_a_folder_of_frames_goes_on_and_is_known_again(run: Run) -> None:
    (frames,) = run("sample", "clips", "a dog", "--steps", 1, "--format", "frames").paths
    (longer,) = run("complete", "clips", frames, "--task", "predict", "--keep", 2, "--steps", 1).paths
    assert len(read(longer, "clips")) == 6
    (again,) = run("sample", "--from", longer, "-o", "again").paths
    assert again.read_bytes() == longer.read_bytes()
    (frames / "0002.png").write_bytes((frames / "0001.png").read_bytes())
    assert run("sample", "--from", longer).is_refused(2, frames, "has changed")


def test_another_format_of_the_same_sample_joins_its_sidecar(run: Run) -> None:
    for kind in ("wav", "flac"):
        run("sample", "sfx", "a dog", "--steps", 1, "--format", kind)
    assert sidecar(Path("out/sfx_a-dog_0.json"))["files"] == ["sfx_a-dog_0.flac", "sfx_a-dog_0.wav"]


@models
def test_prompt_and_seed_are_in_the_files_own_tags(run: Run, model: str) -> None:
    formats = [
        kind for kind in registry.modality(MEDIUM[model]).media.formats if kind not in ("npz", "webm", "png", "frames")
    ]
    for path in run("sample", model, "quetzalcoatl", "--steps", 1, "--format", ",".join(formats)).paths:
        assert b"quetzalcoatl" in path.read_bytes(), path.name
    for path in run("sample", model, "quetzalcoatl", "--steps", 1, "--no-embed", "-o", "bare").paths:
        assert b"quetzalcoatl" not in path.read_bytes()
        assert sidecar(path)["job"]["prompt"] == "quetzalcoatl"


def test_stdout_is_paths_only_and_a_pipe_sees_no_progress(run: Run) -> None:
    done = run("sample", "sfx", "a dog", "--steps", 1, "-n", 2, "--plot")
    assert all(path.is_file() for path in done.paths)
    assert len(done.paths) == 4
    assert done.err == ""


def test_results_made_otherwise_are_never_overwritten(run: Run) -> None:
    (first,) = run("sample", "sfx", "a dog", "--steps", 1).paths
    (second,) = run("sample", "sfx", "a dog", "--steps", 2).paths
    (same,) = run("sample", "sfx", "a dog", "--steps", 1).paths
    assert [first.name, second.name] == ["sfx_a-dog_0.wav", "sfx_a-dog_0-2.wav"]
    assert same == first


def test_files_of_other_programs_are_never_overwritten(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("sfx_a-dog_0.wav", "sfx_a-dog_0-2.json", "index.html"):
        (out / name).write_text("mine")
    (path,) = run("sample", "sfx", "a dog", "--steps", 1).paths
    assert path.name == "sfx_a-dog_0-3.wav"
    assert {p.read_text() for p in out.iterdir() if not p.name.startswith("sfx_a-dog_0-3")} == {"mine"}


def test_other_weights_of_the_same_name_are_another_result(
    run: Run, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = run("sample", assets / "models" / "sfx", "a dog", "--steps", 1).paths
    monkeypatch.setattr(Model, "fingerprint", "other")
    (second,) = run("sample", assets / "models" / "sfx", "a dog", "--steps", 1).paths
    assert second != first


def test_the_index_shows_every_sample_and_escapes_prompts(run: Run) -> None:
    for model in SUFFIX:
        run("sample", model, "<b>loud</b> & clear", "--steps", 1, "--plot")
    (Path("out") / "foreign.json").write_text('{"job": 5, "files": null}')
    (Path("out") / "broken.json").write_text("{")
    run("sample", "sfx", "last", "--steps", 1)
    page = Path("out/index.html").read_text("utf-8")
    assert page.count("<figure>") == 4
    assert page.count("<audio") == 2
    assert page.count("<video") == 1
    assert "&lt;b&gt;loud&lt;/b&gt; &amp; clear" in page
    assert "<b>loud" not in page


def test_a_prompt_of_any_letters_and_length_is_remembered(run: Run) -> None:
    prompt = "собака \N{DOG}\n\tлает " + "x" * 5000
    (path,) = run("sample", "sfx", prompt, "--steps", 1, "--plot", "--format", "wav").paths[:1]
    assert sidecar(path)["job"]["prompt"] == prompt
    assert len(path.name) < 100


def test_without_a_prompt_the_recipes_own_is_used(run: Run) -> None:
    (path,) = run("sample", "sfx", "--steps", 1).paths
    assert sidecar(path)["job"]["prompt"] == "a dog barking"


def test_interruption_leaves_whole_results_and_prints_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    make = job.Job.run

    def interrupted(self: job.Job, *arguments: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(self.seed)
        return make(self, *arguments)

    monkeypatch.setattr(job.Job, "run", interrupted)
    stopped = run("sample", "sfx", "a dog", "-n", 3, "--steps", 1)
    assert stopped.code == 1
    assert stopped.err.strip() == "error: interrupted; what was finished is kept, nothing half-written is left"
    assert [path.name for path in stopped.paths] == ["sfx_a-dog_0.wav"]
    assert {path.name for path in Path("out").iterdir()} == {"sfx_a-dog_0.wav", "sfx_a-dog_0.json", "index.html"}


def test_interruption_while_writing_leaves_nothing_half_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output, "write_sidecar", interrupted)
    assert run("sample", "sfx", "a dog", "--steps", 1, "--plot").code == 1
    assert list(Path("out").iterdir()) == []
