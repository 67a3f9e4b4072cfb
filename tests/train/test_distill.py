from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multidiff import core, weights
from multidiff.errors import InputError, ModelError, RecipeError
from multidiff.recipe import Recipe
from multidiff.train import distill, run
from tests.train.test_run import losses, stop_after

Make = Callable[..., Recipe]
SHORT = ("train.steps=20", "train.batch=16", "train.validate_every=10", "train.checkpoint_every=10")


@pytest.fixture
def teacher(make_recipe: Make) -> str:
    run.train(make_recipe(steps=20), "teacher", device="cpu")
    return "teacher"


@pytest.mark.parametrize("method", core.DISTILLATIONS)
def test_a_students_run_folder_is_a_model_that_samples_in_its_steps(teacher: str, method: str) -> None:
    recipe = distill.student_recipe(teacher, method, 4, overrides=SHORT)
    folder = run.train(recipe, device="cpu")
    assert folder == Path("runs/toy-4step-1")
    student = weights.load(folder, "cpu")
    asked = student.settings().sampling
    assert (asked.steps, asked.guidance, asked.grid.name) == (4, 1.0, "trailing")
    assert asked.sampler.name == core.make(core.DISTILLATIONS, method).sampler
    assert student.fingerprint != weights.load(teacher, "cpu").fingerprint
    assert bool(student.sample()[0].at.isfinite().all())
    assert bool(student.sample(steps=1)[0].at.isfinite().all())
    assert "distillation" in (folder / "README.md").read_text()


@pytest.mark.parametrize("method", ["progressive", "consistency-training", "dmd:critic_steps=2"])
def test_a_resumed_distillation_repeats_the_losses_of_an_uninterrupted_one(
    teacher: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    recipe = distill.student_recipe(teacher, method, 4, overrides=SHORT)
    run.train(recipe, "whole", device="cpu")
    with monkeypatch.context() as patch:
        stop_after(patch, 13)
        run.train(recipe, "cut", device="cpu")
    run.train(recipe, "cut", resume=True, device="cpu")
    assert losses(Path("cut")) == losses(Path("whole"))
    ours, theirs = load_file("cut/state.safetensors"), load_file("whole/state.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_student_on_other_data_chooses_none_of_it_by_its_teachers_columns(make_recipe: Make, tmp_path: Path) -> None:
    run.train(make_recipe(steps=1), "teacher", device="cpu")
    written = Path("teacher/recipe.yaml")
    written.write_text(written.read_text().replace("val: ''", "val: fold=4"))
    (tmp_path / "data").mkdir()
    assert distill.student_recipe("teacher", "progressive", 4).data.val == "fold=4"
    recipe = distill.student_recipe("teacher", "progressive", 4, overrides=["data.root=data"])
    assert (recipe.data.val, recipe.data.root) == ("", ("data",))


def test_a_student_begins_as_its_teacher(teacher: str) -> None:
    student = weights.build(distill.student_recipe(teacher, "progressive", 4), "cpu")
    assert student.fingerprint == weights.load(teacher, "cpu").fingerprint


def test_the_teachers_guidance_is_folded_in_where_it_has_prompts(teacher: str) -> None:
    assert distill.student_recipe(teacher, "lcm", 2).distill.guidance == 3.0
    recipe = distill.student_recipe(teacher, "lcm", 2, guidance=1.5)
    assert recipe.distill.guidance == 1.5
    model = weights.load(teacher, "cpu")
    assert isinstance(distill.guided(model, 2.0), core.NetworkDenoiser)  # the toy takes no prompt

    class Prompted:
        recipe, denoiser, clamp = model.recipe, model.denoiser, model.clamp

        def tokens(self, prompts: list[str]) -> dict[str, torch.Tensor]:
            return {"tokens": torch.zeros(1, 1, 4)}

    guided = distill.guided(Prompted(), 2.0)  # type: ignore[arg-type]
    assert isinstance(guided, core.ClassifierFree)
    assert guided.scale == 2.0


def test_a_teacher_that_cannot_teach_is_named(teacher: str, make_recipe: Make) -> None:
    with pytest.raises(RecipeError, match="name the model to learn from"):
        run.train(make_recipe(objective="distillation"), device="cpu")
    other = distill.student_recipe(teacher, "progressive", 4, overrides=[*SHORT, "diffusion.schedule=flow"])
    with pytest.raises(ModelError, match="another schedule"):
        run.train(other, device="cpu")
    with pytest.raises(ModelError, match="no such model"):
        distill.student_recipe("nobody", "progressive", 4)
    with pytest.raises(InputError, match="did you mean 'progressive'"):
        distill.student_recipe(teacher, "progresive", 4)
