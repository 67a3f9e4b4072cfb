"""What trains the codec: its autoencoder (`vae`) and its vocoder (`vocoder`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from multidiff.audio.batch import crop, uniform
from multidiff.audio.codec import MelCodec
from multidiff.audio.vocoder import SpectralLoss

VAE_FRAMES, VOCODER_FRAMES = 192, 64
"""Mel frames of a training crop."""

QUIETEST = 0.1
"""Crops are turned down by a random factor between 1 and this: given recordings come at every level."""


class AutoencoderObjective:
    """L1 distance of log-mels plus `codec.kl` times the divergence of the posterior from N(0, 1), per element."""

    def __init__(self, codec: MelCodec) -> None:
        self.codec = codec
        self.groups: Mapping[str, nn.Module] = {"vae": codec.autoencoder}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        model = self.codec.autoencoder
        log_mel, gain = self._crops(rows, generator)
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
        log_mel = rows["mel"].float()
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


class VocoderObjective:
    """Multi-resolution STFT loss plus the L1 distance of log-mels, on short crops."""

    def __init__(self, codec: MelCodec) -> None:
        self.codec = codec
        self.groups: Mapping[str, nn.Module] = {"vocoder": codec.vocoder}
        self.spectral = SpectralLoss()

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        samples = rows["samples"].cpu()
        size = self.codec.log_mel.samples(VOCODER_FRAMES)
        start = (uniform(len(samples), generator) * ((samples - size).clamp(min=0) + 1)).long()
        gain = QUIETEST ** uniform(len(samples), generator)
        wave = crop(rows["wave"].float() / 32768, start, size, 0.0)
        wave = wave * gain[:, None].to(wave)
        spectral, mel = self._distances(wave)
        yield "vocoder", spectral + mel

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """Both distances on whole clips."""
        spectral, mel = self._distances(rows["wave"].float() / 32768)
        return {"loss": float(spectral + mel), "spectral": float(spectral), "mel_l1": float(mel)}

    def _distances(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        # Spectra span more than half precision holds.
        with torch.autocast(wave.device.type, enabled=False):
            log_mel = self.codec.log_mel(wave)
            restored = self.codec.vocoder(log_mel)[:, : wave.shape[-1]]
            return self.spectral(restored, wave), (self.codec.log_mel(restored) - log_mel).abs().mean()
