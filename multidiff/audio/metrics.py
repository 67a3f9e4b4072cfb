"""How good sounds are, measured without any downloaded network.

Between a sound and its reconstruction: log-spectral distance and the multi-resolution STFT distance.
Between two sets of sounds: the Frechet distance on mel statistics, spectral centroids, the share of silent and
of clipping sounds, and the distance to the nearest real or training clip. With a classifier trained by
recipes/audio/classifier.yaml, the judge: the share of sounds of the class that was asked for, the Frechet and the
kernel distance of its embeddings. None of these is FAD: that name belongs to VGGish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from multidiff.audio.features import LogMel
from multidiff.audio.media import Audio
from multidiff.audio.tagger import Tagger
from multidiff.errors import InputError
from multidiff.modality import Example

RATE = 22050
FLOOR = 1e-5
SILENT = 10 ** (-60 / 20)
"""Peak below which a sound counts as silent: -60 dB of full scale."""
CLIPPED = 1e-3
"""Share of samples at or beyond full scale from which a sound counts as clipping."""
RESOLUTIONS = ((1024, 256), (2048, 512), (512, 128))
"""(n_fft, hop) of the multi-resolution STFT distance."""
NEAR, FAR = 0.005, 0.05
"""Seconds beside a seam that belong to it, and beyond them that it is compared with."""
BEND = 1e-10
"""Power of a second difference that counts as none: that of rounding to 16 bits."""
PLACES = 100
"""Of a loop, at which its seam is looked at, and for comparison others."""
NORMAL_95 = 1.96
"""Standard errors on each side of an estimate that hold the truth in 95 of 100 cases."""


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


def seam_energy(audio: Audio, seam: int) -> float:
    """dB: what the second difference holds within 5 ms of sample `seam` against the mean level of the 50 ms before and
    of those after.

    About 0 where sound goes on, rises or decays; a click makes it high, a hole low. The mean of the channels is
    measured.
    """
    bend = np.diff(audio.mono().samples[0].astype(np.float64), n=2, append=0, prepend=0) ** 2
    near, far = round(NEAR * audio.rate), round(FAR * audio.rate)
    before, after = max(seam - near, 0), seam + near
    parts = bend[before:after], bend[max(before - far, 0) : before], bend[after : after + far]
    here, *beside = (10 * np.log10(part.mean() + BEND) for part in parts if part.size)
    return float(here - np.mean(beside))


def loop_energy(audio: Audio, place: int = 0) -> float:
    """dB: `seam_energy` at a sample of a sound that is played as a loop; at 0 its end meets its beginning."""
    reach = round(2 * (NEAR + FAR) * audio.rate)
    around = np.arange(place - reach, place + reach) % audio.samples.shape[1]
    return seam_energy(Audio(audio.samples[:, around], audio.rate), reach)


def loop_metrics(sounds: Sequence[Audio]) -> dict[str, float]:
    """How far the seam of loops is like other places of the same sounds, PLACES spread evenly over each.

    `loop_seam`: the median over sounds of the magnitude of `loop_energy`, dB; `loop_elsewhere`: that of other places.
    `loop_rank`: the mean share of a sound's other places whose magnitude is larger, ties half: 0.5 where the seam
    cannot be told from any other place, 0 where it always stands out.
    """
    found = []
    for audio in sounds:
        places = range(0, PLACES * (size := audio.samples.shape[1]), size)
        found.append([abs(loop_energy(audio, place // PLACES)) for place in places])
    seams, others = np.array(found)[:, :1], np.array(found)[:, 1:]
    return {
        "loop_seam": float(np.median(seams)),
        "loop_elsewhere": float(np.median(others)),
        "loop_rank": float(((others > seams).mean() + (others >= seams).mean()) / 2),
    }


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


def bandwidth(real: np.ndarray) -> float:
    """The median distance between two of N rows (N, D), the width of the kernel in `kernel_distance`."""
    distances = np.sqrt(_squared(real, real)[np.triu_indices(len(real), 1)])
    return float(np.median(distances)) or 1.0


def kernel_distance(real: np.ndarray, generated: np.ndarray, width: float) -> float:
    """KAD of rows (N, D) and (M, D): 100 times the unbiased squared maximum mean discrepancy.

    Chung et al. 2025 (2502.15602), with k(x, y) = exp(-|x - y|^2 / (2 width^2)); the estimate is equation 3 of Gretton
    et al. 2012 (JMLR 13). Its mean is 0 between sets of one kind whatever their sizes, so it may be negative, and it is
    where both hold each class equally often.
    """

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-_squared(x, y) / (2 * width**2)))

    def within(x: np.ndarray) -> float:
        return float((kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1)))

    return 100 * (within(real) + within(generated) - 2 * float(kernel(real, generated).mean()))


def half_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], real: np.ndarray, generated: np.ndarray, groups: int = 20
) -> float:
    """Half the width of the 95 % interval of a statistic of two sets: the delete-a-group jackknife (Efron 1982).

    Unlike the bootstrap it repeats no row, which a distance between sets would take for likeness.
    """
    variance = 0.0
    for rows, value in ((real, lambda x: statistic(x, generated)), (generated, lambda x: statistic(real, x))):
        parts = min(groups, len(rows))
        without = [value(rows[np.arange(len(rows)) % parts != part]) for part in range(parts)]
        variance += (parts - 1) * float(np.var(without))
    return NORMAL_95 * float(np.sqrt(variance))


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


def judged(judge: Tagger, real: Sequence[Example], generated: Sequence[Example]) -> dict[str, float]:
    """What the judge finds of generated sounds against real ones, at least three of each.

    `ci95`: half the width of the 95 % interval. The judge's `agreement` with what was asked for is among them where its
    classes are what was asked for. Raises InputError for a judge that is no classifier.
    """
    if not isinstance(judge, Tagger):
        raise InputError("the judge is no classifier; train one by recipes/audio/classifier.yaml")
    embeddings = [judge.encode([example.media for example in examples]) for examples in (real, generated)]
    rows = [each.double().cpu().numpy() for each in embeddings]
    kernel = partial(kernel_distance, width=bandwidth(rows[0]))
    figures = {
        "embedding_frechet": frechet_distance(rows[0], rows[1]),
        "embedding_frechet_ci95": half_interval(frechet_distance, rows[0], rows[1]),
        "kad": kernel(rows[0], rows[1]),
        "kad_ci95": half_interval(kernel, rows[0], rows[1]),
    }
    return figures | judge.agreement(embeddings[1], generated)


def memorisation(training: Sequence[Audio], sounds: Sequence[Audio]) -> dict[str, float]:
    """The distance (`nearest`, of mel statistics) to the nearest training clip: its mean, and the smallest."""
    distances, _ = nearest(mel_statistics(training), mel_statistics(sounds))
    return {"nearest_training": float(distances.mean()), "nearest_training_min": float(distances.min())}


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances (N, M) of rows (N, D), (M, D)."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.asarray(squares.clip(min=0))


@cache
def _log_mel() -> LogMel:
    return LogMel(rate=RATE)


def _magnitude(waveform: Tensor, n_fft: int, hop: int) -> Tensor:
    """(B, n) -> (B, n_fft/2 + 1, F)."""
    window = torch.hann_window(n_fft, device=waveform.device, dtype=waveform.dtype)
    return torch.stft(waveform, n_fft, hop, window=window, pad_mode="constant", return_complex=True).abs()
