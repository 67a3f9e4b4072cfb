"""What trains the vocoder.

Without discriminators: the L1 distance of log-mels plus the multi-resolution STFT loss. With them (HiFi-GAN, Vocos):

    45 * mel L1 + 2.5 * multi-resolution STFT + adversarial + feature matching

with the weights of Vocos (Siuzdak 2023, 2306.00814, section 3.3) and, of the STFT, UnivNet (2106.07889, equation 7).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from multidiff.audio.batch import QUIETEST, crop, sides, starts, uniform
from multidiff.audio.codec import MelCodec
from multidiff.audio.discriminator import Discriminators

FRAMES = 64
"""Mel frames of a training crop: 16384 samples, Vocos's."""
MEL_WEIGHT, SPECTRAL_WEIGHT = 45.0, 2.5
"""Beside discriminators."""


class SpectralLoss(nn.Module):
    """Multi-resolution STFT loss (Yamamoto et al. 2020, 1910.11480, equations 3-6): (B, n), (B, n) -> scalar.

    Mean over FFT sizes of the spectral convergence and the L1 distance of log-magnitudes.
    """

    def __init__(self, sizes: tuple[int, ...] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        losses = []
        for size in self.sizes:
            window = torch.hann_window(size, device=real.device)
            a, b = (
                torch.stft(wave, size, size // 4, window=window, return_complex=True).abs().clamp(min=1e-5)
                for wave in (generated, real)
            )
            # Over the whole batch: one nearly silent sound must not outweigh the others.
            convergence = (b - a).norm() / b.norm()
            losses.append(convergence + (b.log() - a.log()).abs().mean())
        return torch.stack(losses).mean()


class VocoderObjective:
    """Both distances on short crops, and what discriminators say of them where `codec.discriminator_width` is not 0.

    Each channel of a sound is an item of its own. Discriminators belong to the training state, not to the model; a run
    from a trained vocoder (`codec.weights`) begins with new ones.
    """

    def __init__(self, codec: MelCodec) -> None:
        self.codec = codec
        self.spectral = SpectralLoss()
        self.groups: Mapping[str, nn.Module] = {"vocoder": codec.vocoder}
        self.discriminators: Discriminators | None = None
        if codec.spec.discriminator_width:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same ones in every run: nothing hands a seed to an objective
                self.discriminators = Discriminators(codec.spec.discriminator_width)
            self.groups = {**self.groups, "discriminators": self.discriminators}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """The discriminators' loss first, where there are any; the vocoder then faces what they have learned."""
        rows = sides(rows)
        wave, samples = rows["wave"].float() / 32768, rows["samples"].cpu()
        size = self.codec.log_mel.samples(FRAMES)
        start = starts(samples, size, generator)
        gain = QUIETEST ** uniform(len(start), generator)
        wave = crop(wave, start, size, 0.0) * gain[:, None].to(wave)
        generated, spectral, mel = self._distances(wave)
        if self.discriminators is None:
            yield "vocoder", spectral + mel
            return
        yield "discriminators", self.discriminators.loss(wave, generated.detach())
        judged = self.discriminators.vocoder_loss(wave, generated)
        yield "vocoder", MEL_WEIGHT * mel + SPECTRAL_WEIGHT * spectral + judged

    @torch.no_grad()
    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        """Both distances on whole clips, and their sum as `loss`, with discriminators and without."""
        _, spectral, mel = self._distances(sides(rows)["wave"].float() / 32768)
        return {"loss": float(spectral + mel), "spectral": float(spectral), "mel_l1": float(mel)}

    def _distances(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the vocoder makes of the log-mels of waveforms (B, n), its STFT loss and its L1 distance of log-mels."""
        # Spectra span more than half precision holds.
        with torch.autocast(wave.device.type, enabled=False):
            log_mel = self.codec.log_mel(wave)
            generated = self.codec.vocoder(log_mel)[:, : wave.shape[-1]]
            return generated, self.spectral(generated, wave), (self.codec.log_mel(generated) - log_mel).abs().mean()
