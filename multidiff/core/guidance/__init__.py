"""Guidance: a denoiser made of a denoiser, so that every sampler works under it, by the names of the literature."""

from __future__ import annotations

from multidiff.core.guidance.auxiliary import Autoguidance, ClassifierGradient
from multidiff.core.guidance.classifier_free import AdaptiveProjected, CFGPlusPlus, ClassifierFree, Composed
from multidiff.core.method import Method

GUIDANCE: dict[str, Method] = {
    "classifier-free": Method(
        ClassifierFree, "away from the null condition; rescale, log-SNR interval", "Ho and Salimans 2022, 2207.12598"
    ),
    "apg": Method(AdaptiveProjected, "without the part along x0 that oversaturates", "Sadat et al. 2025, 2410.02416"),
    "cfg++": Method(CFGPlusPlus, "guided x0, unconditional noise; scale 0 to 1", "Chung et al. 2025, 2406.08070"),
    "composed": Method(Composed, "several conditions, weights, negatives", "Liu et al. 2022, 2206.01714"),
    "autoguidance": Method(Autoguidance, "away from a weaker model", "Karras et al. 2024, 2406.02507"),
    "classifier": Method(
        ClassifierGradient, "along the gradient of a classifier", "Dhariwal and Nichol 2021, 2105.05233"
    ),
}

__all__ = [
    "GUIDANCE",
    "AdaptiveProjected",
    "Autoguidance",
    "CFGPlusPlus",
    "ClassifierFree",
    "ClassifierGradient",
    "Composed",
]
