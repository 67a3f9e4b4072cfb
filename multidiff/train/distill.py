"""Distillation by the training loop: a student, its teacher, and a critic where the method has one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from pydantic import ValidationError
from torch import Tensor

from multidiff import core, weights
from multidiff import recipe as recipes
from multidiff.dataset import of_others
from multidiff.errors import ModelError, RecipeError
from multidiff.model import Model
from multidiff.recipe import Recipe
from multidiff.specs import DistillSpec, SampleSpec
from multidiff.train.objective import DenoiserObjective
from multidiff.train.pack import Pack

LR_SHARE = 0.3
"""Of the teacher's learning rate: a student begins where its teacher ended."""


class DistillationObjective(DenoiserObjective):
    """Learn to sample in `distill.steps` from `distill.teacher`, by a method of `multidiff.core.distill`."""

    progress = 0.0

    def __init__(self, model: Model, pack: Pack) -> None:
        """Raises ModelError for a teacher that works in another space than the student."""
        super().__init__(model, pack)
        spec = model.recipe.distill
        self.method: core.Distillation = spec.method.make(core.DISTILLATIONS)
        network = self.groups["network"]
        self.groups = {"network": network}
        self.critic = None
        if self.method.critic:
            self.groups |= {"critic": copy.deepcopy(network)}
            self.critic = model.denoiser(self.groups["critic"])
        self.teacher = guided(teacher_of(model), spec.guidance) if self.method.taught else self.denoiser
        grid, self.steps = spec.grid.make(core.GRIDS), spec.steps
        self.grid = lru_cache(lambda steps: grid(self.denoiser.schedule, steps))

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """The method's, means over the batch."""
        lesson = core.Lesson(self.denoiser, self.teacher, self.loss, self.grid, self.steps, self.critic, self.progress)
        batch, caption = self._batch(rows, generator)
        kept = torch.rand(len(caption), generator=generator) >= self.drop
        u = core.stratified(len(caption), generator)
        condition = self._condition(batch, caption * kept.to(caption.device))

        def draw(stream: int = 0) -> Tensor:
            return self.noise(batch.x0, generator)

        for group, loss in self.method.losses(lesson, core.Examples(batch.x0, draw, u, condition, batch.weight)):
            yield group, loss.mean()

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The losses themselves, on fixed noise and times; with a critic they do not measure quality."""
        figures = {group: float(loss) for group, loss in self.losses(rows, generator)}
        return {"loss": figures.pop("network"), **figures}


def teacher_of(model: Model) -> Model:
    """The model that a student's recipe names. Raises RecipeError, ModelError when it cannot teach this student."""
    recipe = model.recipe
    if not recipe.distill.teacher:
        raise RecipeError(f"{recipe.name}: distill.teacher: name the model to learn from")
    teacher = weights.load(recipe.distill.teacher, str(model.device))
    if what := recipe.apart(teacher.recipe):
        raise ModelError(f"{recipe.distill.teacher}: cannot teach {recipe.name}, which has another {what}")
    return teacher


def guided(teacher: Model, scale: float) -> core.Denoiser:
    """The teacher under classifier-free guidance, which the student then has in itself; scale 1 is none."""
    null = teacher.tokens([teacher.recipe.sample.negative])
    if scale == 1 or not null:
        return teacher.denoiser()
    return core.ClassifierFree(teacher.denoiser(), scale, null, teacher.clamp)


def student_recipe(
    teacher: str, method: str, steps: int, guidance: float | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe of a student of `teacher` (a model or run folder): like it, but for how it trains and samples.

    `guidance` is folded in, by default the scale that the teacher samples with. Raises RecipeError, ModelError.
    """
    folder = weights.locate(teacher)
    source = recipes.load(folder / "recipe.yaml")
    values = source.as_dict()
    scale = source.sample.guidance if guidance is None else guidance
    asked = {"teacher": teacher, "method": method, "steps": steps, "guidance": scale}
    try:
        spec = DistillSpec.model_validate(asked)
    except ValidationError as error:
        raise RecipeError("\n".join(recipes.problems(error, DistillSpec, "distill"))) from None
    trained: core.Distillation = spec.method.make(core.DISTILLATIONS)
    changes = {
        "name": f"{source.name}-{steps}step",
        "about": f"{source.about} Distilled to {steps} steps ({spec.method.name}).".strip(),
        "distill": spec.model_dump(mode="json"),
        "train": {"objective": "distillation", "init": teacher, "lr": LR_SHARE * source.train.lr, "steps": 2000},
        "sample": {
            **SampleSpec(prompt=source.sample.prompt).model_dump(mode="json"),
            **{"sampler": {"name": trained.sampler}, "steps": steps, "grid": spec.grid.model_dump(), "guidance": 1.0},
        },
    }
    if "weights" in values["codec"]:
        changes["codec"] = {"weights": teacher}
    if any(override.startswith(("data.root=", "data=")) for override in overrides):
        roots = source.override(overrides).data.root
        values["data"] = of_others(source.data, roots)[0].model_dump(mode="json")
    return recipes.from_dict(recipes.merge(values, changes), str(folder / "recipe.yaml")).override(overrides)
