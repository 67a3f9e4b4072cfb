"""Discriminators: networks that tell recorded waveforms from generated ones, and what a vocoder learns from them.

Of several periods (HiFi-GAN: Kong et al. 2020, 2010.05646, section 2.3): a waveform folded into columns of p samples,
each column seen by itself. Of several resolutions (UnivNet: Jang et al. 2021, 2106.07889, section 2.2): a spectrogram,
here the complex one, so that phases are judged too (EnCodec: Defossez et al. 2022, 2210.13438, section 3.4).

With D(x) the scores of a waveform and D_l(x) the activations of layer l, for x real and y generated:

    discriminator       mean max(0, 1 - D(x)) + mean max(0, 1 + D(y))                   hinge (Lim and Ye 2017)
    adversarial         mean max(0, 1 - D(y))
    feature matching    sum_l mean |D_l(x) - D_l(y)|                                    HiFi-GAN, equation 5

The last two are what the vocoder minimises, as in Vocos (Siuzdak 2023, 2306.00814, section 3.3).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
"""Samples between the neighbours in a column."""
RESOLUTIONS = (512, 1024, 2048)
"""FFT sizes of the spectrograms."""
RESOLUTION_WEIGHT = 0.1
"""Of the discriminators of resolutions against those of periods. Vocos, section 3.3."""
QUIETEST = 1e-3
"""Sounds are brought to full scale up to this peak: those below it stay quiet."""
SLOPE = 0.1


class PeriodDiscriminator(nn.Module):
    """Waveforms (B, n) -> activations of its layers, the scores last."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        sizes = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (3 if number < 4 else 1, 1), padding=(2, 0)))
            for number, (before, after) in enumerate(pairwise(sizes))
        )
        self.score = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> list[Tensor]:
        padded = F.pad(wave, (0, -wave.shape[-1] % self.period))
        return activations(padded.unflatten(-1, (-1, self.period))[:, None], self.layers, self.score)


class ResolutionDiscriminator(nn.Module):
    """Waveforms (B, n) -> activations of its layers, the scores last."""

    def __init__(self, n_fft: int, width: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, width, (9, 3), padding=(4, 1))),
                *(weight_norm(nn.Conv2d(width, width, (9, 3), (2, 1), padding=(4, 1))) for _ in range(3)),
                weight_norm(nn.Conv2d(width, width, 3, padding=1)),
            ]
        )
        self.score = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        with torch.autocast(wave.device.type, enabled=False):  # there is no complex half precision
            window = torch.hann_window(self.n_fft, device=wave.device)
            spectrum = torch.stft(
                wave.float(), self.n_fft, self.n_fft // 4, window=window, normalized=True, return_complex=True
            )
        return activations(torch.stack([spectrum.real, spectrum.imag], dim=1), self.layers, self.score)


def activations(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> list[Tensor]:
    """What each layer makes of x, leaky ReLUs between them, and the scores."""
    found = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        found.append(x)
    return [*found, score(x)]


class Discriminators(nn.Module):
    """All of them, of a width: those of periods have `width` to 32 `width` channels, those of resolutions `width`. The
    published width is 32 (41 M parameters); at 4 they have 0.6 M.

    Every sound is brought to full scale first (as for the Descript audio codec, Kumar et al. 2023, 2306.06546), so that
    quiet ones are judged as closely as loud ones.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, width) for period in PERIODS)
        self.resolutions = nn.ModuleList(ResolutionDiscriminator(n_fft, width) for n_fft in RESOLUTIONS)

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        """Waveforms (B, n) -> for each discriminator its activations, the scores last."""
        peak = wave.abs().amax(dim=-1, keepdim=True).clamp(min=QUIETEST)
        return [member(wave / peak) for member in (*self.periods, *self.resolutions)]

    def loss(self, real: Tensor, generated: Tensor) -> Tensor:
        """What the discriminators minimise, of waveforms (B, n)."""
        pairs = zip(self(real), self(generated), strict=True)
        return self._mean([hinge(x[-1]) + hinge(-y[-1]) for x, y in pairs])

    def vocoder_loss(self, real: Tensor, generated: Tensor) -> Tensor:
        """What the vocoder minimises of waveforms (B, n): adversarial plus feature matching. Only `generated` is
        followed backwards, the discriminators are not."""
        with torch.no_grad():
            of_real = self(real)
        self.requires_grad_(False)
        of_generated = self(generated)
        self.requires_grad_(True)
        pairs = zip(of_real, of_generated, strict=True)
        return self._mean([hinge(y[-1]) + feature_matching(x[:-1], y[:-1]) for x, y in pairs])

    def _mean(self, losses: list[Tensor]) -> Tensor:
        """Mean over the periods plus RESOLUTION_WEIGHT times the mean over the resolutions."""
        periods, resolutions = losses[: len(PERIODS)], losses[len(PERIODS) :]
        return torch.stack(periods).mean() + RESOLUTION_WEIGHT * torch.stack(resolutions).mean()


def hinge(scores: Tensor) -> Tensor:
    """Mean of max(0, 1 - scores): 0 where all that should be called real is, by 1 and more."""
    return F.relu(1 - scores.float()).mean()


def feature_matching(real: list[Tensor], generated: list[Tensor]) -> Tensor:
    """Sum over layers of the mean absolute difference of activations."""
    return torch.stack([(x - y).abs().mean() for x, y in zip(real, generated, strict=True)]).sum()
