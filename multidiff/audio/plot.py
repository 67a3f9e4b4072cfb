"""A picture of a sound: its waveform over its log-mel spectrogram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from multidiff.audio.features import LogMel
from multidiff.audio.media import Audio
from multidiff.files import written_whole

RANGE_DB = 80.0
KILOHERTZ = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16)
TITLE = 60
"""Letters of a title in its full size that fit beside the duration."""
_INK, _GRID = "#1f2937", "#e5e7eb"


def plot(audio: Audio, path: str | Path, title: str = "", given: Audio | None = None) -> Path:
    """Write a PNG of 1200x675 pixels: waveform, spectrogram (96 mel bins, 80 dB), seconds and kHz. Returns the path.

    Where the sound is that of `given` its waveform is orange.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    wave, mel = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))

    low, high, times = _envelope(audio)
    wave.fill_between(times, low, high, color="#2563eb", linewidth=0.4)
    if given is not None:
        kept = _kept(audio, given)[(times * audio.rate).astype(int)]
        wave.fill_between(times, low, high, where=kept, color="#e88c3c", linewidth=0.4)
    reach = 1.05 * max(1.0, audio.peak)  # a sound in memory may be louder than full scale; saving turns it down
    wave.set(ylim=(-reach, reach), yticks=(-1, 0, 1), xlim=(0, audio.seconds))
    size = min(11.0, 11.0 * TITLE / max(len(title), 1))  # so that it ends before the duration
    wave.set_title(title or "sound", loc="left", fontsize=size, color=_INK, wrap=True, parse_math=False)
    wave.set_title(f"{audio.seconds:.2f} s   {audio.rate / 1000:g} kHz", loc="right", fontsize=8, color="#6b7280")
    wave.grid(axis="x", color=_GRID)
    wave.set_axisbelow(True)

    level, centres = _levels(audio)
    image = mel.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=level.max() - RANGE_DB,
        extent=(0, audio.seconds, -0.5, len(centres) - 0.5),
        interpolation="nearest",
    )
    ticks = [f for f in KILOHERTZ if centres[0] <= 1000 * f <= centres[-1]]
    mel.set_yticks(np.interp([1000 * f for f in ticks], centres, np.arange(len(centres))), [f"{f:g}" for f in ticks])
    mel.set(xlabel="seconds", ylabel="kHz")
    figure.colorbar(image, ax=mel, label="dB", pad=0.01, aspect=15)
    for axes in (wave, mel):
        axes.tick_params(labelsize=8, colors=_INK)
        axes.spines[["top", "right"]].set_visible(False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)


def _envelope(audio: Audio, columns: int = 1200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest sample of each column over all channels, and the columns' times in seconds."""
    edges = np.unique(np.linspace(0, audio.samples.shape[1], columns + 1).astype(int)[:-1])
    low = np.minimum.reduceat(audio.samples.min(axis=0), edges)
    high = np.maximum.reduceat(audio.samples.max(axis=0), edges)
    return low, high, edges / audio.rate


def _kept(audio: Audio, given: Audio) -> np.ndarray:
    """Which samples (T,) are those of `given`, which begins with the sound or ends with it."""
    total, own = audio.samples.shape[1], given.samples.shape[1]
    kept = []
    for offset in (0, max(total - own, 0)):
        part = audio.samples[:, offset : offset + own]
        equal = (part == given.samples[:, : part.shape[1]]).all(axis=0)
        kept.append(np.pad(equal, (offset, total - offset - len(equal))))
    return max(kept, key=np.sum)


def _levels(audio: Audio) -> tuple[np.ndarray, np.ndarray]:
    """dB (96, F) and the bins' centre frequencies in Hz."""
    n_fft = 2 ** round(np.log2(0.06 * audio.rate))
    mel = LogMel(rate=audio.rate, n_fft=n_fft, hop=max(audio.samples.shape[1] // 1000, n_fft // 16), n_mels=96)
    level = 20 / np.log(10) * mel(torch.from_numpy(audio.mono().samples))[0].numpy()
    frequencies = np.linspace(0, audio.rate / 2, n_fft // 2 + 1)
    bank = mel.filterbank.numpy()
    return level, bank @ frequencies / bank.sum(axis=1)
