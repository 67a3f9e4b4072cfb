"""Trained = a recipe's modules: codec, network, prompt encoder, and the denoiser they make.

A model's folder holds `model.safetensors` (tensors named `network.*` and `codec.*`), `recipe.yaml` and
`README.md` (the model card). Weights are safetensors only; nothing in the folder can name code to run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import multidiff
from multidiff import core, text
from multidiff.classifier import PromptClassifier, features
from multidiff.errors import InputError, MediaError, ModelError, did_you_mean
from multidiff.files import folder as writable_folder
from multidiff.files import save_tensors, written_whole
from multidiff.modality import Looping, Modality, Scored
from multidiff.nn.embedding import masked_mean
from multidiff.recipe import Recipe
from multidiff.specs import SampleSpec

FORMAT = "1"
"""Version of the checkpoint layout, in the metadata of model.safetensors."""

PRECISIONS = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def checked(prompt: str) -> str:
    """A prompt as it is. Raises InputError for what is none."""
    if not isinstance(prompt, str):
        raise InputError(f"prompt {prompt!r}: give a text; for several prompts call once for each")
    return prompt


class Trained:
    """The parts of a trained (or freshly built) model of one medium; `Model` is what they can be asked for.

    `network` is None where a recipe trains only a codec; such a model cannot sample.
    """

    def __init__(
        self,
        recipe: Recipe,
        modality: Modality,
        codec: nn.Module,
        network: nn.Module | None,
        precision: str = "auto",
        others: Callable[[str], Trained] | None = None,
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
        self.captions: tuple[str, ...] = ()
        """Of what it learned from, the most frequent first."""

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
        return self.recipe.diffusion.denoiser(network, self.clamp)

    def clamp(self, x0: Tensor) -> Tensor:
        """x0 in the bounds of its model space, if it has any."""
        clamped: Tensor = self.modality.clamp(x0, self.codec)
        return clamped

    def correlated(self, noise: Tensor) -> Tensor:
        """White noise (B, *event) as the recipe's diffusion correlates it along time."""
        correlation: core.Correlation = self.recipe.diffusion.noise.make(core.NOISES)
        return noise if self.modality.time_axis is None else correlation(noise, self.modality.time_axis)

    def noise(self, seeds: Sequence[int], shape: tuple[int, ...]) -> core.Noise:
        """The noise of samples (B, *shape), one seed for each, correlated likewise."""
        white = core.SeededNoise(seeds, shape, torch.float32, self.device)
        return lambda step, stream=0: self.correlated(white(step, stream))

    def tokens(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The condition that prompts make: `tokens` (B, L, D) and `tokens_mask` (B, L); empty without an encoder."""
        for prompt in prompts:
            checked(prompt)
        if self.text.dim == 0:
            self.text.encode(prompts)
            return {}
        tokens, mask = self.text.encode(prompts)
        return {"tokens": tokens.to(self.device), "tokens_mask": mask.to(self.device)}

    def guided(self, sampling: SampleSpec) -> core.Denoiser:
        """The denoiser under the guidance and the schedule that are asked for. Raises InputError, ModelError."""
        denoiser = self.denoiser()
        schedule = sampling.on(denoiser.schedule)
        times = denoiser.schedule.inverse(schedule.log_snr(sampling.times(denoiser.schedule)))
        run = core.Guided(
            sampling.guidance,
            self.tokens([sampling.negative]),
            times,
            self.clamp,
            prompt=lambda text: self.tokens([text]),
            model=lambda name: self._other(name).denoiser(),
            classifier=self._classifier,
        )
        try:
            guided: core.Denoiser = sampling.guidance_method.make(core.GUIDANCE)(denoiser, run)
        except ValueError as error:
            raise InputError(f"guidance {sampling.guidance:g} by {sampling.guidance_method.name}: {error}") from None
        return self.under(guided, sampling)

    @staticmethod
    def under(denoiser: core.Denoiser, sampling: SampleSpec) -> core.Denoiser:
        """A denoiser under the schedule that is asked for."""
        return core.Rescheduled(denoiser, sampling.on(denoiser.schedule)) if sampling.schedule else denoiser

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

    def _other(self, name: str) -> Trained:
        """Another model that works in the same space. Raises ModelError."""
        if self.others is None:
            raise ModelError(f"{self.name}: was not loaded from a folder and knows no other models")
        other = self.others(name)
        if what := self.recipe.apart(other.recipe):
            raise ModelError(f"{name}: cannot guide {self.name}, which has another {what}")
        return other

    def similarity(self, media: Sequence[Any], prompts: Sequence[str]) -> Tensor:
        """Cosines (N, K) of media and prompts that a scorer finds. Raises InputError for a model that is none."""
        if not isinstance(self.modality, Scored) or self.text.dim == 0:
            raise InputError(f"{self.name}: is no scorer, which tells how alike media and prompts are")
        told = self.tokens(prompts)
        means = masked_mean(told["tokens"], told["tokens_mask"])
        return self.modality.similarity(self.codec, media, means)

    def fitness(self, prompt: str) -> Callable[[Any], float]:
        """How alike a prompt and one item are, by the medium's own scorer.

        Raises InputError for a medium without one, a model without prompts or an empty one, ModelError where the scorer
        is missing.
        """
        if not isinstance(self.modality, Scored) or self.others is None or self.text.dim == 0:
            raise InputError(f"{self.name}: has no scorer that could rank candidates by a prompt; leave best-of out")
        if not checked(prompt).strip():
            raise InputError("best-of ranks candidates by how alike they are to a prompt; give one")
        scorer = self.others(self.modality.scorer)
        return lambda item: float(scorer.similarity([item], [prompt]))

    def described(self, media: Any) -> str:
        """The likeliest of the model's captions for one item, by the medium's own scorer; empty without either."""
        if not isinstance(self.modality, Scored) or self.others is None or self.text.dim == 0 or not self.captions:
            return ""
        try:
            scorer = self.others(self.modality.scorer)
        except ModelError:
            return ""
        return self.captions[int(scorer.similarity([media], self.captions).argmax())]

    def encode(self, media: Any, prompt: str = "", loop: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """(x0 (1, *event) in model space, the condition of its length and the prompt). Raises MediaError."""
        self._takes(media)
        options, codec = self.modality.options_of(media, self.recipe.options), cast(Any, self.codec)
        loop = loop and isinstance(codec, Looping)
        with torch.no_grad():
            x0 = (codec.encode_loop([media], options) if loop else codec.encode([media])).to(self.device)
        own = self.modality.extra_condition(codec, codec.closed(options) if loop else options, 1)
        return x0, {key: value.to(self.device) for key, value in own.items()} | self.tokens([prompt])

    def _takes(self, media: Any) -> None:
        kind = self.modality.media
        if not isinstance(media, kind):
            raise MediaError(
                f"{self.name} takes {kind.__name__}, not {type(media).__name__}; read a file with {kind.__name__}.read"
            )

    def _closed(self, options: Any) -> Any:
        """The options of x that goes round."""
        return self.codec.closed(options) if isinstance(self.codec, Looping) else options

    def _decode(self, x: Tensor, options: Any, loop: bool = False) -> list[Any]:
        decode: Any = self.codec.decode_loop if loop and isinstance(self.codec, Looping) else self.codec.decode
        with torch.no_grad():
            media: list[Any] = decode(x.float(), options)
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
        metadata["captions"] = json.dumps(self.captions)
        save_tensors(folder / "model.safetensors", tensors, metadata)
        with written_whole(folder / "recipe.yaml") as temporary:
            temporary.write_text(self.recipe.as_yaml(), "utf-8")
        if card is not None:
            with written_whole(folder / "README.md") as temporary:
                temporary.write_text(card, "utf-8")
        return folder
