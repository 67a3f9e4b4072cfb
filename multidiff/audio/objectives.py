"""What trains the codec's autoencoder (`vae`), or a classifier (`tagger`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from multidiff.audio.augment import varied
from multidiff.audio.batch import QUIETEST, crop, sides, starts, uniform
from multidiff.audio.codec import MelCodec
from multidiff.audio.tagger import Tagger

VAE_FRAMES = 192
"""Mel frames of a training crop."""


class AutoencoderObjective:
    """L1 distance of log-mels plus `codec.kl` times the divergence of the posterior from N(0, 1), per element."""

    def __init__(self, codec: MelCodec) -> None:
        self.codec = codec
        self.groups: Mapping[str, nn.Module] = {"vae": codec.autoencoder}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        model = self.codec.autoencoder
        log_mel, gain = self._crops(sides(rows), generator)
        log_mel = (log_mel + gain).clamp(min=math.log(self.codec.log_mel.floor))
        mean, log_variance = model.posterior(log_mel)
        noise = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean)
        model.track(mean)
        restored = model.reconstruct(mean + (0.5 * log_variance).exp() * noise)
        distance = (restored - log_mel).abs().mean()
        yield "vae", distance + self.codec.spec.kl * divergence(mean, log_variance)

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """`mel_l1` in nats, `divergence` in nats per latent element, `latent_std` of x, which should be near 1."""
        model = self.codec.autoencoder
        log_mel = sides(rows)["mel"].float()
        mean, log_variance = model.posterior(log_mel)
        x = model.encode(log_mel)
        distance = (model.decode(x)[..., : log_mel.shape[-1]] - log_mel).abs().mean()
        return {
            "loss": float(distance + self.codec.spec.kl * divergence(mean, log_variance)),
            "mel_l1": float(distance),
            "divergence": float(divergence(mean, log_variance)),
            "latent_std": float(x.std()),
        }

    def _crops(self, rows: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Log-mels (B, M, VAE_FRAMES) and log gains (B, 1, 1)."""
        log_mel, hop = rows["mel"].float(), self.codec.spec.mel.hop
        start = starts(rows["samples"].cpu() // hop, VAE_FRAMES, generator)
        gain = (math.log(QUIETEST) * uniform(len(start), generator)).to(log_mel)
        return crop(log_mel, start, VAE_FRAMES, math.log(self.codec.log_mel.floor)), gain[:, None, None]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, mean over the elements. Kingma and Welling 2014, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class TaggerObjective:
    """The tagger's distance from the labels of varied crops; a sound mixed of two has the labels of both."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        self.groups: Mapping[str, nn.Module] = {"tagger": tagger}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        rows = sides(rows)
        sound, share = varied(rows, self.tagger, generator)
        logits, label = self.tagger(sound), rows["label"]
        own, other = (self.tagger.distance(logits, each) for each in (label, label.roll(1, 0)))
        yield "tagger", torch.lerp(own, other, share).mean()

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The loss on whole clips, and how many are told right."""
        rows = sides(rows)
        logits, label = self.tagger(rows["mel"].float()), rows["label"]
        return {"loss": float(self.tagger.distance(logits, label).mean()), **self.tagger.scores(logits, label)}
