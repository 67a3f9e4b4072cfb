"""How alike a sound and a prompt are: a small contrastive audio-text model in the manner of CLAP.

The tagger's network on the log-mel spectrogram and the frozen text encoder's mean token, each followed by a linear map
into one space, where cosines compare them (Elizalde et al. 2023, 2206.04769, section 2; Wu et al. 2023, 2211.06687).
At width 112 and joint 128 it has 0.14 M parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.audio.codec import CodecSpec
from multidiff.audio.media import Audio
from multidiff.audio.tagger import MelCNN

SHARPNESS, SHARPEST = 1 / 0.07, 100.0
"""The scale of the cosines before training, and its bound: 1/temperature of CLIP (Radford et al. 2021, 2.5)."""


class Scorer(MelCNN):
    """The codec of a recipe with `codec.joint`: it encodes sounds into that space (N, joint), and decodes nothing."""

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__(spec)
        self.audio = nn.Sequential(nn.Dropout(0.3), nn.Linear(spec.width, spec.joint))
        self.text = nn.Linear(spec.text_dim, spec.joint)
        self.log_scale = nn.Parameter(torch.tensor(math.log(SHARPNESS)))

    def embed(self, log_mel: Tensor) -> Tensor:
        """(B, M, F) -> (B, joint), of norm 1."""
        return F.normalize(self.audio(self.pooled(log_mel)), dim=1)

    def embed_text(self, captions: Tensor) -> Tensor:
        """Mean token states (K, text_dim) -> (K, joint), of norm 1."""
        return F.normalize(self.text(F.normalize(captions, dim=1)), dim=1)

    @torch.no_grad()
    def similarity(self, media: Sequence[Audio], captions: Tensor) -> Tensor:
        """Cosines (N, K) of sounds and of captions' mean token states (K, text_dim)."""
        return self.encode(media) @ self.embed_text(captions).T

    def forward(self, log_mel: Tensor, captions: Tensor) -> Tensor:
        """(B, M, F), (K, text_dim) -> logits (B, K): scaled cosines."""
        cosines = self.embed(log_mel) @ self.embed_text(captions).T
        return self.log_scale.exp().clamp(max=SHARPEST) * cosines
