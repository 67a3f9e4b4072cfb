"""The variational autoencoder between log-mel spectrograms and the latents that the diffusion works on.

`1d` takes the mel bins as channels and convolves over time only (Make-An-Audio 2, Huang et al. 2023, 2305.18474,
section 3.3). `2d` convolves over frequency too (AudioLDM, Liu et al. 2023, 2301.12503, section 3.1), so that a harmonic
is the same pattern wherever it lies (the card of `sfx` has what that brought). Its latent has one band of frequency for
every BAND bins; they lie in the channels, so that the diffusion sees (B, C, T) either way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.audio.vocoder import MEL_MEAN, MEL_STD
from multidiff.nn.convnext import ConvNeXtBlock

BINS, BAND = 4, 8
"""Mel bins in a patch and in a band of the latent of `2d`."""
BLOCKS = 2
"""At each resolution of `2d`."""
KERNEL = 7


class MelAutoencoder(nn.Module):
    """Log-mel (B, M, F) <-> standardised latent x (B, C, F / compression), with KL regularisation in training."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, kind: str, n_mels: int, channels: int, compression: int, width: int) -> None:
        """kind: 1d or 2d; width: of the widest layers."""
        super().__init__()
        self.compression = compression
        make = _over_time_and_frequency if kind == "2d" else _over_time
        self.encoder, self.decoder, self.reach = make(n_mels, channels, compression, width)
        """`reach`: mel frames on each side of one that its reconstruction depends on."""
        self.register_buffer("latent_mean", torch.zeros(channels, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1))

    def posterior(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | mel), each (B, C, ceil(F / compression)), not yet standardised."""
        short = -log_mel.shape[-1] % self.compression
        mel = (F.pad(log_mel, (0, short), mode="replicate") - MEL_MEAN) / MEL_STD
        mean, log_variance = self.encoder(mel).chunk(2, dim=1)
        return mean, log_variance.clamp(-20.0, 10.0)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Log-mel (B, M, T * compression) of z (B, C, T), a draw from the posterior."""
        return self.decoder(z) * MEL_STD + MEL_MEAN

    def encode(self, log_mel: Tensor) -> Tensor:
        """x (B, C, ceil(F / compression)): the posterior's mean, standardised per channel."""
        return (self.posterior(log_mel)[0] - self.latent_mean) / self.latent_std

    def decode(self, x: Tensor) -> Tensor:
        """Log-mel (B, M, T * compression) of x (B, C, T)."""
        return self.reconstruct(x * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def track(self, z: Tensor, rate: float = 0.05) -> None:
        """Move the latent statistics towards those of a training batch z (B, C, T)."""
        self.latent_mean.lerp_(z.mean(dim=(0, 2))[:, None].to(self.latent_mean), rate)
        deviation = (z - self.latent_mean).square().mean(dim=(0, 2)).sqrt()[:, None]
        self.latent_std.lerp_(deviation.to(self.latent_std), rate)


Networks = tuple[nn.Sequential, nn.Sequential, int]
"""Encoder (B, M, F) -> (B, 2 C, F / compression), decoder (B, C, T) -> (B, M, T * compression), reach."""


def _over_time(n_mels: int, channels: int, compression: int, width: int) -> Networks:
    stages = compression.bit_length() - 1
    scale = 1 / (stages + 1)
    encoder: list[nn.Module] = [nn.Conv1d(n_mels, width, 3, padding=1)]
    decoder: list[nn.Module] = [nn.Conv1d(channels, width, 3, padding=1), ConvNeXtBlock(width, 3, scale)]
    for _ in range(stages):
        encoder += [ConvNeXtBlock(width, 3, scale), nn.Conv1d(width, width, 4, stride=2, padding=1)]
        decoder += [nn.ConvTranspose1d(width, width, 4, stride=2, padding=1), ConvNeXtBlock(width, 3, scale)]
    encoder += [ConvNeXtBlock(width, 3, scale), nn.Conv1d(width, 2 * channels, 3, padding=1)]
    decoder += [nn.Conv1d(width, n_mels, 3, padding=1)]
    reach = 4 * compression + sum(5 << i for i in range(stages)) + 1
    return nn.Sequential(*encoder), nn.Sequential(*decoder), reach


def _over_time_and_frequency(n_mels: int, channels: int, compression: int, width: int) -> Networks:
    """Patches of BINS x 2, then of 2 x the rest; half the width at the finer resolution."""
    fine = BINS, min(2, compression)
    coarse = BAND // BINS, compression // fine[1]
    bands, depth = n_mels // BAND, channels // (n_mels // BAND)
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, n_mels)),
        nn.Conv2d(1, width // 2, fine, fine),
        *_stage(width // 2, n_mels // BINS),
        nn.Conv2d(width // 2, width, coarse, coarse),
        *_stage(width, bands),
        nn.Conv2d(width, 2 * depth, 1),
        nn.Flatten(1, 2),
    )
    decoder = nn.Sequential(
        nn.Unflatten(1, (depth, bands)),
        nn.Conv2d(depth, width, 1),
        *_stage(width, bands),
        nn.ConvTranspose2d(width, width // 2, coarse, coarse),
        *_stage(width // 2, n_mels // BINS),
        nn.ConvTranspose2d(width // 2, 1, fine, fine),
        nn.Flatten(1, 2),
    )
    return encoder, decoder, BLOCKS * (KERNEL // 2) * (compression + fine[1])


def _stage(width: int, rows: int) -> list[nn.Module]:
    return [Rows(width, rows), *(ConvNeXtBlock(width, 3, 1 / (2 * BLOCKS), KERNEL, 2) for _ in range(BLOCKS))]


class Rows(nn.Module):
    """Tells each row of (B, D, rows, T) apart, since high and low frequencies are no translations of each other."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(width, rows, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.place
