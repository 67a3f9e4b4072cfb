"""Training of a classifier of noisy media by caption, for guidance: the objective `classifier`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff import core
from multidiff.classifier import PromptClassifier, features
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.nn.embedding import masked_mean
from multidiff.train.objective import DenoiserObjective
from multidiff.train.pack import Pack

LEVELS = (-3.0, 0.0, 3.0)
"""Log-SNRs at which validation counts what is told right."""


class ClassifierObjective(DenoiserObjective):
    """Tell from x_t, at the recipe's own distribution of t, which of the pack's captions belongs to it.

    Cross-entropy over the captions; the network learns with its head. It is never told the prompt.
    """

    def __init__(self, model: Model, pack: Pack) -> None:
        """Raises InputError for data without two captions to tell apart."""
        super().__init__(model, pack)
        network: Any = model.network
        self.classes = torch.cat([rows.tensors["caption"] for rows in (pack.train, pack.val) if len(rows)]).unique()
        if len(self.classes) < 2 or self.tokens.shape[-1] == 0:
            raise InputError(
                f"{model.name}: a classifier needs a text encoder and items of at least two captions, "
                f"and these have {len(self.classes)}"
            )
        captions = masked_mean(self.tokens[self.classes].float(), self.tokens_mask[self.classes])
        self.head = PromptClassifier(network.width, captions).to(model.device)
        model.classifier = self.head
        self.groups = {"classifier": nn.ModuleDict({"network": network, "head": self.head})}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """One ("classifier", mean cross-entropy)."""
        t = self.loss.times(core.stratified(len(rows["caption"]), generator), self.denoiser.schedule)
        logits, label = self._logits(rows, t, generator)
        yield "classifier", F.cross_entropy(logits, label)

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The mean loss over LEVELS, and the share told right at each."""
        figures: dict[str, float] = {"loss": 0.0}
        for level in LEVELS:
            t = self.denoiser.schedule.inverse(torch.full((len(rows["caption"]),), level, dtype=torch.float64))
            logits, label = self._logits(rows, t, generator)
            figures["loss"] += float(F.cross_entropy(logits, label)) / len(LEVELS)
            figures[f"accuracy[{level:g}]"] = float((logits.argmax(dim=1) == label).float().mean())
        return figures

    def _logits(self, rows: dict[str, Tensor], t: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(of each caption (B, K), the right one (B,)) for rows noised to t (B,)."""
        batch, caption = self._batch(rows, generator)
        x_t = self.denoiser.schedule.diffuse(batch.x0, self.noise(batch.x0, generator), t)
        label = torch.searchsorted(self.classes.to(caption.device), caption)
        return self.head.logits(features(self.denoiser, x_t, t, batch.condition)), label
