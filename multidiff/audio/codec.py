"""Sound <-> latents: log-mel spectrogram, a 1-D variational autoencoder over it, and a vocoder.

The autoencoder takes the mel bins as channels and convolves over time only (Make-An-Audio 2, Huang et al. 2023,
2305.18474, section 3.3). Latents are standardised per channel with statistics kept beside the weights, so the
diffusion sees x (B, C, T) of unit variance whatever the autoencoder's own scale.

Lengths: n samples have ceil(n / hop) mel frames, and these have ceil(frames / compression) latent frames; decoding
returns exactly the samples asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from multidiff.audio.features import LogMel
from multidiff.audio.media import Audio
from multidiff.audio.vocoder import MEL_MEAN, MEL_STD, GriffinLim, Vocos
from multidiff.errors import ModelError
from multidiff.modality import Spec
from multidiff.nn.convnext import ConvNeXtBlock


class MelSpec(Spec):
    """The mel spectrogram that autoencoder and vocoder are made for."""

    rate: int = Field(22050, gt=0, description="samples per second")
    n_fft: int = Field(1024, gt=0)
    hop: int = Field(256, gt=0, description="samples between frames")
    n_mels: int = Field(64, gt=0)
    f_min: float = Field(0.0, ge=0, description="Hz")
    f_max: float = Field(11025.0, gt=0, description="Hz")


class CodecSpec(Spec):
    """Mel configuration, autoencoder and vocoder."""

    weights: str | None = Field(None, description="model or run whose codec is loaded before training starts")
    mel: MelSpec = MelSpec()
    channels: int = Field(16, gt=0, description="of the latent")
    compression: int = Field(4, gt=0, description="mel frames per latent frame, a power of 2")
    width: int = Field(128, gt=0, description="of the autoencoder's blocks")
    vocoder: Literal["vocos", "griffin-lim"] = "vocos"
    vocoder_width: int = Field(192, gt=0)
    vocoder_depth: int = Field(6, gt=0)

    @field_validator("compression")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"{value} is no power of 2")
        return value


class MelAutoencoder(nn.Module):
    """Normalised log-mel (B, M, F) <-> latent (B, C, F / compression); F must divide."""

    def __init__(self, mels: int, channels: int, compression: int, width: int) -> None:
        super().__init__()
        stages = compression.bit_length() - 1
        scale = 1 / (stages + 1)
        encoder: list[nn.Module] = [nn.Conv1d(mels, width, 3, padding=1)]
        decoder: list[nn.Module] = [nn.Conv1d(channels, width, 3, padding=1), ConvNeXtBlock(width, 3, scale)]
        for _ in range(stages):
            encoder += [ConvNeXtBlock(width, 3, scale), nn.Conv1d(width, width, 4, stride=2, padding=1)]
            decoder += [nn.ConvTranspose1d(width, width, 4, stride=2, padding=1), ConvNeXtBlock(width, 3, scale)]
        encoder += [ConvNeXtBlock(width, 3, scale), nn.Conv1d(width, 2 * channels, 3, padding=1)]
        decoder += [nn.Conv1d(width, mels, 3, padding=1)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)

    def posterior(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | mel), each (B, C, F / compression)."""
        mean, log_variance = self.encoder(mel).chunk(2, dim=1)
        return mean, log_variance.clamp(-20.0, 10.0)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class MelCodec(nn.Module):
    """The `Codec` of audio; see the module's docstring.

    Refuses weights that were made with another mel configuration: it is kept as a buffer and compared on loading.
    """

    latent_mean: Tensor
    latent_std: Tensor
    mel_config: Tensor

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.log_mel = LogMel(**spec.mel.model_dump())
        self.autoencoder = MelAutoencoder(spec.mel.n_mels, spec.channels, spec.compression, spec.width)
        self.vocoder = Vocos(self.log_mel, spec.vocoder_width, spec.vocoder_depth)
        self.griffin_lim = GriffinLim(self.log_mel)
        self.register_buffer("latent_mean", torch.zeros(spec.channels, 1))
        self.register_buffer("latent_std", torch.ones(spec.channels, 1))
        self.register_buffer("mel_config", torch.tensor(_numbers(spec.mel), dtype=torch.float64))
        self.register_load_state_dict_pre_hook(_same_mel)

    @property
    def rate(self) -> int:
        return self.spec.mel.rate

    def length(self, samples: int) -> int:
        """Latent frames of so many samples."""
        return -(-self.log_mel.frames(samples) // self.spec.compression)

    @property
    def samples_per_latent(self) -> int:
        return self.spec.mel.hop * self.spec.compression

    def wave(self, audio: Audio) -> np.ndarray:
        """One channel at the codec's rate, (n,) float32."""
        return audio.mono().resample(self.rate).samples[0]

    @torch.no_grad()
    def mel(self, media: Sequence[Audio]) -> Tensor:
        """Log-mel (B, M, F) of sounds, the shorter ones padded with silence to the longest."""
        waves = [torch.from_numpy(self.wave(audio)) for audio in media]
        longest = max(len(wave) for wave in waves)
        padded = torch.stack([F.pad(wave, (0, longest - len(wave))) for wave in waves])
        return self.log_mel(padded.to(self.latent_mean.device))

    @torch.no_grad()
    def encode(self, media: Sequence[Audio]) -> Tensor:
        """x (B, C, T) of unit variance."""
        return self.encode_mel(self.mel(media))

    @torch.no_grad()
    def decode(self, x: Tensor, options: Any) -> list[Audio]:
        """Mono sounds of exactly round(options.seconds * rate) samples from x (B, C, T)."""
        samples = round(options.seconds * self.rate)
        mel = self.decode_mel(x)[..., : self.log_mel.frames(samples)].float()
        waves = self.griffin_lim(mel) if self.spec.vocoder == "griffin-lim" else self.vocoder(mel)
        return [Audio(wave[:samples].cpu().numpy(), self.rate) for wave in waves]

    def normalise(self, log_mel: Tensor) -> Tensor:
        """Log-mel (B, M, F) in the autoencoder's scale, its last frame repeated until `compression` divides F."""
        short = -log_mel.shape[-1] % self.spec.compression
        return (F.pad(log_mel, (0, short), mode="replicate") - MEL_MEAN) / MEL_STD

    def encode_mel(self, log_mel: Tensor) -> Tensor:
        """x (B, C, T), the standardised mean of the posterior, of log-mel (B, M, F)."""
        mean, _ = self.autoencoder.posterior(self.normalise(log_mel))
        return (mean - self.latent_mean) / self.latent_std

    def decode_mel(self, x: Tensor) -> Tensor:
        """Log-mel (B, M, T * compression) of x (B, C, T)."""
        return self.autoencoder.decode(x * self.latent_std + self.latent_mean) * MEL_STD + MEL_MEAN


def _numbers(mel: MelSpec) -> list[float]:
    return [float(value) for value in mel.model_dump().values()]


def _same_mel(codec: MelCodec, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Raises ModelError when weights were trained on another mel spectrogram than the codec computes."""
    theirs = state.get(prefix + "mel_config")
    if theirs is not None and theirs.tolist() != _numbers(codec.spec.mel):
        values = ", ".join(f"{k}={v:g}" for k, v in zip(MelSpec.model_fields, theirs.tolist(), strict=False))
        raise ModelError(f"codec weights were made for the mel spectrogram {values}; set codec.mel to these values")
