"""What spoils recordings: noise and lost high frequencies, for training, and for figures of what undoes them."""

from __future__ import annotations

import torch
from torch import Tensor

LOUDEST, QUIETEST = 0.0, 25.0
"""dB of the sound over the noise."""
LOWEST, HIGHEST = 0.06, 0.36
"""Cutoffs as shares of the rate: 1.3 to 7.9 kHz at 22.05 kHz."""
STEEPEST = 1.0
"""The noise's amplitude falls with frequency^-a, a from 0 (white) to this (Brownian)."""


def spoiled(waves: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    """Waveforms (B, S, n) with noise, where shares[0] (B,) is below a half, or else without high frequencies.

    How much and of what colour say shares[1] and shares[2] (B,), all numbers in [0, 1).
    """
    kind, amount, colour = shares.to(waves)[..., None, None]
    noise = torch.randn(waves.shape, generator=generator, device=generator.device).to(waves)
    noisy = with_noise(waves, coloured(noise, STEEPEST * colour), LOUDEST + (QUIETEST - LOUDEST) * amount)
    muffled = low_passed(waves, LOWEST * (HIGHEST / LOWEST) ** amount)
    return torch.where(kind < 0.5, noisy, muffled)


def with_noise(waves: Tensor, noise: Tensor, snr: Tensor | float) -> Tensor:
    """Waveforms (..., n) with noise `snr` dB below them, both measured over the whole."""
    level = waves.square().mean(dim=-1, keepdim=True) / noise.square().mean(dim=-1, keepdim=True).clamp(min=1e-12)
    return waves + noise * (level * 10 ** (-torch.as_tensor(snr) / 10)).sqrt()


def coloured(noise: Tensor, steepness: Tensor | float) -> Tensor:
    """White noise (..., n) with its amplitude falling as frequency^-steepness."""
    spectrum = torch.fft.rfft(noise)
    bins = torch.arange(1, spectrum.shape[-1] + 1, device=noise.device)
    return torch.fft.irfft(spectrum * bins ** -torch.as_tensor(steepness), noise.shape[-1])


def low_passed(waves: Tensor, cutoff: Tensor | float) -> Tensor:
    """Waveforms (..., n) without what lies above `cutoff`, a share of the rate."""
    spectrum = torch.fft.rfft(waves)
    frequency = torch.fft.rfftfreq(waves.shape[-1]).to(waves.device)
    return torch.fft.irfft(spectrum * (frequency <= torch.as_tensor(cutoff)), waves.shape[-1])
