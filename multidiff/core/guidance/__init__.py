"""Guidance: a denoiser made of a denoiser, so that every sampler works under it, by the names of the literature.

`make(GUIDANCE, name, options)` gives a `Guidance`: what remains is the denoiser and what only a run knows (`Guided`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from multidiff.core.denoiser import Denoiser, identity
from multidiff.core.guidance.auxiliary import Autoguidance, ClassifierGradient, LogProbability
from multidiff.core.guidance.blended import SHARE, Blended, ramp
from multidiff.core.guidance.classifier_free import AdaptiveProjected, CFGPlusPlus, ClassifierFree, Composed
from multidiff.core.method import Method


@dataclass(frozen=True)
class Guided:
    """What one run offers to guidance: its scale, its grid of times (N + 1,), the null condition (empty where a model
    takes no prompt), and what names stand for: a prompt's keys of the condition, a weaker model, a classifier."""

    scale: float
    null: Mapping[str, Tensor]
    times: Tensor
    clamp: Callable[[Tensor], Tensor] = identity
    prompt: Callable[[str], Mapping[str, Tensor]] = lambda text: {}
    model: Callable[[str], Denoiser] | None = None
    classifier: Callable[[str], LogProbability] | None = None


Guidance = Callable[[Denoiser, Guided], Denoiser]


def classifier_free(rescale: float = 0.0, start: float = -math.inf, end: float = math.inf) -> Guidance:
    """`ClassifierFree`."""

    def guide(denoiser: Denoiser, run: Guided) -> Denoiser:
        return ClassifierFree(denoiser, run.scale, run.null, run.clamp, rescale, start, end)

    return guide


def adaptive_projected(eta: float = 0.0, radius: float = math.inf) -> Guidance:
    """`AdaptiveProjected`."""
    return lambda denoiser, run: AdaptiveProjected(denoiser, run.scale, run.null, run.clamp, eta, radius)


def cfg_plus_plus() -> Guidance:
    """`CFGPlusPlus` on the run's own grid."""
    return lambda denoiser, run: CFGPlusPlus(denoiser, run.scale, run.null, run.times, run.clamp)


def composed(prompts: Mapping[str, float]) -> Guidance:
    """`Composed` of the run's prompt with the run's scale and of further `prompts` with weights of their own."""
    if not prompts:
        raise ValueError("prompts must name at least one prompt and its weight; a negative one is gone away from")

    def guide(denoiser: Denoiser, run: Guided) -> Denoiser:
        conditions = [{}, *(run.prompt(text) for text in prompts)]
        return Composed(denoiser, conditions, [run.scale, *prompts.values()], run.null, run.clamp)

    return guide


def autoguidance(weak: str) -> Guidance:
    """`Autoguidance` by the weaker model of this name."""

    def guide(denoiser: Denoiser, run: Guided) -> Denoiser:
        if run.model is None:
            raise ValueError("no other model is at hand")
        return Autoguidance(denoiser, run.scale, run.model(weak), run.clamp)

    return guide


def classifier(model: str) -> Guidance:
    """`ClassifierGradient` of the classifier of this name."""

    def guide(denoiser: Denoiser, run: Guided) -> Denoiser:
        if run.classifier is None:
            raise ValueError("no classifier is at hand")
        return ClassifierGradient(denoiser, run.scale, run.classifier(model), run.clamp)

    return guide


GUIDANCE: dict[str, Method] = {
    "classifier-free": Method(
        classifier_free, "away from the null condition; rescale, log-SNR interval", "Ho and Salimans 2022, 2207.12598"
    ),
    "apg": Method(adaptive_projected, "without the part along x0 that oversaturates", "Sadat et al. 2025, 2410.02416"),
    "cfg++": Method(cfg_plus_plus, "guided x0, unconditional noise; scale 0 to 1", "Chung et al. 2025, 2406.08070"),
    "composed": Method(composed, "several prompts, weights, negatives", "Liu et al. 2022, 2206.01714"),
    "autoguidance": Method(autoguidance, "away from a weaker model", "Karras et al. 2024, 2406.02507"),
    "classifier": Method(classifier, "along the gradient of a classifier", "Dhariwal and Nichol 2021, 2105.05233"),
}

__all__ = [
    "GUIDANCE",
    "SHARE",
    "AdaptiveProjected",
    "Autoguidance",
    "Blended",
    "CFGPlusPlus",
    "ClassifierFree",
    "ClassifierGradient",
    "Composed",
    "Guidance",
    "Guided",
    "ramp",
]
