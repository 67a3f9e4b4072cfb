"""Video <-> model space: pixels as they are, or the latents of a frame autoencoder. A recipe chooses by `codec.kind`.

`pixels` has no weights: levels scaled to about unit variance and pixel-unshuffled. Pixel-unshuffle (Shi et al. 2016,
"sub-pixel convolution", the inverse) moves each p x p patch into channels. Nothing is lost, so sprites and text stay
sharp, and the network works on p^2 times fewer positions.

`autoencoder` codes each frame by itself (`autoencoder.py`); its latents are standardised per channel with statistics
kept beside the weights, so that the diffusion sees unit variance whatever the autoencoder's own scale.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.errors import MediaError
from multidiff.modality import Spec
from multidiff.video.autoencoder import FrameAutoencoder
from multidiff.video.classifier import ClassifierSpec

LIMIT = 2.0
"""Black is -LIMIT and white LIMIT: pixels in [-1, 1] have a standard deviation near 1/2."""
CHUNK = 128
"""Frames coded at once, so that long clips need no more memory."""
BLANK = 128
"""The level of pixels that are unknown: grey."""


class VideoCodecSpec(Spec):
    """How frames become model space; the kind says which further keys there are."""

    kind: Literal["pixels", "autoencoder"] = "pixels"
    size: int = Field(64, ge=8, description="height and width in pixels")
    unshuffle: int = Field(4, gt=0, description="side of the patch that becomes channels")
    channels: Literal[1, 3] = Field(3, description="3: colour; 1: grey, the mean of red, green and blue")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> type[Spec]:
        return SPECS.get(str(section.get("kind")), VideoCodecSpec)

    @model_validator(mode="after")
    def _divides(self) -> VideoCodecSpec:
        if self.size % self.unshuffle:
            raise ValueError(f"size {self.size} is not a multiple of unshuffle {self.unshuffle}")
        return self


class AutoencoderSpec(VideoCodecSpec):
    """The frame autoencoder, whose factor is `unshuffle` times 2 for every width but the first."""

    kind: Literal["pixels", "autoencoder"] = "autoencoder"
    weights: str | None = Field(None, description="model or run whose codec is loaded before training starts")
    widths: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (64, 96), min_length=1, description="channels of each resolution, finest first; each halves height and width"
    )
    depth: int = Field(8, gt=0, description="channels of the latents")
    kl: float = Field(1e-3, ge=0, description="weight of the divergence from N(0, 1) in the objective vae")

    @property
    def factor(self) -> int:
        return self.unshuffle * 2 ** (len(self.widths) - 1)

    @model_validator(mode="after")
    def _divides(self) -> AutoencoderSpec:
        if self.size % self.factor:
            raise ValueError(
                f"size {self.size} is not a multiple of {self.factor}, unshuffle {self.unshuffle} times 2 for every "
                "width but the first"
            )
        return self


SPECS: Mapping[str, type[Spec]] = {
    "pixels": VideoCodecSpec,
    "autoencoder": AutoencoderSpec,
    "classifier": ClassifierSpec,
}


class FrameCodec(nn.Module, ABC):
    """What the codecs share: uint8 frames (B, T, H, W, 3) <-> x (B, C, T, h, w), each frame by itself."""

    limit = float("inf")
    """The largest magnitude that x can have."""
    patch = 1
    """Side of the patch of pixels whose values are the channels of x; 1 where they are none."""

    def __init__(self, spec: VideoCodecSpec) -> None:
        super().__init__()
        self.spec, self.size, self.channels = spec, spec.size, spec.channels

    @abstractmethod
    def event_shape(self, frames: int) -> tuple[int, int, int, int]: ...

    @abstractmethod
    def to_model(self, frames: Tensor) -> Tensor:
        """uint8 frames (B, T, H, W, 3) -> x."""

    @abstractmethod
    def to_frames(self, x: Tensor) -> Tensor:
        """x -> uint8 frames (B, T, H, W, 3), clamped to black and white."""

    def known(self, x: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """x of `frames`, which tells nothing of what `mask` (B, 1, T, h, w), 1 where known, leaves unknown."""
        return x

    def encode(self, media: Sequence[Any]) -> Tensor:
        """Videos of one length -> x (B, *event); other sizes are fitted, bars filling other proportions.

        Raises MediaError for different lengths.
        """
        lengths = sorted({len(video) for video in media})
        if len(lengths) != 1:
            raise MediaError(f"videos of {lengths} frames cannot be encoded together; cut them to one length")
        fitted = [torch.from_numpy(video.fit(self.size, self.size, "pad").frames) for video in media]
        return self.to_model(torch.stack(fitted))

    def decode(self, x: Tensor, options: Any) -> list[Any]:
        """x (B, *event) -> Videos at `options.fps`."""
        from multidiff.video.media import Video

        return [Video(frames.numpy(), options.fps) for frames in self.to_frames(x.detach()).cpu()]


class PixelCodec(FrameCodec):
    """Frames (B, T, H, W, 3) uint8 <-> x (B, C p^2, T, H/p, W/p) in [-LIMIT, LIMIT], C colours; the round trip is
    exact, where C is 1 that of grey frames."""

    limit = LIMIT

    def __init__(self, spec: VideoCodecSpec) -> None:
        super().__init__(spec)
        self.patch = spec.unshuffle

    def event_shape(self, frames: int) -> tuple[int, int, int, int]:
        side = self.size // self.patch
        return self.channels * self.patch**2, frames, side, side

    def to_model(self, frames: Tensor) -> Tensor:
        return rearrange(
            pixels(frames, self.channels), "b t c (h p) (w q) -> b (c p q) t h w", p=self.patch, q=self.patch
        )

    def to_frames(self, x: Tensor) -> Tensor:
        return levels(rearrange(x, "b (c p q) t h w -> b t c (h p) (w q)", p=self.patch, q=self.patch))


class LatentCodec(FrameCodec):
    """Frames (B, T, H, W, 3) uint8 <-> latents x (B, depth, T, H/f, W/f) of unit variance and without bounds."""

    def __init__(self, spec: AutoencoderSpec) -> None:
        super().__init__(spec)
        self.kl = spec.kl
        self.autoencoder = FrameAutoencoder(spec.channels, spec.unshuffle, spec.widths, spec.depth)

    def event_shape(self, frames: int) -> tuple[int, int, int, int]:
        side = self.size // self.autoencoder.factor
        return len(self.autoencoder.latent_std), frames, side, side

    @torch.no_grad()
    def to_model(self, frames: Tensor) -> Tensor:
        frames = frames.to(self.autoencoder.latent_std.device)
        seen = pixels(frames, self.channels)
        x = torch.cat([self.autoencoder.encode(part) for part in seen.flatten(0, 1).split(CHUNK)])
        return rearrange(x, "(b t) c h w -> b c t h w", b=len(frames))

    @torch.no_grad()
    def to_frames(self, x: Tensor) -> Tensor:
        folded = rearrange(x.to(self.autoencoder.latent_std), "b c t h w -> (b t) c h w")
        made = torch.cat([levels(self.autoencoder.decode(part)) for part in folded.split(CHUNK)])
        return made.unflatten(0, (len(x), -1))

    def known(self, x: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """What is unknown of a frame is blanked before it is encoded: each latent sees far beyond its own pixels."""
        is_partial = mask.amax(dim=(1, 3, 4)) != mask.amin(dim=(1, 3, 4))
        clips = is_partial.any(dim=1)
        if not bool(clips.any()):
            return x
        f = self.autoencoder.factor
        shown = mask[clips, 0].repeat_interleave(f, dim=2).repeat_interleave(f, dim=3)[..., None].bool()
        x = x.clone()
        x[clips] = self.to_model(torch.where(shown, frames[clips], BLANK)).to(x)
        return x


def pixels(frames: Tensor, colours: int) -> Tensor:
    """uint8 frames (..., H, W, 3) -> (..., colours, H, W) in [-LIMIT, LIMIT]; one colour is the mean of the three."""
    values = frames.float()
    values = values if colours == 3 else values.mean(-1, keepdim=True)
    return (values * (2 * LIMIT / 255) - LIMIT).movedim(-1, -3)


def levels(pixels: Tensor) -> Tensor:
    """Pixels (..., C, H, W) -> uint8 frames (..., H, W, 3), clamped to black and white."""
    made = ((pixels.float() + LIMIT) * (255 / (2 * LIMIT))).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1)
    return made.expand(*made.shape[:-1], 3)
