"""What a model's denoiser tells besides samples: how likely media are, their features, the times that suit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multidiff import core
from multidiff.core import likelihood
from multidiff.core.features import features as activations
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.recipe import Recipe

PROBES = 4
"""Random probes of the trace of one log-likelihood."""


@dataclass(frozen=True)
class Score:
    """How usual one item is for a model, of x in model space with d elements.

    bits: the variational bound, in bits per element, of x as a continuous value (it may be negative). anomaly: the
    mean, in nats, of `elements` (1, *event), higher where it is less usual. log_likelihood: nats by the probability
    flow, None where it was not asked for.
    """

    bits: float
    anomaly: float
    elements: Tensor
    log_likelihood: float | None = None


def score(model: Model, media: Any, prompt: str = "", seed: int = 0, flow: bool = False) -> Score:
    """The score of media given a prompt, with the same noise for every item. Raises MediaError, and InputError for a
    model that has learned under correlated noise.

    120 evaluations of the network; `flow` adds 400 with a backward pass for each of 4 probes.
    """
    if model.recipe.diffusion.noise.name != "white":
        raise InputError(f"{model.name}: learned under correlated noise (diffusion.noise), which has no score yet")
    x0, condition = model.encode(media, prompt)
    denoiser = model.denoiser()
    noise = core.SeededNoise([seed], tuple(x0.shape[1:]), torch.float32, model.device)
    nats = likelihood.variational_bound(denoiser, x0, noise, condition).sum()
    anomaly, elements = likelihood.anomaly_score(denoiser, x0, noise, condition)
    exact = likelihood.log_likelihood(denoiser, x0, condition, noise, PROBES) if flow else None
    bits = likelihood.bits_per_dimension(nats, x0[0].numel())
    return Score(float(bits), float(anomaly), elements, None if exact is None else float(exact))


def features(
    model: Model, media: Any, layers: Sequence[str], log_snr: float = 2.0, prompt: str = "", seed: int = 0
) -> dict[str, Tensor]:
    """What the network's layers make of media at a noise level, each (1, ...) as the layer shapes it.

    Raises InputError for a layer that the network lacks or does not run, MediaError.
    """
    x0, condition = model.encode(media, prompt)
    noise = model.noise([seed], tuple(x0.shape[1:]))(0)
    try:
        with torch.no_grad():
            return activations(model.denoiser(), layers, x0, noise, log_snr, condition)
    except ValueError as error:
        raise InputError(f"{model.name}: {error}; `multidiff features {model.name}` lists its layers") from None


def with_grid(model: Model, steps: int, prompts: Sequence[str] = ("",), seed: int = 0) -> Recipe:
    """The model's recipe with the grid of `steps` times that its own local errors ask for (`core.optimised`).

    The errors are those of one sample for each prompt under the recipe's guidance. Raises InputError.
    """
    sampling = model.recipe.sample
    shape = model.modality.event_shape(model.codec, model.recipe.options)
    own = model.modality.extra_condition(model.codec, model.recipe.options, len(prompts))
    condition = {key: value.to(model.device) for key, value in own.items()} | model.tokens(prompts)
    denoiser = model.guided(sampling)
    noise = model.noise([seed + i for i in range(len(prompts))], shape)
    try:
        with torch.no_grad():
            times = core.optimised_times(denoiser, steps, noise, condition)
    except ValueError as error:
        raise InputError(str(error)) from None
    written = " ".join(f"{float(t):.6g}" for t in times)
    return model.recipe.override([f"sample.steps={steps}", f"sample.grid=fixed:times={written}"])
