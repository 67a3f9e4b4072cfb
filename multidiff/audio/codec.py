"""Sound <-> latents: log-mel spectrogram, a variational autoencoder over it, and a vocoder.

Latents are standardised per channel with statistics kept beside the weights, so the diffusion sees x (B, C, T) of unit
variance whatever the autoencoder's own scale. Of stereo sounds each channel S is coded by itself, by the same weights
(what both share sounds alike, also its phase, which the vocoder derives from the mel spectrogram); their latents lie
side by side, so that C is S times those of mono.

Lengths: n samples have ceil(n / hop) mel frames, and these have ceil(frames / compression) latent frames; decoding
returns exactly the samples asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from multidiff.audio.autoencoder import BAND, MelAutoencoder
from multidiff.audio.edges import EDGE, faded, stretched
from multidiff.audio.features import LogMel
from multidiff.audio.media import FULL_SCALE, Audio
from multidiff.audio.vocoder import GriffinLim, Vocos
from multidiff.errors import ModelError
from multidiff.modality import Spec

PEAK = 0.9
"""Given sounds are brought to this peak for the model, which has learned from sounds at it (AudioData.peak)."""
CHUNK = 256
"""Latent frames decoded at once: 12 s at 22.05 kHz, so that long sounds need no more memory."""


class MelSpec(Spec):
    """The mel spectrogram that autoencoder and vocoder are made for."""

    rate: int = Field(22050, gt=0, description="samples per second")
    n_fft: int = Field(1024, gt=0)
    hop: int = Field(256, gt=0, description="samples between frames")
    n_mels: int = Field(64, gt=0)
    f_min: int = Field(0, ge=0, description="Hz")
    f_max: int = Field(11025, gt=0, description="Hz")


class CodecSpec(Spec):
    """Mel configuration, autoencoder and vocoder."""

    weights: str | None = Field(None, description="model or run whose codec is loaded before training starts")
    classes: tuple[str, ...] = Field((), description="labels to tell apart: then it is a tagger, not this codec")
    multi_label: bool = Field(False, description="a sound may be of several of the classes, listed as a|b, or of none")
    joint: int = Field(0, ge=0, description="width of the space of sounds and captions: then it is a scorer")
    text_dim: int = Field(384, gt=0, description="of the text encoder's token states, for a scorer")
    stereo: bool = Field(False, description="two channels of sound instead of one")
    mel: MelSpec = MelSpec()
    autoencoder: Literal["1d", "2d"] = Field("1d", description="convolves over time, or over time and frequency")
    channels: int = Field(
        16, gt=0, description="of a channel's latent; 2d: a multiple of its mel.n_mels/8 bands of frequency"
    )
    compression: int = Field(4, gt=0, description="mel frames per latent frame, a power of 2")
    width: int = Field(128, gt=0, description="of the autoencoder's blocks")
    kl: float = Field(0.01, ge=0, description="weight of the divergence from N(0, 1) in the objective vae")
    vocoder: Literal["vocos", "griffin-lim"] = "vocos"
    vocoder_width: int = Field(192, gt=0)
    vocoder_depth: int = Field(6, gt=0)
    discriminator_width: int = Field(
        0, ge=0, description="of the objective vocoder's discriminators: 4 on a CPU, 32 as published; 0: none"
    )

    @field_validator("compression")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"{value} is no power of 2")
        return value

    @model_validator(mode="after")
    def _in_bands(self) -> CodecSpec:
        if self.autoencoder == "2d":
            bands, rest = divmod(self.mel.n_mels, BAND)
            if rest or self.channels % bands or self.width % 2:
                raise ValueError(
                    f"autoencoder 2d needs an even width, mel.n_mels a multiple of {BAND} and channels a multiple of "
                    f"mel.n_mels/{BAND}, not width {self.width}, {self.mel.n_mels} bins and {self.channels} channels"
                )
        return self


class MelModule(nn.Module):
    """What works on the mel spectrogram of a spec.

    Refuses weights that were made with another mel configuration: it is kept as a buffer and compared on loading.
    """

    mel_config: Tensor

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.log_mel = LogMel(**spec.mel.model_dump())
        self.register_buffer("mel_config", torch.tensor(_numbers(spec.mel)))
        self.register_load_state_dict_pre_hook(_same_mel)

    @property
    def rate(self) -> int:
        """Samples per second of what `decode` makes."""
        return self.spec.mel.rate

    @property
    def stride(self) -> int:
        """Samples per latent frame."""
        return self.spec.mel.hop * self.spec.compression

    def mel(self, waves: Tensor) -> Tensor:
        """Log-mels (B, S, M, F) of waveforms (B, S, n), on the codec's device."""
        log_mel: Tensor = self.log_mel(waves.flatten(0, 1).to(self.log_mel.window.device))
        return log_mel.unflatten(0, waves.shape[:2])

    def samples(self, seconds: float) -> int:
        return round(seconds * self.rate)

    def length(self, samples: int) -> int:
        """Latent frames of so many samples."""
        return -(-samples // self.stride)

    @property
    def sides(self) -> int:
        """Channels of sound, S."""
        return 2 if self.spec.stereo else 1

    @property
    def channels(self) -> int:
        """Channels of x, C."""
        return self.sides * self.spec.channels

    def wave(self, audio: Audio) -> Tensor:
        """A sound at the codec's rate, (S, n) float32 on the CPU."""
        return torch.from_numpy(audio.remix(self.sides).resample(self.rate).samples)


class MelCodec(MelModule):
    """The `Codec` of audio; see the module's docstring."""

    def __init__(self, spec: CodecSpec) -> None:
        super().__init__(spec)
        self.autoencoder = MelAutoencoder(
            spec.autoencoder, spec.mel.n_mels, spec.channels, spec.compression, spec.width
        )
        self.vocoder = Vocos(self.log_mel, spec.vocoder_width, spec.vocoder_depth)
        self.griffin_lim = GriffinLim(self.log_mel)

    @torch.no_grad()
    def encode(self, media: Sequence[Audio]) -> Tensor:
        """x (B, C, T) of unit variance; shorter sounds are padded with silence to the longest.

        Each is brought to the peak of the sounds that models learn from.
        """
        waves = [self.wave(audio) * (PEAK / audio.peak) for audio in media]
        longest = max(wave.shape[1] for wave in waves)
        padded = torch.stack([F.pad(wave, (0, longest - wave.shape[1])) for wave in waves])
        return self.encode_mel(self.mel(padded))

    @torch.no_grad()
    def encode_loop(self, media: Sequence[Audio], options: Any) -> Tensor:
        """As `encode`, of sounds of `options.seconds` that go round: stretched to what is `closed`, and encoded as a
        part of themselves repeated."""
        size, beside = self.samples(self.closed(options).seconds), self.reach * self.stride
        around = torch.arange(-beside, size + beside) % size
        waves = [stretched(self.wave(audio), size)[:, around] * (PEAK / audio.peak) for audio in media]
        return self.encode_mel(self.mel(torch.stack(waves)))[..., self.reach :][..., : size // self.stride]

    def encode_mel(self, log_mel: Tensor) -> Tensor:
        """x (B, C, T) of log-mels (B, S, M, F)."""
        x: Tensor = self.autoencoder.encode(log_mel.flatten(0, 1)).unflatten(0, log_mel.shape[:2])
        return x.flatten(1, 2)

    @property
    def reach(self) -> int:
        """Latent frames on each side of one that its decoded waveform depends on."""
        spec = self.spec
        vocoder = 3 * (1 + spec.vocoder_depth) + -(-spec.mel.n_fft // (2 * spec.mel.hop))
        return -(-(self.autoencoder.reach + vocoder) // spec.compression)

    @torch.no_grad()
    def stream(self, x: Tensor, samples: int, chunk: int = CHUNK) -> Iterator[Tensor]:
        """The waveforms (B, S, samples) of x (B, C, T) in consecutive pieces of `chunk` latent frames.

        Together they equal the decoding at once, to rounding, in the memory of one piece. Griffin-Lim, whose every
        frame depends on all, takes all at once.
        """
        whole = self.spec.vocoder == "griffin-lim"
        size, vocoder = (x.shape[-1], self.griffin_lim) if whole else (chunk, self.vocoder)
        x = x.unflatten(1, (self.sides, -1)).flatten(0, 1)
        for start in range(0, x.shape[-1], size):
            first = max(start - self.reach, 0)
            part = x[..., first : start + size + self.reach]
            frames = self.log_mel.frames(samples) - first * self.spec.compression
            wave = vocoder(self.autoencoder.decode(part)[..., :frames].float())
            begin = (start - first) * self.stride
            wave = wave[:, begin : begin + size * self.stride][:, : samples - start * self.stride]
            yield wave.unflatten(0, (-1, self.sides))

    @torch.no_grad()
    def decode(self, x: Tensor, options: Any) -> list[Audio]:
        """Sounds of exactly `options.seconds`, rounded to a sample, from x (B, C, T), faded at both ends.

        One that would be louder than full scale is turned down as a whole.
        """
        waves = torch.cat(list(self.stream(x, self.samples(options.seconds))), dim=-1)
        return self._sounds(faded(waves, round(EDGE * self.rate)))

    @torch.no_grad()
    def decode_loop(self, x: Tensor, options: Any) -> list[Audio]:
        """As `decode`, but the end goes over into the beginning, where x does.

        x is decoded as a part of itself repeated, and one period of it stretched to the duration.
        """
        period, before = x.shape[-1], self.reach
        around = torch.arange(-before, period + self.reach, device=x.device) % period
        waves = torch.cat(list(self.stream(x[..., around], len(around) * self.stride)), dim=-1)
        once = waves[..., before * self.stride :][..., : period * self.stride]
        return self._sounds(stretched(once, self.samples(options.seconds)))

    def closed(self, options: Any) -> Any:
        """The options, duration and tempo, of the nearest loop that is whole latent frames long.

        It differs by at most half a frame, 0.6 % of 4 s at 22.05 kHz, by which `decode_loop` stretches what is made.
        """
        frames = max(round(options.seconds * self.rate / self.stride), 1)
        seconds = frames * self.stride / self.rate
        bpm = options.bpm and options.bpm * options.seconds / seconds
        return options.model_copy(update={"seconds": seconds, "bpm": bpm})

    def _sounds(self, waves: Tensor) -> list[Audio]:
        waves = waves * (FULL_SCALE / waves.abs().amax(dim=(1, 2), keepdim=True)).clamp(max=1)
        return [Audio(wave, self.rate) for wave in waves]


def _numbers(mel: MelSpec) -> list[int]:
    return list(mel.model_dump().values())


def _same_mel(module: MelModule, state: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    """Raises ModelError when weights were trained on another mel spectrogram than the codec computes."""
    theirs = state.get(prefix + "mel_config")
    if theirs is not None and theirs.tolist() != _numbers(module.spec.mel):
        values = ", ".join(f"{k}={v}" for k, v in zip(MelSpec.model_fields, theirs.tolist(), strict=False))
        raise ModelError(f"codec weights were made for the mel spectrogram {values}; set codec.mel to these values")
