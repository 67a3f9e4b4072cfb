"""Log-mel -> waveform.

Vocos (Siuzdak 2023, 2306.00814): ConvNeXt blocks at the frame rate predict a log-amplitude and a phase for each
frame and bin, and one inverse STFT makes the waveform; nothing runs at the sample rate. The amplitude starts from the
prior of FreeV (Lv et al. 2024, 2406.08196, section 3.2), A = |pinv(M) m| for the mel filterbank M and the mel
spectrogram m, so the network learns only what the mel spectrogram leaves open.

Griffin-Lim (Perraudin, Balazs and Sondergaard 2013) needs no training and starts from the same prior.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multidiff.audio.features import LogMel
from multidiff.nn.convnext import ConvNeXtBlock

MEL_MEAN, MEL_STD = -5.84, 3.07
"""Statistics of ESC-10's log-mel (64 bins, floor 1e-5); every part of the codec works on (log_mel - mean) / std."""

MAX_LOG_AMPLITUDE = 7.0
"""Bound of a bin's log-amplitude (a full-scale sine has log 256 = 5.5), so that a wild prediction cannot overflow."""


class AmplitudePrior(nn.Module):
    """STFT amplitudes of least squared error for a mel spectrogram: log_mel (B, M, F) -> (B, bins, F) >= 1e-5."""

    inverse: Tensor

    def __init__(self, filters: Tensor) -> None:
        """`filters` (M, bins): the mel filterbank."""
        super().__init__()
        self.register_buffer("inverse", torch.linalg.pinv(filters), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        with torch.autocast(log_mel.device.type, enabled=False):
            return (self.inverse @ log_mel.float().exp()).abs().clamp(min=1e-5)


class Vocos(nn.Module):
    """The learned vocoder: log_mel (B, M, F) -> wave (B, F * hop)."""

    def __init__(self, features: LogMel, dim: int, depth: int) -> None:
        super().__init__()
        self.features = features
        self.prior = AmplitudePrior(features.filterbank)
        self.embed = nn.Conv1d(features.n_mels, dim, 7, padding=3)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(dim, 3, 1 / depth) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, features.n_fft + 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def polar(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitudes and phases of the STFT, (B, bins, F) each."""
        h = self.blocks(self.embed((log_mel - MEL_MEAN) / MEL_STD))
        amplitude, phase = self.head(self.norm(h.transpose(1, 2))).transpose(1, 2).float().chunk(2, dim=1)
        return (self.prior(log_mel).log() + amplitude).clamp(max=MAX_LOG_AMPLITUDE).exp(), phase

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.features.istft(torch.polar(*self.polar(log_mel)))


class RealVocos(nn.Module):
    """The same vocoder without complex numbers, which not every program that runs networks has (ONNX).

    The inverse STFT is one transposed convolution: its kernels are the windowed cosine and sine of each bin, its stride
    is the hop. The sum is divided by that of the squared windows, as `torch.istft` does.
    """

    basis: Tensor
    power: Tensor

    def __init__(self, vocoder: Vocos) -> None:
        super().__init__()
        features = vocoder.features
        self.vocoder, self.hop, self.edge = vocoder, features.hop, features.n_fft // 2
        window = features.window.double()
        units = torch.eye(features.n_fft // 2 + 1, dtype=torch.complex128, device=window.device)
        basis = torch.fft.irfft(torch.cat([units, 1j * units])) * window
        self.register_buffer("basis", basis[:, None].float(), persistent=False)
        self.register_buffer("power", window.square()[None, None].float(), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        amplitude, phase = self.vocoder.polar(log_mel)
        parts = torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], dim=1)
        wave = F.conv_transpose1d(parts, self.basis, stride=self.hop)
        overlap = F.conv_transpose1d(torch.ones_like(log_mel[:1, :1]), self.power, stride=self.hop)
        whole = slice(self.edge, self.edge + log_mel.shape[-1] * self.hop)
        return (wave[..., whole] / overlap[..., whole])[:, 0]


class GriffinLim(nn.Module):
    """The vocoder without weights: log_mel (B, M, F) -> wave (B, F * hop). Deterministic: phases start at 0."""

    def __init__(self, features: LogMel, iterations: int = 32, momentum: float = 0.99) -> None:
        super().__init__()
        self.features, self.iterations, self.momentum = features, iterations, momentum
        self.prior = AmplitudePrior(features.filterbank)

    def forward(self, log_mel: Tensor) -> Tensor:
        amplitude = self.prior(log_mel)
        phase, previous = torch.zeros_like(amplitude), torch.zeros_like(amplitude, dtype=torch.complex64)
        for _ in range(self.iterations):
            rebuilt = self.features.stft(self.features.istft(torch.polar(amplitude, phase)))
            phase = (rebuilt - self.momentum / (1 + self.momentum) * previous).angle()
            previous = rebuilt
        return self.features.istft(torch.polar(amplitude, phase))
