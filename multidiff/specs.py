"""Sections of a recipe that are the same for every medium: diffusion, text, training, distillation, sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from torch import Tensor, nn

from multidiff import core
from multidiff.modality import Spec


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

    noise: Annotated[MethodSpec, _of(core.NOISES)] = Field(
        MethodSpec(name="white"), description="how the noise is correlated along time, in training and in sampling"
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
    windows: Literal["", "averaged", "sliding"] = Field(
        "", description="overlapping windows of the default length, where more is asked for"
    )
    loop: bool = Field(False, description="the end meets the beginning")
    prompt: str = ""
    negative: str = ""
    into: str = Field("", description="what the prompt turns into over time")
    describe: bool = Field(
        False, description="without a prompt, what is far from what is given takes the likeliest caption"
    )
    source: str = Field("", description="what the edited file is, for inversion")

    def on(self, trained: core.NoiseSchedule) -> core.NoiseSchedule:
        """The schedule that is sampled under, of a model `trained` under one."""
        chosen: core.NoiseSchedule = self.schedule.make(core.SCHEDULES) if self.schedule else trained
        return chosen

    def times(self, trained: core.NoiseSchedule) -> Tensor:
        """The grid's times (steps + 1,) on that schedule. Raises ValueError where it has no such grid."""
        times: Tensor = self.grid.make(core.GRIDS)(self.on(trained), self.steps)
        return times
