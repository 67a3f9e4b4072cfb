"""Recipes: strict, overridable, and every shipped one can be built."""

from pathlib import Path

import pytest
import torch

from multidiff import recipe, registry
from multidiff.errors import RecipeError
from multidiff.specs import MethodSpec

SHIPPED = sorted(recipe.RECIPES.glob("*/*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_each_shipped_recipe_begins_with_the_command_that_runs_it(path: Path) -> None:
    assert path.read_text().startswith(f"# multidiff train recipes/{path.parent.name}/{path.name}")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
@pytest.mark.parametrize("size", ["small", "base"])
def test_each_size_of_each_recipe_builds_without_memory(path: Path, size: str) -> None:
    loaded = recipe.load(path, [f"size={size}"])
    medium = registry.modality(loaded.modality)
    with torch.device("meta"):
        codec = medium.codec(loaded.codec)
        denoises = loaded.train.objective == "denoiser"
        trained = medium.network(loaded.network, codec) if denoises else codec
    tensors = [*trained.parameters(), *codec.parameters()]
    assert all(tensor.is_meta for tensor in tensors)
    count = sum(p.numel() for p in trained.parameters())
    assert count > (1e5 if size == "small" else 1e7) / (1 if denoises else 10)  # what codes and judges may be smaller


def test_every_problem_is_reported_at_once_with_its_place_and_the_nearest_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: x\nmodality: points\ndiffusion: {sheduler: cosine}\ntrain: {lr: fast, stepz: 3}\ndata: {rot: synth}\n",
    )
    with pytest.raises(RecipeError) as caught:
        recipe.load(path)
    message = str(caught.value)
    assert f"{path}: diffusion.sheduler: unknown key, did you mean 'schedule'?" in message
    assert "train.stepz: unknown key, did you mean 'steps'?" in message
    assert "train.lr: " in message
    assert "'fast'" in message
    assert "data.rot: unknown key, did you mean 'root'?" in message


def test_yaml_exponents_are_numbers(tmp_path: Path) -> None:
    assert recipe.load(write(tmp_path, "name: x\nmodality: points\ntrain: {lr: 1e-3}\n")).train.lr == 1e-3


def test_overrides_win_over_the_size_and_the_file() -> None:
    loaded = recipe.load("shapes", ["size=base", "train.steps=7", "data=synth", "diffusion.schedule=linear"])
    assert loaded.size == "base"
    assert loaded.train.steps == 7
    assert loaded.diffusion.schedule.name == "linear"


def test_an_empty_mapping_takes_away_what_was_there() -> None:
    chosen = recipe.load("shapes", ["data.where={label: chair}"])
    assert chosen.override(["data.where={label: sofa}"]).data.where == {"label": ("sofa",)}
    assert chosen.override(["data.where={}"]).data.where == {}


def test_an_override_can_be_empty_text() -> None:
    assert recipe.load("shapes", ["train.init=x", "train.init="]).train.init == ""


def test_a_method_and_its_options_can_be_written_as_text() -> None:
    made = recipe.load("shapes", ["sample.sampler=ddim:eta=0.5", "diffusion.schedule=shifted:schedule=flow,shift=2"])
    assert made.sample.sampler == MethodSpec(name="ddim", options={"eta": 0.5})
    assert made.diffusion.schedule.options == {"schedule": "flow", "shift": 2}
    inner = "diffusion.schedule={name: zero-terminal-snr, options: {schedule: {name: linear}}}"
    assert recipe.load("shapes", [inner]).diffusion.schedule.options == {"schedule": {"name": "linear"}}


def test_a_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    first = recipe.load("shapes", ["train.steps=7"])
    again = recipe.load(write(tmp_path, first.as_yaml()))
    assert again == first
    assert again.hash == first.hash
    assert first.override(["train.steps=8"]).hash != first.hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "mapping"),
        ("name: [", "not valid YAML"),
        ("name: x\nmodality: pionts\n", "did you mean 'points'"),
        ("name: x\n", "modality: is missing"),
        ("modality: points\n", "name: is missing"),
        ("name: x\nmodality: points\nsizes: {small: {}}\nsize: huge\n", "unknown size 'huge'"),
    ],
)
def test_a_broken_recipe_gives_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml") as caught:
        recipe.load(write(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("diffusion.schedule=cosin", "diffusion.schedule: unknown method 'cosin', did you mean 'cosine'?"),
        ("diffusion.loss={name: min-snr, options: {gama: 1}}", "diffusion.loss: min-snr: unknown option 'gama', did"),
        ("diffusion={schedule: flow, parameterization: noise}", "diffusion: noise prediction cannot determine x0"),
        ("sample.sampler=ddim:eta", "sample.sampler: write a method's options as name:option=value"),
        ("sample.guidance_method=apg:radios=1", "sample.guidance_method: apg: unknown option 'radios', did you mean"),
        ("diffusion.coupling=optimal-transprt", "diffusion.coupling: unknown method 'optimal-transprt', did you mean"),
        ("sample.sampler=dpm++4m", "sample.sampler: unknown method 'dpm++4m', did you mean"),
        ("sample.grid={name: karras, options: {rho: -1}}", "sample.grid: karras: rho -1 must be positive"),
    ],
)
def test_a_wrong_method_is_found_before_anything_runs(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load("shapes", [override])
    assert said in str(caught.value)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'shapes'"):
        recipe.load("shape")


def test_an_override_without_a_value_says_how_to_write_one() -> None:
    with pytest.raises(RecipeError, match="key=value"):
        recipe.load("shapes", ["train.steps"])
