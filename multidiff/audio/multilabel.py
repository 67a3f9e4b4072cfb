"""Which of some labels a sound has, where it may have several or none: instruments that play together.

Each class is told by itself: the logit of each is its log odds, and a class counts as heard where it is likelier than
not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multidiff.audio.tagger import Tagger
from multidiff.errors import MediaError
from multidiff.modality import Example

SEPARATOR = "|"
"""Between the labels of a sound in its metadata."""


class MultiLabelTagger(Tagger):
    """The codec of a recipe with `codec.classes` and `codec.multi_label`."""

    shortest_crop, mixed = 0.5, 0.0
    """An instrument that is listed may pause, and its sounds are mixed already."""

    def label(self, example: Example) -> Tensor:
        """(K,) float, 1 for the classes that an example's label lists. Raises MediaError where one is none of them."""
        classes, labels = self.spec.classes, set(filter(None, example.label.split(SEPARATOR)))
        if unknown := sorted(labels - set(classes)):
            known = ", ".join(classes)
            raise MediaError(f"{example.source}: label '{unknown[0]}' is none of codec.classes ({known}); add it")
        return torch.tensor([float(name in labels) for name in classes])

    def distance(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy (B,), the mean over classes, of logits (B, K) and labels (B, K)."""
        return F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(dim=1)

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """`f1` of each class that occurs in labels (B, K), and `f1`, their mean."""
        each = f1(logits > 0, labels > 0.5)
        of_classes = zip(self.spec.classes, each.tolist(), strict=True)
        return {"f1": float(each.nanmean())} | {f"f1_{name}": f for name, f in of_classes if not math.isnan(f)}

    @torch.no_grad()
    def agreement(self, embeddings: Tensor, examples: Sequence[Example]) -> dict[str, float]:
        """How far what is heard in embeddings (N, width) is what the examples' texts name; nothing where none is named.

        `named_f1`: the mean of `f1` over classes that some text names. `named_heard`: the share of what is named that
        is heard.
        """
        named = torch.stack([self.named(example.text) for example in examples])
        if not named.any():
            return {}
        heard = self.head(embeddings).cpu() > 0
        return {"named_f1": float(f1(heard, named).nanmean()), "named_heard": float(heard[named].float().mean())}

    def named(self, text: str) -> Tensor:
        """Which classes a text names, (K,) bool: as words of it, hyphens aside, in the singular or plural."""
        said = text.lower().replace("-", "").replace("_", " ")
        words = [map(re.escape, name.lower().replace("-", "").split("_")) for name in self.spec.classes]
        return torch.tensor([bool(re.search(rf"\b{' ?'.join(each)}s?\b", said)) for each in words])


def f1(heard: Tensor, true: Tensor) -> Tensor:
    """(N, K) bool, (N, K) bool -> (K,): 2 hits / (heard + true) of each class; NaN for a class that is never true."""
    hits = (heard & true).sum(dim=0)
    return torch.where(true.any(dim=0), 2 * hits / (heard.sum(dim=0) + true.sum(dim=0)), torch.nan)
