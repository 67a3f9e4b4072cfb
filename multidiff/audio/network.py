"""The denoisers of audio latents (B, C, T): a diffusion transformer over time, or a U-Net over frequency and time.

The transformer takes one token per latent frame (Make-An-Audio 2, Huang et al. 2023, 2305.18474, section 3.4). The
U-Net (AudioLDM, Liu et al. 2023, 2301.12503, section 3.2) convolves over the bands of frequency of the autoencoder
`2d`, which lie in the channels, as well as over time; the autoencoder `1d` has one band.

Both are conditioned on log-SNR, on the prompt's tokens (cross-attention, and their mean beside the noise level), on the
excerpt's place in its source (`seconds`: start and total, as in Evans et al. 2024, "Fast Timing-Conditioned Latent
Audio Diffusion", section 2.2), on which frames are known (a channel concatenated to the latent) and on the latent of a
degraded version of the whole, noisy or muffled, where one is to be restored (concatenated too; zeros where none is),
and on the phase of the beat, where there is one (`beat.py`; concatenated as well).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.audio.beat import PHASES
from multidiff.modality import Condition, Spec
from multidiff.nn.embedding import LogSNREmbedding, masked_mean, sinusoidal
from multidiff.nn.transformer import Transformer
from multidiff.nn.unet import UNet, check_levels

TOKEN_DIM = 384


class NetworkSpec(Spec):
    """The denoiser; its kind says which further keys there are."""

    kind: Literal["transformer", "unet"] = "transformer"
    learned_variance: bool = Field(False, description="also predict the reverse step's variance, for the hybrid loss")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> type[Spec]:
        return UNetSpec if section.get("kind") == "unet" else TransformerSpec


class TransformerSpec(NetworkSpec):
    """Size of the diffusion transformer."""

    dim: int = Field(192, gt=0)
    depth: int = Field(6, gt=0)
    heads: int = Field(4, gt=0)
    condition_dim: int = Field(64, gt=0, description="width of the vector that carries noise level and seconds")
    expansion: int = Field(4, gt=0, description="of the feed-forward")

    @model_validator(mode="after")
    def _divides(self) -> TransformerSpec:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} must be a multiple of twice heads, {2 * self.heads}")
        return self


class UNetSpec(NetworkSpec):
    """Size of the U-Net."""

    kind: Literal["transformer", "unet"] = "unet"
    widths: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (48, 64, 96), min_length=1, description="channels of each level, finest first"
    )
    blocks: int = Field(1, gt=0, description="stages of a level on the way down; one more on the way up")
    attention: tuple[int, ...] = Field((1, 2), description="levels, 0 the finest, with attention")
    head_dim: int = Field(16, gt=0, description="channels of an attention head")

    @model_validator(mode="after")
    def _consistent(self) -> UNetSpec:
        check_levels(self.widths, self.attention, self.head_dim)
        return self


class SecondsEmbedding(nn.Module):
    """Durations in seconds (B, K) -> (B, dim): sinusoids of each, then two layers."""

    def __init__(self, count: int, dim: int, features: int = 64) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(count * features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, seconds: Tensor) -> Tensor:
        # 20 radians per second at the highest frequency tell durations 0.05 s apart.
        return self.mlp(sinusoidal(20.0 * seconds, self.features).flatten(1).to(seconds))


class LatentTransformer(nn.Module):
    """x (B, C, T), log_snr (B,), condition -> (B, C, T); with spec.learned_variance two, v the second.

    condition: `tokens` (B, L, 384) and `tokens_mask` (B, L) bool, the prompt; `mask` (B, 1, T), 1 where a frame of x is
    known; `degraded` (B, C, T); `beat` (B, PHASES, T); `seconds` (B, 2). Each may be absent.
    """

    def __init__(self, spec: TransformerSpec, channels: int) -> None:
        super().__init__()
        self.width = spec.dim
        self.log_snr = LogSNREmbedding(spec.condition_dim)
        self.seconds = SecondsEmbedding(2, spec.condition_dim)
        self.prompt = nn.Linear(TOKEN_DIM, spec.condition_dim)
        outputs = 2 * channels if spec.learned_variance else channels
        inputs = 2 * channels + 1 + PHASES
        self.transformer = Transformer(
            inputs, outputs, spec.dim, spec.depth, spec.heads, spec.condition_dim, TOKEN_DIM, spec.expansion
        )

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out = self.transformer.output(self._hidden(x, log_snr, condition))
        return _predictions(out.transpose(1, 2), x.shape[1])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, dim): the mean over time of what the output layer sees."""
        return self._hidden(x, log_snr, condition).mean(dim=1)

    def _hidden(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        vector = self.log_snr(log_snr)
        if "seconds" in condition:
            vector = vector + self.seconds(condition["seconds"])
        tokens, tokens_mask = condition.get("tokens"), condition.get("tokens_mask")
        if tokens is not None:
            vector = vector + self.prompt(masked_mean(tokens, tokens_mask))
        inputs = torch.cat([x, *_told(x, condition)], dim=1).transpose(1, 2)
        return self.transformer.hidden(inputs, vector, tokens, tokens_mask)


class LatentUNet(nn.Module):
    """What `LatentTransformer` maps, by convolutions over (bands, T).

    A channel for each band says where it is, since high and low frequencies are no translations of each other.
    """

    places: Tensor

    def __init__(self, spec: UNetSpec, channels: int, bands: int) -> None:
        """`channels` of x are (depth, bands), flattened."""
        super().__init__()
        self.width = spec.widths[0]
        depth = channels // bands
        self.unet = UNet(
            2 * depth + 1 + PHASES + bands,
            2 * depth if spec.learned_variance else depth,
            widths=spec.widths,
            blocks=spec.blocks,
            attention=spec.attention,
            head_dim=spec.head_dim,
            context_dim=TOKEN_DIM,
        )
        self.seconds = SecondsEmbedding(2, self.unet.dim)
        self.register_buffer("places", torch.eye(bands)[..., None], persistent=False)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        return _predictions(self.unet(*self._inputs(x, log_snr, condition)).flatten(1, 2), x.shape[1])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, widths[0]): the mean over frequency and time of what the last convolution sees."""
        return self.unet.features(*self._inputs(x, log_snr, condition))

    def _inputs(
        self, x: Tensor, log_snr: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What the U-Net takes: planes (B, ..., bands, T), the noise level, tokens and their mask, the seconds."""
        B, _, T = x.shape
        bands = len(self.places)
        known, degraded, beat = _told(x, condition)
        planes = [
            x.unflatten(1, (-1, bands)),
            degraded.unflatten(1, (-1, bands)),
            known[:, :, None].expand(B, 1, bands, T),
            beat[:, :, None].expand(B, PHASES, bands, T),
            self.places.to(x).expand(B, bands, bands, T),
        ]
        seconds = self.seconds(condition["seconds"])[:, None] if "seconds" in condition else None
        return torch.cat(planes, dim=1), log_snr, condition.get("tokens"), condition.get("tokens_mask"), seconds


def network(spec: TransformerSpec | UNetSpec, channels: int, bands: int) -> LatentTransformer | LatentUNet:
    """The denoiser of a kind, of latents whose `channels` hold `bands` of frequency."""
    if isinstance(spec, UNetSpec):
        return LatentUNet(spec, channels, bands)
    return LatentTransformer(spec, channels)


def _told(x: Tensor, condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
    """Which frames of x (B, C, T) are known, (B, 1, T), the degraded version (B, C, T) and the beat (B, PHASES, T).

    Zeros where not told.
    """
    # One channel: a latent frame is known as a whole or not at all.
    mask = condition["mask"][:, :1].to(x) if "mask" in condition else x.new_zeros(1, 1, 1)
    degraded = condition["degraded"].to(x) if "degraded" in condition else torch.zeros_like(x)
    beat = condition["beat"].to(x) if "beat" in condition else x.new_zeros(1, PHASES, 1)
    B, _, T = x.shape
    return mask.expand(B, 1, T), degraded, beat.expand(B, PHASES, T)


def _predictions(out: Tensor, channels: int) -> Tensor | tuple[Tensor, Tensor]:
    """The output, or its halves where the variance is learned."""
    return out if out.shape[1] == channels else (out[:, :channels], out[:, channels:])
