"""Spatial super-resolution, the second stage of a cascade (Ho et al. 2022, 2106.15282): the same frames in more pixels.

The denoiser is told the small clip, enlarged to its own size, as further channels (the condition `low`). In training
that is the clip itself averaged over blocks, with Gaussian noise of a random standard deviation that the network is
told too (`low_noise`): conditioning augmentation (section 4.2, here without shrinking the clip), which makes it repair
small clips that a model has made rather than trust them. A share of the training clips goes without, so that the same
model makes clips from a prompt alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from multidiff.errors import InputError
from multidiff.modality import Given, Spec
from multidiff.video.codec import FrameCodec
from multidiff.video.media import Video
from multidiff.video.network import UNTOLD

MOST = 0.5
"""Standard deviation of the strongest noise on the small clip, in model space."""
DROPPED = 0.1
"""Share of training clips without a small one."""


class SuperResolution(Spec):
    """The same frames in as many pixels as the model makes, of a model that was trained with data.low."""

    augment: float = Field(
        0.1, ge=0, le=MOST, description="noise put on the small clip: more lets the model repair more of it"
    )


@dataclass(frozen=True)
class Enlarged:
    """What `merged` needs: the height and width that a clip has without the bars that made it square."""

    height: int
    width: int


def batch(codec: FrameCodec, frames: Tensor, side: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The condition of training clips (B, T, H, W, 3) uint8: `low` (B, *event) and `low_noise` (B,)."""
    u = torch.rand(2, len(frames), generator=generator)
    low = codec.to_model(lowered(frames, side))
    noise = torch.randn(low.shape, generator=generator, device=generator.device).to(low)
    level, told = MOST * u[0].to(low), (u[1] >= DROPPED).to(low)
    shape = (-1, 1, 1, 1, 1)
    made = told.view(shape) * (low + level.view(shape) * noise)
    return {"low": made, "low_noise": torch.where(told > 0, level, UNTOLD)}


def lowered(frames: Tensor, side: int) -> Tensor:
    """Frames (B, T, H, W, 3) uint8 as those of `side` x `side` pixels look when each is repeated, as they are enlarged
    for the task: means over blocks."""
    block = frames.shape[2] // side
    seen = frames.float().unflatten(3, (side, block)).unflatten(2, (side, block))
    small = seen.mean(dim=(3, 5)).round().to(torch.uint8)
    return small.repeat_interleave(block, dim=2).repeat_interleave(block, dim=3)


def given(media: Video, task: SuperResolution, codec: FrameCodec) -> Given:
    """Nothing is known but the small clip. Raises InputError for one that has as many pixels as the model makes."""
    longest = max(media.height, media.width)
    if longest >= codec.size:
        raise InputError(
            f"the video has {media.width} x {media.height} pixels and the model makes {codec.size} x {codec.size}: "
            "nothing to add"
        )
    low = codec.encode([media])
    # Of one seed: the noise is a part of what is given, like it the same for every sample.
    noise = torch.randn(low.shape, generator=torch.Generator().manual_seed(0)).to(low)
    told = {"low": low + task.augment * noise, "low_noise": low.new_full((1,), task.augment)}
    scale = codec.size / longest
    size = Enlarged(max(1, round(media.height * scale)), max(1, round(media.width * scale)))
    return Given(torch.zeros_like(low), low.new_zeros(1, 1, len(media), 1, 1), told, size)


def merged(generated: Video, size: Enlarged) -> Video:
    """The generated clip without its bars."""
    return generated.fit(size.height, size.width)
