"""Methods of the core on the command line: by name, with options, in sidecars; score and grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from multidiff import registry
from multidiff.core.likelihood import log_likelihood
from multidiff.measure import score
from multidiff.weights import load
from tests.cli.conftest import SUFFIX, Run


def test_methods_and_their_options_are_remembered_and_made_again(run: Run, files: dict[str, Path]) -> None:
    methods = ("--sampler", "ddim:eta=0.5", "--guidance-method", "apg:eta=0.5,radius=2", "--steps", 3)
    first = run("complete", "shapes", files["shapes"], "--completion", "repaint:jump=2,repeats=2", *methods)
    sidecar = first.paths[0].with_suffix(".json")
    settings = json.loads(sidecar.read_text())["job"]["settings"]
    assert settings["sampler"] == {"name": "ddim", "options": {"eta": 0.5}}
    assert settings["guidance_method"] == {"name": "apg", "options": {"eta": 0.5, "radius": 2}}
    assert settings["completion"] == {"name": "repaint", "options": {"jump": 2, "repeats": 2}}
    before = first.paths[0].read_bytes()
    assert run("sample", "--from", sidecar, "-o", "again").paths[0].read_bytes() == before


def test_a_restored_file_is_made_again_from_its_sidecar(run: Run, files: dict[str, Path]) -> None:
    asked = ("--operator", "blurred:width=2", "--posterior", "mmps:std=0.1", "--steps", 3)
    first = run("restore", "clips", files["clips"], *asked, "--plot")
    before = first.paths[0].read_bytes()
    assert run("sample", "--from", first.paths[0].with_suffix(".json"), "-o", "again").paths[0].read_bytes() == before
    refused = run("restore", "clips", files["clips"], "--operator", "masked")
    assert refused.is_refused(2, "needs the option 'mask'")


def test_an_edit_by_inversion_knows_what_the_file_was(run: Run, files: dict[str, Path]) -> None:
    asked = ("edit", "sfx", files["sfx"], "a cat", "--editing", "inversion", "--steps", 3)
    first, second = run(*asked, "--source", "a dog"), run(*asked, "--source", "rain")
    assert first.paths[0].read_bytes() != second.paths[0].read_bytes()


@pytest.mark.parametrize("model", SUFFIX)
def test_a_morph_leads_from_one_file_to_the_other_each_made_again_alone(
    run: Run, files: dict[str, Path], model: str
) -> None:
    last = run("sample", model, "rain", "--steps", 2).paths[0]
    asked = ("morph", model, files[model], last, "--steps", 4)
    made = run(*asked, "--frames", 3)
    assert [path.name.split("_")[1][:3] for path in made.paths] == ["000", "050", "100"], made
    assert len({path.read_bytes() for path in made.paths}) == 3
    middle = made.paths[1]
    again = run("sample", "--from", middle.with_suffix(".json"), "-o", "again").paths[0]
    assert again.read_bytes() == middle.read_bytes()
    assert run("morph", model, files[model], "nowhere.ply").is_refused(2, "nowhere.ply")
    last.write_bytes(files[model].read_bytes())
    changed = run("sample", "--from", middle.with_suffix(".json"), "-o", "again")
    assert changed.is_refused(2, last, "has changed")


def test_features_are_arrays_by_the_names_of_their_layers(run: Run, files: dict[str, Path]) -> None:
    layers = run("features", "sfx").out.split()
    assert "prompt" in layers
    made = run("features", "sfx", files["sfx"], "--layer", "prompt", "--layer", layers[-1], "-o", "f")
    assert [path.as_posix() for path in made.paths] == ["f/in.npz"]
    with np.load(made.paths[0]) as arrays:
        assert set(arrays) == {"prompt", layers[-1]}
        assert all(np.isfinite(array).all() for array in arrays.values())
        noisier = run("features", "sfx", files["sfx"], "--layer", layers[-1], "--log-snr", -3, "-o", "g").paths[0]
        assert not np.array_equal(np.load(noisier)[layers[-1]], arrays[layers[-1]])
    wrong = run("features", "sfx", files["sfx"], "--layer", "promt")
    assert wrong.is_refused(2, "no layer 'promt'", "did you mean 'prompt'", "multidiff features sfx")
    twice = run("features", "sfx", files["sfx"], files["sfx"], "--layer", "prompt")
    assert twice.is_refused(2, "in.npz", "two files")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--guidance-method", "apgg"), ("unknown method 'apgg'", "did you mean 'apg'")),
        (("--guidance-method", "cfg++", "--guidance", 3), ("CFG++", "between 0 and 1")),
        (("--guidance-method", "autoguidance:weak=clips"), ("clips", "another modality")),
        (("--guidance-method", "autoguidance:weak=nobody"), ("nobody: no such model",)),
        (("--sampler", "ddim:eta"), ("name:option=value",)),
    ],
)
def test_a_wrong_method_is_one_clear_error(run: Run, arguments: tuple[object, ...], words: tuple[str, ...]) -> None:
    assert run("sample", "sfx", "a dog", *arguments, "--steps", 2).is_refused(2, *words)


@pytest.mark.parametrize("model", SUFFIX)
def test_score_gives_a_line_for_each_file(run: Run, files: dict[str, Path], model: str) -> None:
    head, *lines = run("score", model, files[model], files[model], "--prompt", "a dog").out.splitlines()
    assert head.split() == ["bits", "anomaly", "file"]
    assert lines[0] == lines[1]
    assert lines[0].endswith(str(files[model]))


def test_score_goes_on_after_a_bad_file(run: Run, files: dict[str, Path]) -> None:
    Path("bad.ply").write_text("nothing")
    scored = run("score", "shapes", "bad.ply", files["shapes"], "bad.ply")
    assert (scored.code, len(scored.out.splitlines())) == (2, 2)
    assert scored.err.count("bad.ply") == 2


def test_score_is_the_likelihood_of_the_core(run: Run, files: dict[str, Path], assets: Path) -> None:
    model = load(assets / "models" / "shapes")
    cloud = registry.modality("points").media.read(files["shapes"])
    found = score(model, cloud, flow=True)
    x0, condition = model.encode(cloud)
    assert found.elements.shape == x0.shape
    assert found.anomaly == pytest.approx(float(found.elements.mean()))
    exact = float(log_likelihood(model.denoiser(), x0, condition))
    # Four probes of the trace: within a few per cent of the exact one, 40 points of 3 coordinates.
    assert found.log_likelihood == pytest.approx(exact, abs=0.1 * x0.numel())
    line = run("score", "shapes", files["shapes"], "--likelihood").out.splitlines()[1]
    assert float(line.split()[2]) == pytest.approx(found.log_likelihood, abs=0.06)


def test_grid_saves_a_copy_that_samples_in_so_many_steps(run: Run) -> None:
    made = run("grid", "shapes", "--steps", 4, "--prompt", "a chair", "-o", "fast")
    assert made.code == 0, made
    times = [float(t) for t in made.out.splitlines()[0].removeprefix("times: ").split()]
    assert len(times) == 5
    assert times == sorted(times, reverse=True)
    sampled = run("sample", "fast", "a chair")
    settings = json.loads(sampled.paths[0].with_suffix(".json").read_text())["job"]["settings"]
    assert settings["steps"] == 4
    assert settings["grid"]["name"] == "fixed"
    assert run("sample", "fast", "a chair", "--steps", 5).code == 0
