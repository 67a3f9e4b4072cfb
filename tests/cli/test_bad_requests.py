"""Models, recipes, options and output folders that cannot be used: one clear line, the right exit code."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import multidiff as md
from multidiff import files as disk
from multidiff import weights
from multidiff.errors import InputError, MediaError
from tests.cli.conftest import SUFFIX, Run

SAMPLE = ("sample", "sfx", "a dog", "--steps", 1)
models = pytest.mark.parametrize("model", SUFFIX)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sfy", "x"), ("no such model", "did you mean 'sfx'?")),
        (("/nowhere", "x"), ("/nowhere", "no such model")),
        ((".", "x"), ("holds no model.safetensors",)),
        (("in.wav", "x"), ("in.wav", "is a file")),
        ((), ("give a MODEL",)),
        (("sfx", "x", "--sampler", "dpm"), ("sampler", "did you mean 'ddpm'?")),
        (("sfx", "x", "--grid", "karas"), ("grid", "did you mean 'karras'?")),
        (("sfx", "x", "--grid", "leading", "--steps", "2000"), ("2000 steps", "1000 levels")),
        (("sfx", "x", "--seconds", "nan"), ("seconds", "finite")),
        (("sfx", "x", "--seconds", "1e9"), ("seconds", "60")),
        (("sfx", "x", "--guidance", "inf"), ("guidance", "finite")),
        (("sfx", "x", "--steps", "0"), ("--steps", "1<=x")),
        (("sfx", "x", "--frames", "8"), ("sfx (audio)", "no option 'frames'")),
        (("sfx", "x", "--secs", "3"), ("--secs", "--seconds")),
        (("sfx", "x", "--format", "wave"), ("did you mean 'wav'?",)),
        (("clips", "x", "--format", "wav"), ("video cannot be written so",)),
        (("sfx", "x", "--device", "cuda:9"), ("cuda:9", "use auto or cpu")),
        (("sfx", "x", "--device", "meta"), ("meta", "use auto or cpu")),
        (("sfx", "x", "--precision", "int8"), ("int8", "bf16")),
        (("sfx", "\udcff"), ("UTF-8",)),
        (("--from", "none.json"), ("none.json", "no such file")),
        (("--from", "."), ("folder",)),
        (("--from", "x.json", "--seed", "3"), ("--from takes everything", "leave --seed out")),
    ],
)
def test_requests_that_cannot_be_met(
    run: Run, files: dict[str, Path], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    assert run("sample", *arguments).is_refused(2, *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "sfy"}, ("did you mean 'sfx'?",)),
        ({"model": "shapes"}, ("no option 'seconds'",)),
        ({"settings": {"steps": -1}}, ("job.settings.steps", "greater than 0")),
        ({"settings": {"sampler": "zz"}}, ("job.settings.sampler", "unknown method 'zz'")),
        ({"options": {"seconds": "x"}}, ("seconds",)),
        ({"command": "remove"}, ("job.command",)),
        ({"seed": 1.5}, ("job.seed",)),
        ({"extra": 1}, ("job.extra", "unknown key")),
    ],
)
def test_a_sidecar_that_someone_edited(run: Run, change: dict[str, Any], words: tuple[str, ...]) -> None:
    (path,) = run(*SAMPLE).paths
    record = json.loads(path.with_suffix(".json").read_text())
    Path("edited.json").write_text(json.dumps(record | {"job": record["job"] | change}))
    refusal = run("sample", "--from", "edited.json", "-o", "again")
    assert refusal.code == 2
    assert all(word in refusal.err for word in words), refusal.err


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"job": 3}', '{"job": {}, "format": 99}', "\0" * 9])
def test_a_json_file_that_is_no_sidecar(run: Run, text: str) -> None:
    Path("other.json").write_text(text)
    assert run("sample", "--from", "other.json").is_refused(2, "other.json", "sidecar")
    assert run("inspect", "other.json").is_refused(2, "other.json", "sidecar")


def rewritten(model: Path, change: Callable[[dict[str, torch.Tensor]], object], **metadata: str) -> None:
    """The weights of a model changed in place."""
    path = model / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = {**(file.metadata() or {}), **metadata}
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def recipe_with(model: Path, old: str, new: str) -> None:
    path = model / "recipe.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(model: Path, size: int) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda m: cut(m, 0), ("model.safetensors", "copy it again")),
        (lambda m: cut(m, 1000), ("model.safetensors", "copy it again")),
        (lambda m: cut(m, -9), ("model.safetensors", "copy it again")),
        (lambda m: rewritten(m, lambda t: None, format="99"), ("format 99", "this version reads 1")),
        (lambda m: rewritten(m, lambda t: t.popitem()), ("has no tensor",)),
        (lambda m: rewritten(m, lambda t: t.update({"network.new": torch.ones(1)})), ("network.new", "not in")),
        (lambda m: recipe_with(m, "  dim: 16", "  dim: 32"), ("recipe 'sfx' needs", "use the recipe")),
        (lambda m: recipe_with(m, "hop: 256", "hop: 128"), ("mel spectrogram", "set codec.mel")),
        (lambda m: recipe_with(m, "  depth: 1", "  dept: 1"), ("recipe.yaml", "did you mean 'depth'?")),
        (lambda m: recipe_with(m, "encoder: minilm", "encoder: /no/such"), ("text.encoder=/no/such",)),
        (lambda m: (m / "recipe.yaml").unlink(), ("has no recipe.yaml",)),
        (lambda m: (m / "recipe.yaml").write_text("{{{"), ("not valid YAML",)),
        (lambda m: (m / "recipe.yaml").write_bytes(b"\xff\xfe"), ("not valid YAML",)),
    ],
)
def test_a_broken_model(
    run: Run, assets: Path, tmp_path: Path, breaks: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    broken = Path(shutil.copytree(assets / "models" / "sfx", tmp_path / "broken"))
    breaks(broken)
    assert run("sample", broken, "x", "--steps", 1).is_refused(2, *words)
    assert run("list").code == 0


def test_weights_that_give_nan_are_a_failure_not_a_file(run: Run, assets: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(assets / "models" / "sfx", tmp_path / "broken"))
    rewritten(broken, lambda t: t.update({k: v * np.nan for k, v in t.items() if "network" in k}))
    assert run("sample", broken, "x", "--steps", 1).is_refused(1, "diverged")
    assert list(Path("out").iterdir()) == []


def test_a_codec_alone_cannot_sample(run: Run, assets: Path) -> None:
    assert run("sample", assets / "codec", "x").is_refused(2, "holds no denoiser")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shaps",), ("no such recipe", "did you mean 'shapes'?")),
        (("in.wav",), ("in.wav", "not valid YAML")),
        (("shapes", "train.stepz=3"), ("shapes.yaml", "train.stepz", "did you mean 'steps'?")),
        (("shapes", "nonsense"), ("key=value",)),
        (("shapes", "size=huge"), ("known: small, base",)),
        (("shapes", "modality=point"), ("did you mean 'points'?",)),
        (("shapes", "diffusion.schedule=cosin"), ("diffusion.schedule", "did you mean 'cosine'?")),
        (("shapes", "diffusion.schedule=flow", "diffusion.parameterization=noise"), ("alpha = 0", "predict velocity")),
        (("shapes", "sample.grid=leading", "sample.steps=2000"), ("shapes.yaml", "sample.grid", "1000 levels")),
        (("shapes", "sample.grid={name: log-snr, options: {start: 20, end: 30}}"), ("sample.grid",)),
        (("shapes", "sample.sampler={name: ddim, options: {eta: 2}}"), ("eta 2 must lie in [0, 1]",)),
        (("shapes", "network.heads=7"), ("multiples of heads",)),
        (("shapes", "train.lr=.nan"), ("train.lr", "finite")),
        (("shapes", "train.init=sfx"), ("is a model of audio", "makes points")),
        (("sfx", "codec.weights=shapes"), ("is a model of points", "makes audio")),
        (("sfx", "codec.weights=none"), ("none", "no such model")),
        (("shapes", "data.root=/nowhere"), ("/nowhere", "no such folder")),
        (("shapes", "data.root=."), ("no file of the kinds", ".ply")),
        (("shapes", "--device", "tpu"), ("tpu", "use auto or cpu")),
        (("shapes", "--resume"), ("no interrupted run",)),
    ],
)
def test_recipes_that_cannot_be_trained(run: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    Path("in.wav").write_bytes(b"RIFF\xac\xff")
    assert run("train", *arguments).is_refused(2, *words)


@models
def test_an_output_folder_that_is_a_file_or_below_one(run: Run, files: dict[str, Path], model: str) -> None:
    before = files[model].read_bytes()
    for out in (files[model], files[model] / "below"):
        assert run("sample", model, "x", "--steps", 1, "-o", out).is_refused(2, out, "choose a folder with -o")
    assert files[model].read_bytes() == before


def test_a_read_only_output_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(disk.tempfile, "TemporaryFile", denied)
    assert run(*SAMPLE).is_refused(1, "out: cannot write there (Permission denied)", "another folder")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of more than 300 bytes can be written: not for longer than needed, pytest's own report is a file too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("model", "kind"), [("sfx", "wav"), ("sfx", "ogg"), ("clips", "mp4"), ("shapes", "glb")])
def test_a_full_disk(run: Run, model: str, kind: str) -> None:
    with full_disk():
        failed = run("sample", model, "x", "--steps", 1, "--format", kind)
    assert failed.is_refused(1, f"{model}_x_0.{kind}", "cannot be written", "free space")
    assert list(Path("out").iterdir()) == []


def test_a_full_disk_while_a_model_is_saved(assets: Path, tmp_path: Path) -> None:
    shapes = weights.load(assets / "models" / "shapes")
    with full_disk(), pytest.raises(md.errors.MultidiffError, match=r"model\.safetensors: cannot be written"):
        shapes.save(tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_fault_of_ours_is_one_line_and_debug_shows_where(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(md.model.Model, "sample", broken)
    failed = run(*SAMPLE)
    assert failed.code == 1
    assert failed.err == "error: ZeroDivisionError: oh no (a fault of multidiff's; --debug shows where)\n"
    assert "Traceback" in run("--debug", *SAMPLE).err
    assert "Traceback" in run("sample", "sfy", "x", "--debug").err


def test_running_out_of_memory_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*arguments: Any, **options: Any) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(md.model.Model, "sample", greedy)
    assert run(*SAMPLE).is_refused(1, "out of memory", "ask for less")


MADE_IN_MEMORY: dict[str, list[tuple[Any, ...]]] = {
    "sfx": [
        (md.Audio, np.zeros(5000), 22050),
        (md.Audio, np.ones(1), 22050),
        (md.Audio, np.full(5000, np.nan), 22050),
        (md.Audio, np.ones((3, 4, 5)), 22050),
        (md.Audio, np.random.default_rng(0).random(5000), -1),
        (md.Audio, np.random.default_rng(0).random(5000), 10),
        (md.Audio, np.array(["a"]), 22050),
    ],
    "clips": [
        (md.Video, np.zeros((0, 8, 8, 3), np.uint8)),
        (md.Video, np.zeros((2, 8, 8, 3))),
        (md.Video, np.zeros((2, 8, 8, 4), np.uint8)),
        (md.Video, np.zeros((2, 8, 8, 3), np.uint8), 0.0),
        (md.Video, np.zeros((300, 2, 2, 3), np.uint8)),
    ],
    "shapes": [
        (md.PointCloud, np.zeros((50, 3))),
        (md.PointCloud, np.full((50, 3), np.inf)),
        (md.PointCloud, np.random.default_rng(0).random((3, 3))),
        (md.PointCloud, np.random.default_rng(0).random((50, 2))),
        (str, "scan.ply"),
    ],
}


@pytest.mark.parametrize(
    ("model", "case"), [(model, i) for model, cases in MADE_IN_MEMORY.items() for i in range(len(cases))]
)
def test_media_made_in_memory_that_cannot_be_used(assets: Path, model: str, case: int) -> None:
    loaded = weights.load(assets / "models" / model)
    kind, *values = MADE_IN_MEMORY[model][case]
    with pytest.raises(InputError):
        loaded.edit(kind(*values), "a dog", steps=1)


def test_a_model_says_which_media_it_takes(assets: Path) -> None:
    cloud = md.PointCloud(np.random.default_rng(0).random((50, 3)))
    with pytest.raises(MediaError, match=r"sfx takes Audio, not PointCloud; read a file with Audio\.read"):
        weights.load(assets / "models" / "sfx").complete(cloud)
