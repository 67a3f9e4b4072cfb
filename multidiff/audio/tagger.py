"""Which of some labels a sound has, and an embedding of it for the metrics.

A convolutional network on the log-mel spectrogram in the manner of PANNs (Kong et al. 2020, 1912.10211, section II):
blocks that halve time and frequency, the mean over frequency, and the mean plus the maximum over time, so that sounds
may be of any length. At width 112 it has 76 k parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.audio.codec import CodecSpec, MelModule
from multidiff.audio.media import Audio
from multidiff.audio.vocoder import MEL_MEAN, MEL_STD
from multidiff.errors import MediaError, ModelError
from multidiff.modality import Example

BLOCKS = 4


class MelCNN(MelModule):
    """A codec that listens: it encodes sounds into embeddings (N, ...), and decodes nothing."""

    shortest_crop, mixed = 0.1, 0.4
    """Of its training: the shortest crop as a share of the clip, and the largest share of a second sound."""

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__(spec)
        widths = [1, *(max(spec.width >> (BLOCKS - 1 - i), 1) for i in range(BLOCKS))]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [conv, nn.BatchNorm2d(after), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)]
        self.blocks = nn.Sequential(*blocks)

    def pooled(self, log_mel: Tensor) -> Tensor:
        """(B, M, F) -> (B, width)."""
        over_time = self.blocks(((log_mel - MEL_MEAN) / MEL_STD)[:, None]).mean(dim=2)
        pooled: Tensor = over_time.mean(dim=2) + over_time.amax(dim=2)
        return pooled

    def embed(self, log_mel: Tensor) -> Tensor:
        """(B, M, F) -> what `encode` makes of each."""
        return self.pooled(log_mel)

    @torch.no_grad()
    def encode(self, media: Sequence[Audio]) -> Tensor:
        """Embeddings (N, ...), each of a sound at its own length and level."""
        device = self.log_mel.window.device
        return torch.cat([self.embed(self.log_mel(self.wave(audio).to(device))) for audio in media])

    def decode(self, x: Tensor, options: Any) -> list[Audio]:
        """Raises ModelError."""
        raise ModelError(f"a {type(self).__name__.lower()} listens to sounds; it cannot make any")


class Tagger(MelCNN):
    """The codec of a recipe with `codec.classes`: its embeddings are (N, width)."""

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__(spec)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(spec.width, len(spec.classes)))

    def forward(self, log_mel: Tensor) -> Tensor:
        """(B, M, F) -> logits (B, K) of `spec.classes`."""
        logits: Tensor = self.head(self.embed(log_mel))
        return logits

    @torch.no_grad()
    def guesses(self, embeddings: Tensor) -> list[str]:
        """The likeliest label of each of the embeddings (N, width)."""
        return [self.spec.classes[index] for index in self.head(embeddings).argmax(dim=1).tolist()]

    def label(self, example: Example) -> Tensor:
        """The index () of an example's label. Raises MediaError where it is none of the classes."""
        if example.label not in self.spec.classes:
            known = ", ".join(self.spec.classes)
            raise MediaError(f"{example.source}: label '{example.label}' is none of codec.classes ({known}); add it")
        return torch.tensor(self.spec.classes.index(example.label))

    def distance(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What training minimises, (B,), of logits (B, K) and the labels of B examples: the cross-entropy."""
        return F.cross_entropy(logits, labels, reduction="none")

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """The share of sounds told right."""
        return {"accuracy": float((logits.argmax(dim=1) == labels).float().mean())}

    def agreement(self, embeddings: Tensor, examples: Sequence[Example]) -> dict[str, float]:
        """`class_accuracy`: the share of examples that it tells right by embeddings (N, width), of those whose label is
        one of its classes; nothing where there are none."""
        pairs = zip(self.guesses(embeddings), (example.label for example in examples), strict=True)
        told = [guess == label for guess, label in pairs if label in self.spec.classes]
        return {"class_accuracy": sum(told) / len(told)} if told else {}
