"""Model = recipe + weights: sample, complete, edit, save, load.

A model's folder holds `model.safetensors` (tensors named `network.*` and `codec.*`), `recipe.yaml` and
`README.md` (the model card). Weights are safetensors only; nothing in the folder can name code to run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import multidiff
from multidiff import core, text
from multidiff.classifier import PromptClassifier, features
from multidiff.errors import InputError, MediaError, ModelError, MultidiffError, did_you_mean
from multidiff.files import folder as writable_folder
from multidiff.files import save_tensors, written_whole
from multidiff.modality import Modality
from multidiff.nn.embedding import masked_mean
from multidiff.recipe import Recipe
from multidiff.settings import Settings, named, resolve, task_of
from multidiff.specs import MethodSpec, SampleSpec

FORMAT = "1"
"""Version of the checkpoint layout, in the metadata of model.safetensors."""

PRECISIONS = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

FAR = 1e3
"""Values of model space, where data have unit variance, that only a run which diverged reaches."""

Progress = Callable[[int, int], None]
"""Called as progress(step, steps) while sampling."""


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
        others: Callable[[str], Model] | None = None,
    ) -> None:
        """`others` finds models by name, for guidance by another one. Raises InputError for an unknown precision."""
        if precision not in PRECISIONS:
            raise InputError(f"precision {precision}: unknown{did_you_mean(precision, list(PRECISIONS))}")
        self.recipe = recipe
        self.modality = modality
        self.codec = codec
        self.network = network
        self.precision = precision
        self.others = others
        self.classifier: PromptClassifier | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.modality.name}, {self.parameters / 1e6:.1f} M parameters, {self.device})"

    @property
    def can_sample(self) -> bool:
        """False where only a codec, or a classifier of noisy media, was trained."""
        return self.network is not None and self.recipe.train.objective != "classifier"

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
        if network is None and self.can_sample:
            network = self.network
        if network is None:
            raise ModelError(
                f"{self.name}: holds no denoiser to sample from (its train.objective is {self.recipe.train.objective})"
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
        """The completion task that is named or implied; see `settings.task_of`. Raises InputError."""
        return task_of(self.recipe, self.modality, task, options)

    def settings(self, task: str = "", **values: Any) -> Settings:
        """Settings and options resolved from the recipe's defaults and `values`. Raises InputError."""
        return resolve(self.recipe, self.modality, task, values)

    def sample(
        self, prompt: str = "", *, count: int = 1, seed: int = 0, progress: Progress | None = None, **values: Any
    ) -> list[Any]:
        """`count` media from a prompt; item i has seed + i and is the same alone as among others.

        `values` are sampling settings (`SampleSpec`: steps, sampler, guidance, ...) and the medium's own options.
        Raises InputError for wrong ones.
        """
        asked = self.settings(**values)
        shape = self.modality.event_shape(self.codec, asked.options)
        made = []
        for item in range(count):
            told = self.recipe.options if asked.sampling.windows else asked.options
            condition = self.modality.extra_condition(self.codec, told, 1)
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
        known = given.known.to(self.device), given.mask.to(self.device)
        shape = tuple(given.known.shape[1:])
        method = asked.sampling.completion.make(core.COMPLETIONS)
        meeting: Callable[[core.Plan], core.Plan] = partial(method, known=known[0], mask=known[1])
        made = []
        for item in range(count):
            x = self._run(shape, seed + item, prompt, given.condition, asked.sampling, progress, meeting)
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
        """`count` versions of given media changed towards a prompt, by SDEdit or another `editing`.

        `strength` in (0, 1]: the share of the sampling steps that is gone through again. Raises InputError, MediaError.
        """
        self._takes(media)
        strength = 0.6 if strength is None else strength
        if not 0 < strength <= 1:
            raise InputError(f"strength {strength}: give a number above 0 and at most 1")
        asked = self.settings(**values)
        options = self.modality.options_of(media, asked.options)
        with torch.no_grad():
            x0 = self.codec.encode([media]).to(self.device)  # type: ignore[operator]
        shape, made = tuple(x0.shape[1:]), []
        for item in range(count):
            condition = self.modality.extra_condition(self.codec, options, 1)
            x = self._run(shape, seed + item, prompt, condition, asked.sampling, progress, start=(x0, strength))
            made += [self.modality.restore(edited, media, self.codec) for edited in self._decode(x, options)]
        return made

    def restore(
        self,
        media: Any,
        operator: core.Operator | str | MethodSpec,
        *,
        prompt: str = "",
        count: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
        **values: Any,
    ) -> list[Any]:
        """`count` media that would be measured as these were, by `posterior` sampling.

        `operator` acts in model space (latents of a sound, unshuffled pixels of a clip): any differentiable function
        of x (1, *event), or the name of one in OPERATORS. Where it keeps the shape the media are its result (a blur);
        else it is applied to them (an average over blocks). Raises InputError, MediaError.
        """
        acting: core.Operator = named(operator, core.OPERATORS) if isinstance(operator, str | MethodSpec) else operator
        x, _ = self.encode(media)
        asked = self.settings(**values)
        options = self.modality.options_of(media, asked.options)
        try:
            measured = acting(x)
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{self.name}: the operator does not take x of shape {tuple(x.shape)}: {error}") from None
        y = x if measured.shape == x.shape else measured
        method = asked.sampling.posterior.make(core.POSTERIORS)
        meeting: Callable[[core.Plan], core.Plan] = partial(method, operator=acting, y=y)
        made = []
        for item in range(count):
            condition = self.modality.extra_condition(self.codec, options, 1)
            found = self._run(tuple(x.shape[1:]), seed + item, prompt, condition, asked.sampling, progress, meeting)
            made += [self.modality.restore(whole, media, self.codec) for whole in self._decode(found, options)]
        return made

    def _run(
        self,
        shape: tuple[int, ...],
        seed: int,
        prompt: str,
        condition: Mapping[str, Tensor],
        sampling: SampleSpec,
        progress: Progress | None,
        meeting: Callable[[core.Plan], core.Plan] | None = None,
        start: tuple[Tensor, float] | None = None,
    ) -> Tensor:
        """One sample (1, *shape) in model space. `meeting` changes the plan to meet what is given; `start` =
        (x0, strength) is edited."""
        denoiser = self.denoiser()
        condition = {key: value.to(self.device) for key, value in condition.items()}
        times = sampling.times(denoiser.schedule)
        guided = self.guided(sampling)
        told = condition | self.tokens([prompt])
        plan = core.Plan(guided, sampling.sampler.make(core.SAMPLERS), times, told)
        plan = self._in_time(plan, sampling, shape)
        if meeting is not None:
            plan = meeting(plan)
        noise = core.SeededNoise([seed], shape, torch.float32, self.device)
        if start is None:
            run = core.states(plan.denoiser, plan.sampler, plan.times, noise, plan.condition)
            steps = len(plan.times) - 1
        else:
            plain = core.Rescheduled(denoiser, guided.schedule) if sampling.schedule else denoiser
            edit = core.Edit(*start, plain, condition | self.tokens([sampling.source]))
            run = sampling.editing.make(core.EDITINGS)(plan, noise, edit)
            steps = max(1, round(edit.strength * (len(times) - 1)))
        # Not inference mode: methods that follow a gradient enable it for their own part.
        with torch.no_grad(), self._autocast():
            for state in run:
                if progress is not None:
                    progress(state.step, steps)
        if not bool((state.x.abs() < FAR).all()):
            raise MultidiffError(
                f"{self.name}: sampling diverged; take less guidance, more steps, another sampler or precision"
            )
        return state.x

    def _in_time(self, plan: core.Plan, sampling: SampleSpec, shape: tuple[int, ...]) -> core.Plan:
        """The plan with overlapping windows and as a seamless loop, where that is asked for. Raises InputError."""
        axis = self.modality.time_axis
        if (sampling.windows or sampling.loop) and axis is None:
            raise InputError(f"{self.name}: {self.modality.name} have no time: no windows, no loop")
        if axis is None:
            return plan
        size = self.modality.event_shape(self.codec, self.recipe.options)[axis]
        if sampling.windows and shape[axis] > size:
            windows = core.Windows(plan.denoiser, axis, size, -(-size // 2), sampling.loop)
            plan = replace(plan, denoiser=windows)
        return replace(plan, sampler=core.Loop(plan.sampler, axis)) if sampling.loop else plan

    def guided(self, sampling: SampleSpec) -> core.Denoiser:
        """The denoiser under the guidance and the schedule that are asked for. Raises InputError, ModelError."""
        denoiser = self.denoiser()
        schedule = sampling.on(denoiser.schedule)
        times = denoiser.schedule.inverse(schedule.log_snr(sampling.times(denoiser.schedule)))
        run = core.Guided(
            sampling.guidance,
            self.tokens([sampling.negative]),
            times,
            self.modality.clamp,
            prompt=lambda text: self.tokens([text]),
            model=lambda name: self._other(name).denoiser(),
            classifier=self._classifier,
        )
        try:
            guided: core.Denoiser = sampling.guidance_method.make(core.GUIDANCE)(denoiser, run)
        except ValueError as error:
            raise InputError(f"guidance {sampling.guidance:g} by {sampling.guidance_method.name}: {error}") from None
        return core.Rescheduled(guided, schedule) if sampling.schedule else guided

    def _classifier(self, name: str) -> Callable[[Tensor, Tensor, core.Condition], Tensor]:
        """log p(prompt | x_t) of another model's classifier. Raises ModelError."""
        other = self._other(name)
        head, told = other.classifier, other.denoiser(other.network)
        if head is None:
            raise ModelError(f"{name}: holds no classifier; train one with train.objective=classifier")

        def log_probability(x_t: Tensor, t: Tensor, condition: core.Condition) -> Tensor:
            condition = condition or {}
            prompts = masked_mean(condition["tokens"], condition.get("tokens_mask"))
            return head.log_probability(features(told, x_t, t, condition), prompts)

        return log_probability

    def _other(self, name: str) -> Model:
        """Another model that works in the same space. Raises ModelError."""
        if self.others is None:
            raise ModelError(f"{self.name}: was not loaded from a folder and knows no other models")
        other = self.others(name)
        if what := self.recipe.apart(other.recipe):
            raise ModelError(f"{name}: cannot guide {self.name}, which has another {what}")
        return other

    def encode(self, media: Any, prompt: str = "") -> tuple[Tensor, dict[str, Tensor]]:
        """(x0 (1, *event) in model space, the condition of its length and the prompt). Raises MediaError."""
        self._takes(media)
        options = self.modality.options_of(media, self.recipe.options)
        with torch.no_grad():
            x0 = self.codec.encode([media]).to(self.device)  # type: ignore[operator]
        own = self.modality.extra_condition(self.codec, options, 1)
        return x0, {key: value.to(self.device) for key, value in own.items()} | self.tokens([prompt])

    def _takes(self, media: Any) -> None:
        kind = self.modality.media
        if not isinstance(media, kind):
            raise MediaError(
                f"{self.name} takes {kind.__name__}, not {type(media).__name__}; read a file with {kind.__name__}.read"
            )

    def _decode(self, x: Tensor, options: Any) -> list[Any]:
        with torch.no_grad():
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
        for prefix, module in (("network", self.network), ("codec", self.codec), ("classifier", self.classifier)):
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
