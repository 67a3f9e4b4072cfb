"""The denoiser's training objective: prepared rows to the core's diffusion loss, and its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from multidiff import core
from multidiff.errors import ModelError, RecipeError
from multidiff.modality import Batch
from multidiff.model import Model
from multidiff.train.pack import Pack

EDGES = tuple(-6 + 11 / 8 * i for i in range(9))
"""Edges of the validation bins in log-SNR, log(alpha/sigma): the levels that sampling visits (the grid log-snr)."""


class DenoiserObjective:
    """Predict x0 from x_t (`multidiff.core.loss`), given the prompt and the medium's own condition.

    The prompt of an item is replaced by the empty string at the rate `text.drop`, so that one network serves both
    halves of classifier-free guidance (Ho and Salimans 2022, 2207.12598, algorithm 1).
    """

    def __init__(self, model: Model, pack: Pack) -> None:
        """Raises ModelError for a model without a network."""
        if model.network is None:
            raise ModelError(f"{model.name}: has no network to train; set train.objective to its codec objective")
        recipe = model.recipe
        self.modality, self.codec, self.data = model.modality, model.codec, recipe.data
        self.correlated = model.correlated
        self.denoiser = model.denoiser(model.network)
        diffusion = recipe.diffusion
        self.weighting, times = diffusion.loss.make(core.LOSSES), diffusion.times.make(core.TIMES)
        if isinstance(self.weighting, core.Hybrid) and not getattr(recipe.network, "learned_variance", False):
            raise RecipeError(f"{recipe.name}: diffusion.loss: hybrid needs network.learned_variance: true")
        try:
            self.loss = core.DiffusionLoss(self.weighting, times, diffusion.huber)
        except ValueError as error:
            raise RecipeError(f"{recipe.name}: diffusion: {error}") from None
        # A weighting that learns would make figures of different steps incomparable.
        fixed = core.make(core.LOSSES, "simple") if isinstance(self.weighting, nn.Module) else self.weighting
        self.loss_at = core.DiffusionLoss(fixed, lambda t, schedule: t, diffusion.huber)
        self.coupling = diffusion.coupling.make(core.COUPLINGS)
        learning = {"weighting": self.weighting, "times": times}
        self.groups: Mapping[str, nn.Module] = {
            "network": model.network,
            **{name: part for name, part in learning.items() if isinstance(part, nn.Module)},
        }
        self.drop = recipe.text.drop
        self.tokens, self.tokens_mask = pack.tokens.to(model.device), pack.tokens_mask.to(model.device)

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """("network", mean loss), and the weighting's own where it learns."""
        batch, caption = self._batch(rows, generator)
        kept = torch.rand(len(caption), generator=generator) >= self.drop
        u = core.stratified(len(caption), generator)
        condition = self._condition(batch, caption * kept.to(caption.device))
        noise = self.noise(batch.x0, generator)
        noise = noise[self.coupling(batch.x0, noise)]
        losses, log_snr = self.loss(self.denoiser, batch.x0, noise, u, condition, batch.weight)
        yield "network", losses.mean()
        if isinstance(self.weighting, core.Uncertainty):
            yield "weighting", self.weighting.own_loss(losses, log_snr).mean()

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The loss in each bin of log-SNR, every row at one point of every bin, and their mean.

        With an equally seeded generator the noise and the points are the same every time.
        """
        batch, caption = self._batch(rows, generator)
        condition = self._condition(batch, caption)
        places = (torch.arange(len(caption), dtype=torch.float64) + 0.5) / len(caption)
        figures: dict[str, float] = {}
        for low, high in pairwise(EDGES):
            t = self.denoiser.schedule.inverse(low + (high - low) * places)
            noise = self.noise(batch.x0, generator)
            losses, _ = self.loss_at(self.denoiser, batch.x0, noise, t, condition, batch.weight)
            figures[f"loss[{low:g},{high:g}]"] = float(losses.mean())
        return {"loss": sum(figures.values()) / len(figures), **figures}

    def noise(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Noise like x0 as sampling draws it, a function of `generator`."""
        return self.correlated(noise_like(x0, generator))

    def _batch(self, rows: dict[str, Tensor], generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The medium's batch and the items' caption indices (B,)."""
        media_rows = dict(rows)
        caption = media_rows.pop("caption")
        with torch.no_grad():
            return self.modality.batch(media_rows, self.codec, self.data, generator), caption

    def _condition(self, batch: Batch, caption: Tensor) -> dict[str, Tensor]:
        if self.tokens.shape[-1] == 0:
            return batch.condition
        tokens = self.tokens[caption].to(batch.x0.dtype)
        return {**batch.condition, "tokens": tokens, "tokens_mask": self.tokens_mask[caption]}


def noise_like(x0: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise like x0, a function of `generator` (CPU), drawn on x0's device, where it is fast."""
    seed = int(torch.randint(2**62, (), generator=generator))
    local = torch.Generator(x0.device).manual_seed(seed)
    return torch.randn(x0.shape, dtype=x0.dtype, device=x0.device, generator=local)
