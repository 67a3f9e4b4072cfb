"""Video <-> model space without weights: pixels scaled to about unit variance and pixel-unshuffled.

Pixel-unshuffle (Shi et al. 2016, "sub-pixel convolution", the inverse) moves each p x p patch into channels.
Nothing is lost, so sprites and text stay sharp, and the network works on p^2 times fewer positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.errors import MediaError
from multidiff.modality import Spec

LIMIT = 2.0
"""Black is -LIMIT and white LIMIT: pixels in [-1, 1] have a standard deviation near 1/2."""


class VideoCodecSpec(Spec):
    """How frames become model space."""

    size: int = Field(64, ge=8, description="height and width in pixels")
    unshuffle: int = Field(4, gt=0, description="side of the patch that becomes channels")
    channels: Literal[1, 3] = Field(3, description="3: colour; 1: grey, the mean of red, green and blue")

    @model_validator(mode="after")
    def _divides(self) -> VideoCodecSpec:
        if self.size % self.unshuffle:
            raise ValueError(f"size {self.size} is not a multiple of unshuffle {self.unshuffle}")
        return self


class PixelCodec(nn.Module):
    """Frames (B, T, H, W, 3) uint8 <-> x (B, C p^2, T, H/p, W/p) in [-LIMIT, LIMIT], C colours; the round trip is
    exact, where C is 1 that of grey frames."""

    def __init__(self, spec: VideoCodecSpec) -> None:
        super().__init__()
        self.size, self.patch, self.channels = spec.size, spec.unshuffle, spec.channels

    def event_shape(self, frames: int) -> tuple[int, int, int, int]:
        side = self.size // self.patch
        return self.channels * self.patch**2, frames, side, side

    def to_model(self, frames: Tensor) -> Tensor:
        """uint8 frames (B, T, H, W, 3) -> x."""
        levels = frames.float()
        levels = levels if self.channels == 3 else levels.mean(-1, keepdim=True)
        x = levels * (2 * LIMIT / 255) - LIMIT
        return rearrange(x, "b t (h p) (w q) c -> b (c p q) t h w", p=self.patch, q=self.patch)

    def to_frames(self, x: Tensor) -> Tensor:
        """x -> uint8 frames (B, T, H, W, 3), clamped to black and white."""
        pixels = ((x.float() + LIMIT) * (255 / (2 * LIMIT))).round().clamp(0, 255).to(torch.uint8)
        shown = rearrange(pixels, "b (c p q) t h w -> b t (h p) (w q) c", p=self.patch, q=self.patch)
        return shown.expand(*shown.shape[:-1], 3)

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

        return [Video(frames.numpy(), options.fps) for frames in self.to_frames(x.detach().cpu())]
