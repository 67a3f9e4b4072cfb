"""Recipes: YAML -> validated, frozen objects.

A recipe names a medium, its data, codec, network, diffusion, training and sampling. It is data: nothing in it
can name code to run. Every key is checked; all problems are reported at once, each with its place and the
nearest known key. `sizes` holds overlays chosen by `size=small|base`; `key=value` overrides come last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from multidiff import core, registry
from multidiff.errors import InputError, RecipeError, did_you_mean
from multidiff.modality import Spec

RECIPES = Path(__file__).parent.parent / "recipes"


@cache
def _kinds(make: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """What the options of a method may be, by the types of its parameters."""
    hints = get_type_hints(make.__init__ if isinstance(make, type) else make)  # type: ignore[misc]
    hints.pop("return", None)
    config = ConfigDict(arbitrary_types_allowed=True)  # tensors, which text cannot give
    return {name: TypeAdapter(FiniteFloat if hint is float else hint, config=config) for name, hint in hints.items()}


class MethodSpec(Spec):
    """A method of the core by its name in the literature, with its own parameters: `ddim`, `ddim:eta=0.5` or
    `{name: ddim, options: {eta: 0.5}}`."""

    name: str
    options: Mapping[str, JsonValue] = Field({}, description="the method's own parameters")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, _, options = value.partition(":")
        try:
            parsed = yaml.safe_load("{" + options.replace("=", ": ") + "}")
        except yaml.YAMLError:
            parsed = {"": None}
        if any(option is None or not key for key, option in parsed.items()):
            raise ValueError("write a method's options as name:option=value,option=value, for example ddim:eta=0.5")
        return {"name": name, "options": parsed}

    def make(self, table: Mapping[str, core.Method]) -> Any:
        """The method of a table of the core. Raises ValueError naming the nearest name or option, or a wrong value."""
        kinds = _kinds(table[self.name].make) if self.name in table else {}
        for option in self.options.keys() & kinds.keys():
            try:
                kinds[option].validate_python(self.options[option])
            except ValidationError as error:
                fault = error.errors()[0]["msg"]
                raise ValueError(f"{self.name}: {option}: {fault} (got {self.options[option]!r})") from None
        return core.make(table, self.name, self.options)


def _of(table: Mapping[str, core.Method]) -> AfterValidator:
    def made(spec: MethodSpec) -> MethodSpec:
        spec.make(table)
        return spec

    return AfterValidator(made)


class DiffusionSpec(Spec):
    """Forward process and training objective (`multidiff.core`)."""

    schedule: Annotated[MethodSpec, _of(core.SCHEDULES)] = MethodSpec(name="cosine")
    parameterization: Annotated[MethodSpec, _of(core.PARAMETERIZATIONS)] = MethodSpec(name="velocity")
    loss: Annotated[MethodSpec, _of(core.LOSSES)] = MethodSpec(name="simple")
    times: Annotated[MethodSpec, _of(core.TIMES)] = Field(
        MethodSpec(name="uniform"), description="distribution of t in training"
    )
    huber: float = Field(0.0, ge=0, description="where a large error begins to count less than its square; 0: nowhere")
    coupling: Annotated[MethodSpec, _of(core.COUPLINGS)] = Field(
        MethodSpec(name="independent"), description="which noise goes with which data"
    )

    @model_validator(mode="after")
    def _can_be_sampled(self) -> DiffusionSpec:
        self.denoiser(nn.Identity())
        return self

    def denoiser(self, network: nn.Module, clamp: Callable[[Tensor], Tensor] = core.identity) -> core.NetworkDenoiser:
        """A network with this process. Raises ValueError where its prediction cannot determine x0."""
        schedule = self.schedule.make(core.SCHEDULES)
        parameterization = self.parameterization.make(core.PARAMETERIZATIONS)
        return core.NetworkDenoiser(network, schedule, parameterization, clamp)


class TextSpec(Spec):
    """The frozen prompt encoder. The null prompt of guidance is the empty string's embedding."""

    encoder: str = Field("minilm", description='"minilm", a Hugging Face name or folder, or "none"')
    length: int = Field(24, gt=1, description="tokens kept of a prompt")
    drop: float = Field(0.1, ge=0, le=1, description="rate at which training replaces the prompt by the empty one")


class TrainSpec(Spec):
    """The training loop."""

    objective: str = Field(
        "denoiser", description="what is trained: denoiser, distillation, or a codec objective of the medium"
    )
    init: str = Field("", description="model or run folder to start from")
    steps: int = Field(10_000, gt=0)
    batch: int = Field(16, gt=0)
    accumulate: int = Field(1, gt=0)
    lr: float = Field(3e-4, gt=0)
    warmup: int = Field(100, ge=0, description="steps of linear warm-up")
    decay: float = Field(0.2, ge=0, le=1, description="last share of the steps over which lr falls to 0")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="gradient norm")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the weight average")
    power_ema: tuple[Annotated[float, Field(gt=0, lt=0.28)], ...] = Field(
        (), description="widths of power-function averages to keep for `multidiff posthoc`, for example [0.05, 0.1]"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = 0
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(500, gt=0)
    sample_every: int = Field(0, ge=0, description="steps between sample pictures; 0: never")
    compile: bool = False
    overfit: int = Field(0, ge=0, description="train on so many items only: the self-test that must succeed")

    @property
    def of_denoiser(self) -> bool:
        """Whether the denoiser's network is trained, on a codec that is there already."""
        return self.objective in ("denoiser", "distillation", "classifier")


class DistillSpec(Spec):
    """What a student learns when `train.objective` is distillation."""

    teacher: str = Field("", description="model or run folder to learn from")
    method: Annotated[MethodSpec, _of(core.DISTILLATIONS)] = MethodSpec(name="progressive")
    steps: int = Field(4, gt=0, le=10_000, description="sampling steps that the student shall need")
    grid: Annotated[MethodSpec, _of(core.GRIDS)] = Field(
        MethodSpec(name="trailing"), description="times of these steps, and of a finer grid where the method has one"
    )
    guidance: float = Field(1.0, ge=0, description="classifier-free scale of the teacher, folded into the student")


class SampleSpec(Spec):
    """Sampling defaults; each can be overridden where one samples."""

    schedule: Annotated[MethodSpec, _of(core.SCHEDULES)] | None = Field(
        None, description="another schedule than that of training"
    )
    sampler: Annotated[MethodSpec, _of(core.SAMPLERS)] = MethodSpec(name="dpm++2m")
    steps: int = Field(20, gt=0, le=10_000)
    grid: Annotated[MethodSpec, _of(core.GRIDS)] = MethodSpec(name="log-snr")
    guidance: float = Field(3.0, ge=0, description="scale s: 1 is off, 0 ignores the prompt")
    guidance_method: Annotated[MethodSpec, _of(core.GUIDANCE)] = MethodSpec(name="classifier-free")
    completion: Annotated[MethodSpec, _of(core.COMPLETIONS)] = Field(
        MethodSpec(name="trained"), description="how what is known is met"
    )
    posterior: Annotated[MethodSpec, _of(core.POSTERIORS)] = Field(
        MethodSpec(name="pigdm"), description="how what was measured is met, in restoring"
    )
    editing: Annotated[MethodSpec, _of(core.EDITINGS)] = MethodSpec(name="sdedit")
    windows: bool = Field(False, description="overlapping windows of the default length, where more is asked for")
    loop: bool = Field(False, description="the end meets the beginning")
    prompt: str = ""
    negative: str = ""
    source: str = Field("", description="what the edited file is, for inversion")

    def on(self, trained: core.NoiseSchedule) -> core.NoiseSchedule:
        """The schedule that is sampled under, of a model `trained` under one."""
        chosen: core.NoiseSchedule = self.schedule.make(core.SCHEDULES) if self.schedule else trained
        return chosen

    def times(self, trained: core.NoiseSchedule) -> Tensor:
        """The grid's times (steps + 1,) on that schedule. Raises ValueError where it has no such grid."""
        times: Tensor = self.grid.make(core.GRIDS)(self.on(trained), self.steps)
        return times


class Recipe(Spec):
    """A whole recipe; `data`, `codec`, `network` and `options` have the medium's own schemas."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    modality: str
    about: str = ""
    size: str = "small"
    data: SerializeAsAny[Spec]
    codec: SerializeAsAny[Spec]
    network: SerializeAsAny[Spec]
    options: SerializeAsAny[Spec] = Field(description="default sampling options of the medium")
    diffusion: DiffusionSpec = DiffusionSpec()
    text: TextSpec = TextSpec()
    train: TrainSpec = TrainSpec()
    distill: DistillSpec = DistillSpec()
    sample: SampleSpec = SampleSpec()

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

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def as_yaml(self) -> str:
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)

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
    """`base` with `overlay` on top, recursively through mappings."""
    result = dict(base)
    for key, value in overlay.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
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
