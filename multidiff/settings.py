"""What is asked of a model: a recipe's defaults with what the user said on top, every value checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from multidiff import core
from multidiff.errors import InputError, did_you_mean
from multidiff.modality import Modality, Reconciling, Spec
from multidiff.recipe import Recipe, problems
from multidiff.specs import MethodSpec, SampleSpec


@dataclass(frozen=True)
class Settings:
    """Everything that was asked for and every default, resolved."""

    sampling: SampleSpec
    options: Any
    task: str = ""
    task_options: Any = None

    @property
    def values(self) -> dict[str, Any]:
        """The medium's and the task's options as plain values, by the names they are asked for."""
        plain: dict[str, Any] = self.options.model_dump(mode="json", by_alias=True)
        return plain | (self.task_options.model_dump(mode="json", by_alias=True) if self.task else {})


def task_of(recipe: Recipe, modality: Modality, task: str | None, options: Mapping[str, Any]) -> str:
    """The completion task: the one named, else the first that takes the given options and misses none.

    Raises InputError when there is none.
    """
    tasks = modality.tasks
    if task:
        if task not in tasks:
            raise InputError(f"{recipe.name}: unknown task '{task}'{did_you_mean(task, list(tasks))}")
        return task
    options = _aliased(modality, options)
    own = set().union(*map(_keys, tasks.values())) & {key for key, value in options.items() if value is not None}
    fitting = {name: schema for name, schema in tasks.items() if own <= set(_keys(schema))}
    for name, schema in fitting.items():
        if own.issuperset(_needed(schema)):
            return name
    wanted = "; ".join(
        ": ".join([name, *filter(None, [" ".join("--" + key for key in _needed(schema) or _keys(schema))])])
        for name, schema in (fitting or tasks).items()
    )
    raise InputError(f"{recipe.name}: say what to complete ({wanted})")


def resolve(recipe: Recipe, modality: Modality, task: str, values: Mapping[str, Any]) -> Settings:
    """Sampling settings, medium options and task options resolved from the recipe's defaults and `values`.

    Raises InputError for an unknown or invalid one, naming the nearest.
    """
    schema = modality.tasks[task] if task else None
    sampling_keys, option_keys = _keys(SampleSpec), _keys(modality.options)
    task_keys = _keys(schema) if schema else {}
    known = [*sampling_keys, *option_keys, *task_keys]
    values = _aliased(modality, values)
    for key in values:
        if key not in known:
            others = [name for name, other in modality.tasks.items() if key in _keys(other)]
            if task and others:
                raise InputError(f"{recipe.name}: {task} takes no '{key}', but {', '.join(others)} does")
            hint = did_you_mean(key, known, [*option_keys, *task_keys])
            raise InputError(f"{recipe.name} ({modality.name}): no option '{key}'{hint}")
    chosen = {key: value for key, value in values.items() if value is not None}
    sampling = _validated(
        SampleSpec, {**recipe.sample.model_dump(), **{k: v for k, v in chosen.items() if k in sampling_keys}}
    )
    try:
        sampling.times(recipe.diffusion.schedule.make(core.SCHEDULES))
    except ValueError as error:
        raise InputError(f"{sampling.grid.name} with {sampling.steps} steps: {error}") from None
    if sampling.sampler.options.get("variance") == "learned" and not getattr(recipe.network, "learned_variance", False):
        raise InputError(f"{recipe.name}: has learned no variance; take ddpm:variance=small or large")
    options = _validated(
        modality.options,
        {
            **recipe.options.model_dump(by_alias=True),
            **{k: v for k, v in chosen.items() if k in option_keys and k not in task_keys},
        },
    )
    task_options = _validated(schema, {k: v for k, v in chosen.items() if k in task_keys}) if schema else None
    if isinstance(modality, Reconciling):
        prompt, options, task_options = modality.reconciled(
            sampling.prompt, options, task_options, set(chosen), recipe.sample.prompt
        )
        sampling = sampling.model_copy(update={"prompt": prompt})
    return Settings(sampling, options, task, task_options)


def named(method: str | MethodSpec, table: Mapping[str, core.Method]) -> Any:
    """A method of the core by its name, with options as in a recipe. Raises InputError."""
    spec = _validated(MethodSpec, method) if isinstance(method, str) else method
    try:
        return spec.make(table)
    except ValueError as error:
        raise InputError(str(error)) from None


def _keys(schema: type[Spec] | None) -> dict[str, None]:
    return {field.alias or key: None for key, field in schema.model_fields.items()} if schema else {}


def _aliased(modality: Modality, values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of tasks by what they are asked for. Python cannot write `from=`: `start`, the field's name, will do."""
    fields = {name: field for schema in modality.tasks.values() for name, field in schema.model_fields.items()}
    names = {name: field.alias for name, field in fields.items() if field.alias and name not in _keys(modality.options)}
    return {names.get(key, key): value for key, value in values.items()}


def _needed(schema: type[Spec]) -> list[str]:
    return [field.alias or key for key, field in schema.model_fields.items() if field.is_required()]


def _validated(schema: type[Spec], values: Any) -> Any:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(problems(error, schema))) from None
