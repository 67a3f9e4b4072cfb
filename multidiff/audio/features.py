"""Mel features.

A log-mel frame is log(max(M |STFT(x)|, 1e-5)), natural log of magnitudes, with Slaney's mel scale and area
normalisation (librosa's defaults, as in HiFi-GAN and AudioLDM).

Lengths: n samples make ceil(n / hop) frames and F frames make F * hop samples. Frame i is centred on sample
i * hop, and zeros are taken for what lies outside the sound; so F frames and F * hop samples imply each other,
where librosa and torchaudio make one frame more whenever hop divides n.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multidiff.torchaudio_door import import_torchaudio


def mel_filterbank(rate: int, n_fft: int, n_mels: int, f_min: float = 0.0, f_max: float | None = None) -> Tensor:
    """Triangular filters M (n_mels, n_fft/2 + 1) on Slaney's scale, each of unit area in Hz."""
    functional = import_torchaudio().functional
    high = rate / 2 if f_max is None else f_max
    with torch.device("cpu"):  # torchaudio cannot compute it on the meta device, where networks are only counted
        bank: Tensor = functional.melscale_fbanks(n_fft // 2 + 1, f_min, high, n_mels, rate, "slaney", "slaney")
    return bank.T.contiguous()


class LogMel(nn.Module):
    """Waveform (B, n) -> log-mel (B, n_mels, ceil(n / hop)).

    Buffers, kept out of checkpoints because the arguments say all: `window` (n_fft,) and `filterbank`
    (n_mels, n_fft/2 + 1), whose pseudo-inverse leads a vocoder back to magnitudes.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(
        self,
        rate: int = 22050,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        self.rate, self.n_fft, self.hop, self.n_mels, self.floor = rate, n_fft, hop, n_mels, floor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(rate, n_fft, n_mels, f_min, f_max), persistent=False)

    def frames(self, samples: int) -> int:
        """Frames of a sound: ceil(samples / hop)."""
        return -(-samples // self.hop)

    def samples(self, frames: int) -> int:
        """Samples of so many frames: frames * hop."""
        return frames * self.hop

    def stft(self, waveform: Tensor) -> Tensor:
        """(B, n) -> complex (B, n_fft/2 + 1, ceil(n / hop))."""
        spectrum = torch.stft(
            waveform, self.n_fft, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum[..., : self.frames(waveform.shape[-1])]

    def istft(self, spectrum: Tensor) -> Tensor:
        """Complex (B, n_fft/2 + 1, F) -> (B, F * hop), the inverse of `stft` for whole frames."""
        length = self.samples(spectrum.shape[-1])
        return torch.istft(spectrum, self.n_fft, self.hop, window=self.window, center=True, length=length)

    def log(self, magnitude: Tensor) -> Tensor:
        """Magnitudes (B, n_fft/2 + 1, F) -> log-mel (B, n_mels, F)."""
        return torch.log((self.filterbank @ magnitude).clamp(min=self.floor))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.log(self.stft(waveform).abs())
