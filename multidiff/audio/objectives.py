"""What trains the codec's autoencoder (`vae`), or a classifier (`tagger`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from multidiff.audio.batch import crop, sides, uniform
from multidiff.audio.codec import MelCodec
from multidiff.audio.tagger import Tagger
from multidiff.audio.vocoder import MEL_MEAN

VAE_FRAMES = 192
"""Mel frames of a training crop."""

QUIETEST = 0.1
"""Crops are turned down by a random factor between 1 and this: given recordings come at every level."""

MASKED, MIXED = 0.15, 0.4
"""Of the tagger's training: the largest share of frames and of bins that a mask hides, and that of a second sound."""


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
        room = (rows["samples"].cpu() // hop - VAE_FRAMES).clamp(min=0) + 1
        start = (uniform(len(room), generator) * room).long()
        gain = (math.log(QUIETEST) * uniform(len(room), generator)).to(log_mel)
        return crop(log_mel, start, VAE_FRAMES, math.log(self.codec.log_mel.floor)), gain[:, None, None]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, mean over the elements. Kingma and Welling 2014, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class TaggerObjective:
    """The tagger's distance from the labels of crops of one random length, changed as follows.

    Turned down; one band of frames and one of bins hidden (SpecAugment: Park et al. 2019, 1904.08779, section 2); a
    share of another sound mixed in, with its label (mixup: Zhang et al. 2018, 1710.09412, equation 1).
    """

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger
        self.groups: Mapping[str, nn.Module] = {"tagger": tagger}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        rows = sides(rows)
        log_mel, label, floor = rows["mel"].float(), rows["label"], math.log(self.tagger.log_mel.floor)
        count, _, frames = log_mel.shape
        shortest = self.tagger.shortest_crop
        size = round(frames * (shortest + (1 - shortest) * float(uniform(1, generator))))
        sounding = rows["samples"].cpu() // self.tagger.spec.mel.hop
        start = (uniform(count, generator) * ((sounding - size).clamp(min=0) + 1)).long()
        gain = math.log(QUIETEST) * uniform(count, generator)[:, None, None].to(log_mel)
        sound = (crop(log_mel, start, size, floor) + gain).clamp(min=floor)
        share = MIXED * uniform(count, generator).to(log_mel)
        mixed = torch.lerp(sound, sound.roll(1, 0), share[:, None, None])
        hidden = band(count, size, generator)[:, None] | band(count, log_mel.shape[1], generator)[:, :, None]
        logits = self.tagger(mixed.masked_fill(hidden.to(mixed.device), MEL_MEAN))
        own, other = (self.tagger.distance(logits, each) for each in (label, label.roll(1, 0)))
        yield "tagger", torch.lerp(own, other, share).mean()

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """The loss on whole clips, and how many are told right."""
        rows = sides(rows)
        logits, label = self.tagger(rows["mel"].float()), rows["label"]
        return {"loss": float(self.tagger.distance(logits, label).mean()), **self.tagger.scores(logits, label)}


def band(count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, size) bool: a run of up to MASKED of the size, anywhere."""
    width = MASKED * size * uniform(count, generator)
    start = ((size - width) * uniform(count, generator)).floor()
    index = torch.arange(size)
    return (index >= start[:, None]) & (index < (start + width)[:, None])
