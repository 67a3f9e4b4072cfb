"""The variational autoencoder between frames and the latents that the diffusion works on (Rombach et al. 2022,
2112.10752, section 3.1), each frame by itself.

Frames enter and leave as patches of pixels (pixel-unshuffle), which keeps sprites and text sharp where strides would
blur them, and what is between is convolutional: one trained at a size works at any that its factor divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from multidiff.nn.convnext import ConvNeXtBlock

BLOCKS, EXPANSION = 2, 3
"""At each resolution; of a block's feed-forward."""


class FrameAutoencoder(nn.Module):
    """Pixels (N, C, H, W) <-> standardised latents x (N, depth, H/f, W/f), with KL regularisation in training.

    f, `factor`, is the patch times 2 for every width but the first.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, colours: int, patch: int, widths: Sequence[int], depth: int) -> None:
        """widths: channels of each resolution, finest first."""
        super().__init__()
        self.factor = patch * 2 ** (len(widths) - 1)
        scale = 1 / (BLOCKS * len(widths))

        def stage(width: int) -> list[nn.Module]:
            return [ConvNeXtBlock(width, EXPANSION, scale, dims=2) for _ in range(BLOCKS)]

        patches, finest, coarsest = colours * patch**2, widths[0], widths[-1]
        encoder: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(patches, finest, 3, padding=1), *stage(finest)]
        decoder: list[nn.Module] = [*stage(finest), nn.Conv2d(finest, patches, 3, padding=1), nn.PixelShuffle(patch)]
        for fine, coarse in pairwise(widths):
            encoder += [nn.Conv2d(fine, coarse, 2, 2), *stage(coarse)]
            decoder = [*stage(coarse), nn.ConvTranspose2d(coarse, fine, 2, 2), *decoder]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(coarsest, 2 * depth, 1))
        self.decoder = nn.Sequential(nn.Conv2d(depth, coarsest, 3, padding=1), *decoder)
        self.register_buffer("latent_mean", torch.zeros(depth, 1, 1))
        self.register_buffer("latent_std", torch.ones(depth, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | pixels), each (N, depth, H/f, W/f), not yet standardised."""
        mean, log_variance = self.encoder(pixels.contiguous(memory_format=torch.channels_last)).chunk(2, dim=1)
        return mean, log_variance.clamp(-20.0, 10.0)

    def reconstruct(self, z: Tensor) -> Tensor:
        """Pixels (N, C, H, W) of z, a draw from the posterior; not held in bounds."""
        pixels: Tensor = self.decoder(z)
        return pixels

    def encode(self, pixels: Tensor) -> Tensor:
        """x: the posterior's mean, standardised per channel."""
        return (self.posterior(pixels)[0] - self.latent_mean) / self.latent_std

    def decode(self, x: Tensor) -> Tensor:
        """Pixels of x."""
        return self.reconstruct(x * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def track(self, z: Tensor, rate: float = 0.05) -> None:
        """Move the latent statistics towards those of a training batch z (N, depth, h, w)."""
        self.latent_mean.lerp_(z.mean(dim=(0, 2, 3))[:, None, None].to(self.latent_mean), rate)
        deviation = (z - self.latent_mean).square().mean(dim=(0, 2, 3)).sqrt()[:, None, None]
        self.latent_std.lerp_(deviation.to(self.latent_std), rate)
