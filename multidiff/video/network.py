"""The denoisers of video: the space-time U-Net, or a diffusion transformer, told which frames are known.

Known frames are clean whatever the noise level of the others, so their own log-SNR is the highest one
(Open-Sora 1.1 report, "masking": timestep 0 for unmasked frames), beside the mask as an input channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.errors import InputError, RecipeError
from multidiff.modality import Condition, Spec
from multidiff.nn.embedding import LOG_SNR_BOUND, LogSNREmbedding, sinusoidal
from multidiff.nn.residual import zeroed
from multidiff.nn.space_time_transformer import SpaceTimeTransformer
from multidiff.nn.unet import UNet, check_levels

TEXT_DIM = 384
POSITION_FEATURES = RATE_FEATURES = LOW_FEATURES = 64
UNTOLD = -1.0
"""`low_noise` where there is no small clip."""


class NetworkSpec(Spec):
    """The denoiser; its kind says which further keys there are."""

    kind: Literal["unet", "transformer"] = "unet"
    positions: bool = Field(False, description="tell each frame its place: for clips that all begin alike")
    cycle: int = Field(
        0, ge=0, description="so many frames on, places are the same again: of clips that repeat; 0: never"
    )
    rate: bool = Field(False, description="tell the frames per second: for films of many rates")
    low: bool = Field(False, description="tell the clip in fewer pixels, to make it larger: with data.low")
    learned_variance: bool = Field(False, description="also predict the reverse step's variance, for the hybrid loss")
    checkpointing: bool = Field(False, description="recompute activations to save memory")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> type[Spec]:
        return TransformerSpec if section.get("kind") == "transformer" else VideoNetworkSpec


class VideoNetworkSpec(NetworkSpec):
    """Size of the space-time U-Net."""

    widths: tuple[int, ...] = Field((64, 96, 128), min_length=1, description="channels of each level, finest first")
    blocks: int = Field(1, gt=0, description="stages of a level on the way down; one more on the way up")
    attention: tuple[int, ...] = Field((1, 2), description="levels, 0 the finest, with attention")
    head_dim: int = Field(32, gt=0, description="channels of an attention head")
    detail: int = Field(0, ge=0, description="channels of a branch that sees single pixels, not patches; 0 for none")

    @model_validator(mode="after")
    def _consistent(self) -> VideoNetworkSpec:
        check_levels(self.widths, self.attention, self.head_dim)
        return self


class TransformerSpec(NetworkSpec):
    """Size of the diffusion transformer over space and time."""

    kind: Literal["unet", "transformer"] = "transformer"
    dim: int = Field(192, gt=0, description="channels of a token")
    depth: int = Field(4, gt=0)
    heads: int = Field(6, gt=0)
    patch: int = Field(2, gt=0, description="side, in positions of x, of a token")
    expansion: int = Field(4, gt=0, description="of the feed-forward")

    @model_validator(mode="after")
    def _divides(self) -> TransformerSpec:
        if self.dim % (2 * self.heads) or self.dim % 4:
            raise ValueError(f"dim {self.dim} must be a multiple of 4 and of twice heads, {2 * self.heads}")
        return self


class VideoDenoiser(nn.Module, ABC):
    """forward(x (B, C, T, H, W), log_snr (B,), condition) -> (B, C, T, H, W), for any T.

    With spec.learned_variance two of these: the prediction and the variance's v.

    condition: `mask` (B, 1, T, H, W), or 1 for H and W, 1 where x is known and clean; `tokens` (B, L, 384) and
    `tokens_mask` (B, L), the prompt; `position` (B, T) or (B, 1, T, 1, 1), each frame's place in its clip or
    between two of them, looked at only with spec.positions; `fps` (B,), looked at only with spec.rate; `low` (B, C, T,
    H, W), the clip in fewer pixels, and `low_noise` (B,), the noise on it (see `super_resolution`), only with spec.low.
    Each but `fps` may be absent; positions then count from 0.
    """

    width: int
    """Of `features`."""
    place: nn.Linear | None
    rate: nn.Linear | None
    low: nn.Linear | None

    @property
    @abstractmethod
    def body(self) -> UNet | SpaceTimeTransformer:
        """What is told, as forward is, of each frame's noise level, and of the prompt."""

    def _tell(self, spec: NetworkSpec, dim: int) -> None:
        """Layers for what is added to the embedding of the noise level, of `dim` channels."""
        self.cycle = spec.cycle
        self.place = nn.Linear(POSITION_FEATURES, dim) if spec.positions else None
        self.rate = nn.Linear(RATE_FEATURES, dim) if spec.rate else None
        self.low = nn.Linear(LOW_FEATURES, dim) if spec.low else None
        # What is known of the clip already need not squeeze through: a share of it goes straight to the output.
        self.low_share = (
            nn.Sequential(LogSNREmbedding(LOW_FEATURES), zeroed(nn.Linear(LOW_FEATURES, 1))) if spec.low else None
        )

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out, channels = self.body(*self._told(x, log_snr, condition)), x.shape[1]
        if self.low_share is not None and "low" in condition:
            share = self.low_share(log_snr)[:, :, None, None, None] * condition["low"].to(x)
            out = out + F.pad(share, (0, 0, 0, 0, 0, 0, 0, out.shape[1] - channels))
        return out if out.shape[1] == channels else (out[:, :channels], out[:, channels:])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, width): the mean over space and time of what the last layer sees."""
        return self.body.features(*self._told(x, log_snr, condition))

    def _told(
        self, x: Tensor, log_snr: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What the body takes: x with its mask, the level of each frame, tokens and their mask, places and rate."""
        B, _, T, H, W = x.shape
        mask = condition.get("mask", x.new_zeros(1)).to(x.dtype).expand(B, 1, T, H, W)
        is_known = rearrange(mask.amin(dim=(3, 4)), "b 1 t -> b t") > 0
        levels = torch.where(is_known, LOG_SNR_BOUND, log_snr[:, None])
        tokens = condition.get("tokens")
        tokens = None if tokens is None else tokens.to(x.dtype)
        extra = None
        if self.place is not None:
            position = condition.get("position", torch.arange(T, device=x.device).expand(B, T)).reshape(B, T)
            position = position % self.cycle if self.cycle else position
            extra = self.place(sinusoidal(position, POSITION_FEATURES).to(x.dtype))
        if self.rate is not None:
            rate = self.rate(rate_features(condition, x)).expand(B, T, -1)
            extra = rate if extra is None else extra + rate
        planes = [x, mask]
        if self.low is not None:
            level = condition.get("low_noise", x.new_full((B,), UNTOLD))
            low = self.low(sinusoidal(100.0 * level[:, None], LOW_FEATURES).to(x.dtype)).expand(B, T, -1)
            extra = low if extra is None else extra + low
            planes.append(condition["low"].to(x) if "low" in condition else torch.zeros_like(x))
        elif "low" in condition:
            raise InputError("this model makes no clips larger; take one trained with network.low and data.low")
        return torch.cat(planes, dim=1), levels, tokens, condition.get("tokens_mask"), extra


def ends(spec: NetworkSpec, channels: int) -> dict[str, Any]:
    """What every body is told beside its size: it sees x, the mask and the small clip."""
    return {
        "inputs": channels + 1 + channels * spec.low,
        "outputs": 2 * channels if spec.learned_variance else channels,
        "context_dim": TEXT_DIM,
        "checkpointing": spec.checkpointing,
    }


def rate_features(condition: Condition, x: Tensor) -> Tensor:
    """(B, 1, RATE_FEATURES): of the logarithm of the frames per second. Raises InputError where it is not told."""
    if "fps" not in condition:
        raise InputError("network.rate: the data were prepared without the clips' frame rates; prepare them again")
    # 20 radians for each factor e tell rates apart that differ by a tenth.
    return sinusoidal(20.0 * condition["fps"].float().log()[:, None], RATE_FEATURES).to(x.dtype)


class VideoNetwork(VideoDenoiser):
    """The space-time U-Net."""

    def __init__(self, spec: VideoNetworkSpec, channels: int, patch: int = 1) -> None:
        """`channels` of x hold patches of `patch` x `patch` pixels. Raises RecipeError for detail of single pixels."""
        super().__init__()
        if spec.detail and patch == 1:
            raise RecipeError("network.detail is finer than a patch of pixels: take codec.unshuffle of 2 or more")
        self.width = spec.widths[0]
        self.unet = UNet(
            **ends(spec, channels),
            widths=spec.widths,
            blocks=spec.blocks,
            attention=spec.attention,
            head_dim=spec.head_dim,
            temporal=True,
            detail=spec.detail,
            patch=patch,
        )
        self._tell(spec, self.unet.dim)

    @property
    def body(self) -> UNet:
        return self.unet


class VideoTransformer(VideoDenoiser):
    """The diffusion transformer over space and time, for H and W that are multiples of spec.patch."""

    def __init__(self, spec: TransformerSpec, channels: int) -> None:
        super().__init__()
        self.width = spec.dim
        self.transformer = SpaceTimeTransformer(
            **ends(spec, channels),
            dim=spec.dim,
            depth=spec.depth,
            heads=spec.heads,
            patch=spec.patch,
            expansion=spec.expansion,
        )
        self._tell(spec, self.transformer.dim)

    @property
    def body(self) -> SpaceTimeTransformer:
        return self.transformer


def network(spec: VideoNetworkSpec | TransformerSpec, channels: int, side: int, patch: int) -> VideoDenoiser:
    """The denoiser of a kind, of x with `channels` and with `side` positions in height and width, each a patch of
    `patch` x `patch` pixels. Raises RecipeError where these do not fit."""
    if isinstance(spec, VideoNetworkSpec):
        return VideoNetwork(spec, channels, patch)
    if side % spec.patch:
        raise RecipeError(f"network.patch {spec.patch} does not divide the {side} positions of a frame's side")
    return VideoTransformer(spec, channels)
