"""Recipes: YAML -> validated, frozen objects.

A recipe names a medium, its data, codec, network, diffusion, training and sampling. It is data: nothing in it
can name code to run. Every key is checked; all problems are reported at once, each with its place and the
nearest known key. `sizes` holds overlays chosen by `size=small|base`; `key=value` overrides come last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from multidiff import core, registry
from multidiff.dataset import SYNTH, DataSpec
from multidiff.errors import InputError, RecipeError, did_you_mean
from multidiff.modality import Spec
from multidiff.specs import DiffusionSpec, DistillSpec, SampleSpec, TextSpec, TrainSpec

RECIPES = Path(__file__).parent.parent / "recipes"


class Recipe(Spec):
    """A whole recipe; `data`, `codec`, `network` and `options` have the medium's own schemas."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    modality: str
    about: str = ""
    size: str = "small"
    data: SerializeAsAny[DataSpec]
    codec: SerializeAsAny[Spec]
    network: SerializeAsAny[Spec]
    options: SerializeAsAny[Spec] = Field(description="default sampling options of the medium")
    diffusion: DiffusionSpec = DiffusionSpec()
    text: TextSpec = TextSpec()
    train: TrainSpec = TrainSpec()
    distill: DistillSpec = DistillSpec()
    sample: SampleSpec = SampleSpec()

    @model_validator(mode="after")
    def _has_time_for_its_noise(self) -> Recipe:
        if self.diffusion.noise.name != "white" and registry.modality(self.modality).time_axis is None:
            raise ValueError(f"diffusion.noise: {self.modality} have no time for {self.diffusion.noise.name} noise")
        return self

    @field_validator("modality")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in registry.MODALITIES:
            raise ValueError(f"unknown modality '{value}'{did_you_mean(value, list(registry.MODALITIES))}")
        return value

    @model_validator(mode="after")
    def _has_a_grid(self) -> Recipe:
        try:
            self.sample.times(self.diffusion.schedule.make(core.SCHEDULES))
        except ValueError as error:
            raise ValueError(f"sample.grid: {self.sample.grid.name} with {self.sample.steps} steps: {error}") from None
        return self

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with anything in the recipe."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def apart(self, other: Recipe) -> str:
        """The first part in which another model's space differs, so that one cannot work for the other; else ""."""

        def parts(recipe: Recipe) -> dict[str, Any]:
            # Where a codec's weights come from is no part of it.
            codec = {**recipe.codec.model_dump(), "weights": ""}
            text = recipe.text.encoder, recipe.text.length
            process = {"schedule": recipe.diffusion.schedule, "noise": recipe.diffusion.noise}
            return {"modality": recipe.modality, "codec": codec, "text": text, **process}

        mine, its = parts(self), parts(other)
        return next((name for name in mine if mine[name] != its[name]), "")

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def as_yaml(self) -> str:
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)

    def placed(self) -> Recipe:
        """A copy that names its data by absolute paths, so that a run goes on from any folder."""
        roots = [root if root == SYNTH else str(Path(root).expanduser().absolute()) for root in self.data.root]
        return self.model_copy(update={"data": self.data.model_copy(update={"root": tuple(roots)})})

    def override(self, overrides: Sequence[str]) -> Recipe:
        """A copy with `key=value` overrides. Raises RecipeError."""
        return from_dict(_overridden(self.as_dict(), overrides), "override")


def _sections(medium: Any) -> dict[str, type[Spec]]:
    return {
        "data": medium.data_spec,
        "codec": medium.codec_spec,
        "network": medium.network_spec,
        "options": medium.options,
    }


class _SectionError(Exception):
    """Carries a nested section's problems past pydantic, with their place."""

    def __init__(self, place: str, spec: type[BaseModel], error: ValidationError) -> None:
        self.place, self.spec, self.error = place, spec, error


def _nested(spec: type[Spec], place: str, section: Any) -> Spec:
    try:
        return spec.model_validate(section)
    except ValidationError as error:
        raise _SectionError(place, spec, error) from None


def _known_keys(spec: Any, location: Sequence[Any]) -> list[str]:
    """Field names of the schema at `location` inside `spec`, as far as it can be followed."""
    for part in location:
        fields = getattr(spec, "model_fields", {})
        spec = fields[part].annotation if part in fields else None
    fields = getattr(spec, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def problems(error: ValidationError, spec: type[BaseModel], place: str = "") -> list[str]:
    """One line for each problem: place, fault, cure."""
    lines = []
    for item in error.errors(include_url=False):
        location = [*([place] if place else []), *map(str, item["loc"])]
        if item["type"] == "extra_forbidden":
            known = _known_keys(spec, item["loc"][:-1])
            fault = "unknown key" + (did_you_mean(str(item["loc"][-1]), known) if known else "")
        elif item["type"] == "missing":
            fault = "is missing"
        else:
            got = "" if isinstance(item["input"], Mapping) else f" (got {item['input']!r})"
            fault = item["msg"].removeprefix("Value error, ") + got
        lines.append(": ".join(filter(None, (".".join(location), fault))))
    return lines


def from_dict(values: Mapping[str, Any], source: str) -> Recipe:
    """Validate; `source` is named in errors. Raises RecipeError listing every problem."""
    found: list[str] = []
    candidate = dict(values)
    name = candidate.get("modality")
    if isinstance(name, str) and name in registry.MODALITIES:
        for key, spec in _sections(registry.modality(name)).items():
            section = candidate.get(key) or {}
            section = {"root": section} if key == "data" and isinstance(section, str) else section
            spec = spec.of(section) if isinstance(section, Mapping) else spec
            try:
                candidate[key] = _nested(spec, key, section)
            except _SectionError as error:
                found += problems(error.error, error.spec, error.place)
                candidate[key] = spec.model_construct()
    try:
        recipe = Recipe.model_validate(candidate)
    except ValidationError as error:
        unknown_medium = name not in registry.MODALITIES
        found += [
            line
            for line in problems(error, Recipe)
            if not (unknown_medium and line.split(":")[0].split(".")[0] in ("data", "codec", "network", "options"))
        ]
    if found:
        raise RecipeError("\n".join(f"{source}: {line}" for line in found))
    return recipe


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overlay` on top, recursively through mappings; an empty one replaces."""
    result = dict(base)
    for key, value in overlay.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value:
            value = merge(old, value)
        result[key] = value
    return result


def _overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    result = dict(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise RecipeError(f"{override}: an override is written key=value, for example train.steps=2000")
        try:
            value: Any = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            value = text
        if key == "data" and not isinstance(value, Mapping):
            key = "data.root"  # keeps the other keys of the section
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result


def find(source: str | Path) -> Path:
    """The file of a recipe given by path, or by name among the shipped ones. Raises RecipeError."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    shipped = {p.stem: p for p in sorted(RECIPES.glob("*/*.yaml"))}
    if str(source) in shipped:
        return shipped[str(source)]
    raise RecipeError(f"{source}: no such recipe{did_you_mean(Path(source).stem, list(shipped))}")


def load(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by path or name, apply its size and the overrides.

    `size=...` chooses among the recipe's `sizes`. Raises RecipeError with every problem found.
    """
    path = find(source)
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, not {type(values).__name__}")
    sizes = values.pop("sizes", None) or {}
    if not isinstance(sizes, dict):
        raise RecipeError(f"{path}: sizes: is a mapping from size to changes, not {type(sizes).__name__}")
    size = next(
        (o.partition("=")[2] for o in reversed(overrides) if o.startswith("size=")),
        values.get("size", "small"),
    )
    if sizes and size not in sizes:
        raise RecipeError(f"{path}: size: unknown size '{size}'{did_you_mean(str(size), list(sizes))}")
    values = merge(values, sizes.get(size) or {})
    try:
        return from_dict(_overridden({**values, "size": size}, overrides), str(path))
    except InputError as error:
        raise RecipeError(str(error)) from None
