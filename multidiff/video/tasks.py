"""Which frames are known: at random in training, and for each completion task.

One masked model does every task (Hoeppe et al. 2022, RaMViD; Open-Sora 1.1): known frames stay clean and the
loss is taken on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from multidiff.errors import MediaError
from multidiff.modality import Spec
from multidiff.video.frames import Frames
from multidiff.video.media import Video


class Predict(Spec):
    """The frames that follow. A picture, or a video of one frame, is a first frame."""

    keep: int = Field(4, gt=0, description="last frames of the given video that the new ones continue")


class Interpolate(Spec):
    """The frames between the first and the last of the given video."""

    keep: int = Field(1, gt=0, description="frames kept at each end")


@dataclass(frozen=True)
class Splice:
    """How generated frames join the given ones: before + generated[start:stop] + after."""

    before: Frames
    after: Frames
    start: int
    stop: int


def predict(media: Video, keep: int, frames: int) -> tuple[Splice, dict[int, Frames]]:
    """The splice, and the known frames (n, H, W, 3) by the generated position at which they begin."""
    kept = min(keep, len(media), frames - 1)
    _check_room(frames, 2)
    return Splice(media.frames, media.frames[:0], kept, frames), {0: media.frames[len(media) - kept :]}


def interpolate(media: Video, keep: int, frames: int) -> tuple[Splice, dict[int, Frames]]:
    """As `predict`. Raises MediaError for a video of one frame."""
    if len(media) < 2:
        raise MediaError("the video has 1 frame; interpolation needs a first and a last one, or use --task predict")
    _check_room(frames, 3)
    kept = min(keep, len(media) // 2, (frames - 1) // 2)
    first, last = media.frames[:kept], media.frames[len(media) - kept :]
    return Splice(first, last, kept, frames - kept), {0: first, frames - kept: last}


PLANS = {"predict": predict, "interpolate": interpolate}
"""How each task splices; called with the given video, `keep` and the frames to generate in all."""


def spliced(generated: Video, media: Video, splice: Splice) -> Video:
    """The given frames untouched, the generated ones made as large as they are."""
    made = Video(generated.frames[splice.start : splice.stop]).fit(media.height, media.width)
    return Video(np.concatenate([splice.before, made.frames, splice.after]), generated.fps)


def _check_room(frames: int, least: int) -> None:
    if frames < least:
        raise MediaError(f"frames={frames} leaves none to generate; ask for at least {least}")


Part = Literal["first", "ends", "any", "around"]
PARTS: tuple[Part, ...] = ("first", "ends", "any", "around")
"""What is known in training: the first few frames, the first and last few, any (each frame with a probability of its
own sample), all but a box of one to three quarters of height and width."""


def random_masks(
    shape: tuple[int, int, int, int], rate: float, parts: Sequence[str], generator: torch.Generator
) -> Tensor:
    """Masks (B, 1, T, H, W), 1 = known, for training; shape (B, T, H, W).

    A share `rate` of the samples has one of the `parts` known, each as often. Something is always left to generate.
    """
    count, frames, height, width = shape
    u = torch.rand(count, 7, generator=generator)
    position = torch.arange(frames)
    longest = max(1, frames // 2)
    head = 1 + (u[:, 1:2] * longest).long()
    tail = (head + 1) // 2
    first = position < head
    ends = (position < tail) | (position >= frames - tail)
    anywhere = torch.rand(count, frames, generator=generator) < u[:, 1:2]
    kind = torch.tensor([PARTS.index(part) for part in parts])[(len(parts) * u[:, 2:3]).long()]
    known = torch.where(kind == 0, first, torch.where(kind == 1, ends, (kind == 2) & anywhere))[:, :, None, None]
    outside = ~(_within(height, u[:, 3], u[:, 4])[:, :, None] & _within(width, u[:, 5], u[:, 6])[:, None, :])
    mask = torch.where((kind == 3)[:, :, None, None], outside[:, None], known)
    mask = mask & (u[:, :1] < rate)[:, :, None, None] & ~mask.flatten(1).all(1)[:, None, None, None]
    return mask.float()[:, None]


def _within(size: int, length: Tensor, start: Tensor) -> Tensor:
    """(B, size): where an interval of a quarter to three quarters of `size` lies, `length` and `start` in [0, 1)."""
    long = (size * (0.25 + 0.5 * length)).ceil()
    begin = (start * (size - long + 1)).floor()
    place = torch.arange(size)
    return (place >= begin[:, None]) & (place < (begin + long)[:, None])
