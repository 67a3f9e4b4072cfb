"""Model = recipe + weights: sample, complete, edit, save, load.

A model's folder holds `model.safetensors` (tensors named `network.*` and `codec.*`), `recipe.yaml` and
`README.md` (the model card). Weights are safetensors only; nothing in the folder can name code to run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

import multidiff
from multidiff import core, text
from multidiff.errors import InputError, MediaError, ModelError, MultidiffError, did_you_mean
from multidiff.files import folder as writable_folder
from multidiff.files import save_tensors, written_whole
from multidiff.modality import Modality, Spec
from multidiff.recipe import Recipe, SampleSpec, problems

FORMAT = "1"
"""Version of the checkpoint layout, in the metadata of model.safetensors."""

PRECISIONS = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Progress = Callable[[int, int], None]
"""Called as progress(step, steps) while sampling."""


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


class Model:
    """A trained (or freshly built) model of one medium.

    `network` is None where a recipe trains only a codec; such a model cannot sample.
    """

    def __init__(
        self,
        recipe: Recipe,
        modality: Modality,
        codec: nn.Module,
        network: nn.Module | None,
        precision: str = "auto",
    ) -> None:
        """Raises InputError for an unknown precision."""
        if precision not in PRECISIONS:
            raise InputError(f"precision {precision}: unknown{did_you_mean(precision, list(PRECISIONS))}")
        self.recipe = recipe
        self.modality = modality
        self.codec = codec
        self.network = network
        self.precision = precision

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.modality.name}, {self.parameters / 1e6:.1f} M parameters, {self.device})"

    @property
    def name(self) -> str:
        return self.recipe.name

    @cached_property
    def text(self) -> text.TextEncoder:
        """The prompt encoder, loaded when it is first used: training from a pack never needs it."""
        return text.load(self.recipe.text.encoder, self.recipe.text.length)

    @property
    def parameters(self) -> int:
        """Number of parameters, codec included."""
        modules = [self.codec] + ([self.network] if self.network is not None else [])
        return sum(p.numel() for module in modules for p in module.parameters())

    @property
    def device(self) -> torch.device:
        module = self.network if self.network is not None else self.codec
        return next((p.device for p in module.parameters()), torch.device("cpu"))

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any weight."""
        digest = hashlib.sha256()
        for module in filter(None, (self.codec, self.network)):
            for key, value in module.state_dict().items():
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:12]

    def denoiser(self, network: nn.Module | None = None) -> core.NetworkDenoiser:
        """The network (or another one of its shape) with its schedule and parameterization.

        Raises ModelError when the model holds only a codec.
        """
        network = network if network is not None else self.network
        if network is None:
            raise ModelError(
                f"{self.name}: holds a codec ({self.recipe.train.objective}) and no denoiser to sample from"
            )
        return self.recipe.diffusion.denoiser(network, self.modality.clamp)

    def tokens(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The condition that prompts make: `tokens` (B, L, D) and `tokens_mask` (B, L); empty without an encoder."""
        if self.text.dim == 0:
            self.text.encode(prompts)
            return {}
        tokens, mask = self.text.encode(prompts)
        return {"tokens": tokens.to(self.device), "tokens_mask": mask.to(self.device)}

    def task_of(self, task: str | None, options: dict[str, Any]) -> str:
        """The completion task: the one named, else the first that takes the given options and misses none.

        Raises InputError when there is none.
        """
        tasks = self.modality.tasks
        if task:
            if task not in tasks:
                raise InputError(f"{self.name}: unknown task '{task}'{did_you_mean(task, list(tasks))}")
            return task
        own = set().union(*map(_keys, tasks.values())) & {key for key, value in options.items() if value is not None}
        fitting = {name: schema for name, schema in tasks.items() if own <= set(_keys(schema))}
        for name, schema in fitting.items():
            if own.issuperset(_needed(schema)):
                return name
        wanted = "; ".join(
            f"{name}: {' '.join('--' + key for key in _needed(schema) or _keys(schema))}"
            for name, schema in (fitting or tasks).items()
        )
        raise InputError(f"{self.name}: say what to complete ({wanted})")

    def settings(self, task: str = "", **values: Any) -> Settings:
        """Sampling settings, medium options and task options resolved from the recipe's defaults and `values`.

        Raises InputError for an unknown or invalid one, naming the nearest.
        """
        schema = self.modality.tasks[task] if task else None
        sampling_keys, option_keys = _keys(SampleSpec), _keys(self.modality.options)
        task_keys = _keys(schema) if schema else {}
        known = [*sampling_keys, *option_keys, *task_keys]
        for key in values:
            if key not in known:
                raise InputError(f"{self.name} ({self.modality.name}): no option '{key}'{did_you_mean(key, known)}")
        chosen = {key: value for key, value in values.items() if value is not None}
        sampling = _validated(
            SampleSpec, {**self.recipe.sample.model_dump(), **{k: v for k, v in chosen.items() if k in sampling_keys}}
        )
        try:
            sampling.times(self.recipe.diffusion.schedule.make(core.SCHEDULES))
        except ValueError as error:
            raise InputError(f"{sampling.grid.name} with {sampling.steps} steps: {error}") from None
        options = _validated(
            self.modality.options,
            {
                **self.recipe.options.model_dump(by_alias=True),
                **{k: v for k, v in chosen.items() if k in option_keys and k not in task_keys},
            },
        )
        task_options = _validated(schema, {k: v for k, v in chosen.items() if k in task_keys}) if schema else None
        return Settings(sampling, options, task, task_options)

    def sample(
        self, prompt: str = "", *, count: int = 1, seed: int = 0, progress: Progress | None = None, **values: Any
    ) -> list[Any]:
        """`count` media from a prompt; item i has seed + i and is the same alone as among others.

        `values` are sampling settings (steps, sampler, grid, guidance, negative) and the medium's own options.
        Raises InputError for wrong ones.
        """
        asked = self.settings(**values)
        shape = self.modality.event_shape(self.codec, asked.options)
        made = []
        for item in range(count):
            condition = self.modality.extra_condition(self.codec, asked.options, 1)
            x = self._run(shape, seed + item, prompt, condition, asked.sampling, progress)
            made += self._decode(x, asked.options)
        return made

    def complete(
        self,
        media: Any,
        task: str | None = None,
        *,
        prompt: str = "",
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` different wholes for one part: what is given is kept, the rest is generated.

        `values`: the task's options, sampling settings and medium options. Raises InputError, MediaError.
        """
        self._takes(media)
        asked = self.settings(self.task_of(task, values), **values)
        given, options = self.modality.given(media, asked.task, asked.task_options, self.codec, asked.options)
        known, mask = given.known.to(self.device), given.mask.to(self.device)
        made = []
        for item in range(count):
            extra = {key: value.to(self.device) for key, value in given.condition.items()}
            condition = {**extra, "known": known, "mask": mask}
            x = self._run(tuple(known.shape[1:]), seed + item, prompt, condition, asked.sampling, progress)
            made.append(self.modality.merge(self._decode(x, options)[0], media, given))
        return made

    def edit(
        self,
        media: Any,
        prompt: str,
        *,
        strength: float | None = 0.6,
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` versions of given media changed towards a prompt: SDEdit (Meng et al. 2021, algorithm 1).

        `strength` in (0, 1]: the time t to which the media are noised. Raises InputError, MediaError.
        """
        self._takes(media)
        strength = 0.6 if strength is None else strength
        if not 0 < strength <= 1:
            raise InputError(f"strength {strength}: give a number above 0 and at most 1")
        asked = self.settings(**values)
        options = self.modality.options_of(media, asked.options)
        with torch.inference_mode():
            x0 = self.codec.encode([media]).to(self.device)  # type: ignore[operator]
        made = []
        for item in range(count):
            condition = self.modality.extra_condition(self.codec, options, 1)
            x = self._run(tuple(x0.shape[1:]), seed + item, prompt, condition, asked.sampling, progress, (x0, strength))
            made += [self.modality.restore(edited, media, self.codec) for edited in self._decode(x, options)]
        return made

    def _run(
        self,
        shape: tuple[int, ...],
        seed: int,
        prompt: str,
        condition: dict[str, Tensor],
        sampling: SampleSpec,
        progress: Progress | None,
        start: tuple[Tensor, float] | None = None,
    ) -> Tensor:
        """One sample (1, *shape) in model space; `start` = (x0, strength) begins from noised media."""
        denoiser: core.Denoiser = self.denoiser()
        condition = {key: value.to(self.device) for key, value in condition.items()} | self.tokens([prompt])
        if sampling.guidance != 1 and (null := self.tokens([sampling.negative])):
            denoiser = core.ClassifierFree(denoiser, sampling.guidance, null, self.modality.clamp)
        sampler = sampling.sampler.make(core.SAMPLERS)
        noise = core.SeededNoise([seed], shape, torch.float32, self.device)
        times = sampling.times(denoiser.schedule)
        if start is None:
            run, steps = core.states(denoiser, sampler, times, noise, condition), len(times) - 1
        else:
            run = core.sdedit(denoiser, sampler, times, noise, *start, condition)
            steps = max(1, round(start[1] * (len(times) - 1)))
        with torch.inference_mode(), self._autocast():
            for state in run:
                if progress is not None:
                    progress(state.step, steps)
        if not bool(state.x.isfinite().all()):
            raise MultidiffError(
                f"{self.name}: sampling diverged to NaN; take less guidance, more steps, another sampler or precision"
            )
        return state.x

    def _takes(self, media: Any) -> None:
        kind = self.modality.media
        if not isinstance(media, kind):
            raise MediaError(
                f"{self.name} takes {kind.__name__}, not {type(media).__name__}; read a file with {kind.__name__}.read"
            )

    def _decode(self, x: Tensor, options: Any) -> list[Any]:
        with torch.inference_mode():
            media: list[Any] = self.codec.decode(x.float(), options)  # type: ignore[operator]
        return media

    def _autocast(self) -> Any:
        """bf16 on a GPU under "auto"; fp32 on a CPU, where bf16 is many times slower (measured)."""
        wanted = PRECISIONS[self.precision]
        enabled = wanted != torch.float32 and (self.precision != "auto" or self.device.type == "cuda")
        return torch.autocast(self.device.type, wanted, enabled=enabled)

    def save(self, folder: str | Path, card: str | None = None, half: bool = False) -> Path:
        """Write model.safetensors, recipe.yaml and, when given, the model card. `half`: float16 weights.

        Raises MultidiffError when the folder cannot be written.
        """
        folder = writable_folder(folder)
        tensors = {}
        for prefix, module in (("network", self.network), ("codec", self.codec)):
            for key, value in (module.state_dict() if module is not None else {}).items():
                value = value.detach().cpu()
                value = value.half() if half and value.dtype == torch.float32 else value
                tensors[f"{prefix}.{key}"] = value.contiguous().clone()
        metadata = {"format": FORMAT, "multidiff": multidiff.__version__, "recipe": self.recipe.hash}
        save_tensors(folder / "model.safetensors", tensors, metadata)
        with written_whole(folder / "recipe.yaml") as temporary:
            temporary.write_text(self.recipe.as_yaml(), "utf-8")
        if card is not None:
            with written_whole(folder / "README.md") as temporary:
                temporary.write_text(card, "utf-8")
        return folder


def _keys(schema: type[Spec] | None) -> dict[str, None]:
    return {field.alias or key: None for key, field in schema.model_fields.items()} if schema else {}


def _needed(schema: type[Spec]) -> list[str]:
    return [field.alias or key for key, field in schema.model_fields.items() if field.is_required()]


def _validated(schema: type[Spec], values: dict[str, Any]) -> Any:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(problems(error, schema))) from None
