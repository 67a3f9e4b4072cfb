"""How good sounds are, measured without any downloaded network.

Between a sound and its reconstruction: log-spectral distance and the multi-resolution STFT distance.
Between two sets of sounds: the Frechet distance on mel statistics, spectral centroids, the share of silent and
of clipping sounds, and the distance to the nearest real clip. None of these is FAD: that name belongs to VGGish.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from multidiff.audio.features import LogMel
from multidiff.audio.media import Audio

RATE = 22050
FLOOR = 1e-5
SILENT = 10 ** (-60 / 20)
"""Peak below which a sound counts as silent: -60 dB of full scale."""
CLIPPED = 1e-3
"""Share of samples at or beyond full scale from which a sound counts as clipping."""
RESOLUTIONS = ((1024, 256), (2048, 512), (512, 128))
"""(n_fft, hop) of the multi-resolution STFT distance."""


def log_spectral_distance(real: Tensor, generated: Tensor, n_fft: int = 1024, hop: int = 256) -> Tensor:
    """Waveforms (B, n) -> dB (B,): the mean over frames of the RMS over bins of the difference of levels.

    Gray and Markel 1976, "Distance measures for speech processing". Magnitudes are floored at 1e-5.
    """
    levels = [20 * _magnitude(x, n_fft, hop).clamp(min=FLOOR).log10() for x in (real, generated)]
    return (levels[0] - levels[1]).square().mean(dim=1).sqrt().mean(dim=1)


def multi_resolution_stft(real: Tensor, generated: Tensor) -> Tensor:
    """Waveforms (B, n) -> (B,): spectral convergence plus L1 of log magnitudes, the mean of three resolutions.

    Yamamoto et al. 2020 (1910.11480), equations 4-6, with periodic Hann windows of n_fft.
    """
    distances = []
    for n_fft, hop in RESOLUTIONS:
        a, b = _magnitude(real, n_fft, hop).clamp(min=FLOOR), _magnitude(generated, n_fft, hop).clamp(min=FLOOR)
        convergence = (a - b).flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)
        distances.append(convergence + (a.log() - b.log()).abs().flatten(1).mean(dim=1))
    return torch.stack(distances).mean(dim=0)


def spectral_centroid(audio: Audio) -> float:
    """Hz: the mean frequency of the power spectrum; 0 for digital silence."""
    power = np.abs(np.fft.rfft(audio.mono().samples[0])) ** 2
    frequency = np.fft.rfftfreq(audio.samples.shape[1], 1 / audio.rate)
    return float((power * frequency).sum() / power.sum()) if power.sum() > 0 else 0.0


def silence_rate(sounds: Sequence[Audio]) -> float:
    """Share of sounds whose peak is below -60 dB."""
    return float(np.mean([audio.peak < SILENT for audio in sounds]))


def clipping_rate(sounds: Sequence[Audio]) -> float:
    """Share of sounds with one sample in a thousand or more at or beyond full scale."""
    return float(np.mean([np.mean(np.abs(audio.samples) >= 1 - 2.0**-15) >= CLIPPED for audio in sounds]))


def mel_statistics(sounds: Sequence[Audio]) -> np.ndarray:
    """(N, 128): the mean and the standard deviation over time of each of 64 log-mel bins at 22.05 kHz."""
    rows = []
    for audio in sounds:
        mel = _log_mel()(torch.from_numpy(audio.mono().resample(RATE).samples))[0]
        rows.append(torch.cat([mel.mean(dim=1), mel.std(dim=1, correction=0)]).double().numpy())
    return np.stack(rows)


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of Gaussians fitted to rows (N, D), (M, D).

    Dowson and Landau 1982. Biased upwards by small sets: compare only numbers of equal N and M.
    """
    first, second = (x - x.mean(axis=0) for x in (real, generated))
    scale = np.sqrt(max(len(real) - 1, 1) * max(len(generated) - 1, 1))
    # tr (C1 C2)^(1/2) is the nuclear norm of X1 X2^T: exact also where sets are smaller than D.
    cross = np.linalg.svd(first @ second.T, compute_uv=False).sum() / scale
    spread = sum((x**2).sum() / max(len(x) - 1, 1) for x in (first, second))
    return float(((real.mean(axis=0) - generated.mean(axis=0)) ** 2).sum() + max(spread - 2 * cross, 0.0))


def nearest(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of M generated rows the distance to the nearest of N real rows (M,), and that row's index (M,).

    On mel statistics the RMS difference is near 0 for a copy of a training clip, also a shifted one.
    """
    distances = np.sqrt(((generated[:, None] - real[None]) ** 2).mean(axis=2))
    return distances.min(axis=1), distances.argmin(axis=1)


def metrics(real: Sequence[Audio], generated: Sequence[Audio]) -> dict[str, float]:
    """Figures of a set of generated sounds against a set of real ones; both not empty."""
    rows = mel_statistics(real), mel_statistics(generated)
    return {
        "mel_frechet": frechet_distance(*rows),
        "nearest_real": float(nearest(*rows)[0].mean()),
        "centroid_hz": float(np.mean([spectral_centroid(audio) for audio in generated])),
        "centroid_hz_real": float(np.mean([spectral_centroid(audio) for audio in real])),
        "silence_rate": silence_rate(generated),
        "clipping_rate": clipping_rate(generated),
    }


@cache
def _log_mel() -> LogMel:
    return LogMel(rate=RATE)


def _magnitude(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """(B, n) -> (B, n_fft/2 + 1, F)."""
    window = torch.hann_window(n_fft, device=waveform.device, dtype=waveform.dtype)
    return torch.stft(waveform, n_fft, hop, window=window, pad_mode="constant", return_complex=True).abs()
