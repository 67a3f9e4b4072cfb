"""A classifier of noisy media by prompt, for guidance along its gradient.

A network of the medium's own kind reads x_t; its pooled activations f, projected, are compared with the mean token e of
a prompt, as CLIP compares pictures with captions. GLIDE guides by such a noise-aware CLIP (Nichol et al. 2022,
2112.10741, section 2.4); normalised over the captions of the training set it is a classifier of them:

    log p(prompt | x_t) = s cos(f(x_t), e(prompt)) - log sum_k exp(s cos(f(x_t), e(caption_k)))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.core import NetworkDenoiser, expand

UNTOLD = ("tokens", "tokens_mask", "known", "mask")
"""What a classifier is not told: the prompt, which it shall tell, and the clean parts of x0."""
SHARPNESS = 10.0
"""The scale s before training."""


def features(denoiser: NetworkDenoiser, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
    """(B, width): the pooled activations of the denoiser's network at x_t (B, *event), t (B,), untold what is known."""
    own = {key: value for key, value in condition.items() if key not in UNTOLD}
    x = expand(denoiser.parameterization.input_scale(denoiser.schedule, t), x_t) * x_t
    network: Any = denoiser.network
    pooled: Tensor = network.features(x, denoiser.schedule.log_snr(t).to(x), own)
    return pooled


class PromptClassifier(nn.Module):
    """The head on a network's features (B, width); `captions` (K, D) are the mean tokens of those it was trained on."""

    captions: Tensor

    def __init__(self, width: int, captions: Tensor) -> None:
        super().__init__()
        self.register_buffer("captions", captions.float())
        self.project = nn.Linear(width, captions.shape[1])
        self.log_scale = nn.Parameter(torch.full((), math.log(SHARPNESS)))

    def logits(self, features: Tensor) -> Tensor:
        """Of each caption: (B, width) -> (B, K)."""
        return self._scaled(features) @ F.normalize(self.captions, dim=1).T

    def log_probability(self, features: Tensor, prompts: Tensor) -> Tensor:
        """log p (B,) of prompts (B, D), mean tokens, which need not be among the captions."""
        own = (self._scaled(features) * F.normalize(prompts.to(features), dim=1)).sum(dim=1)
        return own - torch.logsumexp(self.logits(features), dim=1)

    def _scaled(self, features: Tensor) -> Tensor:
        return self.log_scale.exp().clamp(max=100.0) * F.normalize(self.project(features), dim=1)
