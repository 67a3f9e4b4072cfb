"""What is known: at random in training, and for each completion task.

One masked model does every task (Hoeppe et al. 2022, RaMViD; Open-Sora 1.1): what is known stays clean and the
loss is taken on the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn.functional import adaptive_max_pool3d

from multidiff.errors import MediaError
from multidiff.frames import Frames
from multidiff.modality import Spec
from multidiff.video.frames import padded_mask
from multidiff.video.media import Video

MAX_FRAMES = 256
"""Of a clip that is made."""
WHITE = 128
"""Levels from here on are white in a mask."""


class Predict(Spec):
    """The frames that follow. A picture, or a video of one frame, is a first frame."""

    keep: int = Field(4, gt=0, description="last frames of the given video that the new ones continue")


class Interpolate(Spec):
    """The frames between the first and the last of the given video."""

    keep: int = Field(1, gt=0, description="frames kept at each end")


class Fill(Spec):
    """A part of the picture through time: a box or what is white in a mask, from one time to another; without box and
    mask the whole picture."""

    box: tuple[int, int, int, int] | None = Field(
        None, description="x0,y0,x1,y1: pixels from (x0, y0) up to, without, (x1, y1) are made anew"
    )
    mask: str | None = Field(None, description="picture or video as large as the given one: white is made anew")
    start: float | None = Field(None, alias="from", ge=0, description="seconds where it begins")
    end: float | None = Field(None, alias="to", gt=0, description="seconds where it ends")

    @field_validator("box", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        numbers = value.split(",")
        if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
            raise ValueError("give x0,y0,x1,y1 in whole pixels, for example 16,16,48,48")
        return tuple(int(number) for number in numbers)

    @model_validator(mode="after")
    def _of_one_place(self) -> Fill:
        if self.box and self.mask:
            raise ValueError("give a box or a mask, not both")
        if not any((self.box, self.mask, self.start is not None, self.end is not None)):
            raise ValueError("say what to make anew: a box, a mask, or the time from and to")
        return self


class SlowMotion(Spec):
    """New frames between every two of the given ones, shown as much faster."""

    times: int = Field(2, ge=2, le=8, description="so many frames for one")


@dataclass(frozen=True)
class Canvas:
    """The clip that is made, as far as it is given, and where it goes.

    frames (T, H, W, 3): anything where nothing is known; known (T, H, W), or 1 for H and W. The result is what lies
    `before` it in the given video, and the clip. place (T,): of each frame, in frames since the given video's first.
    """

    frames: Frames
    known: NDArray[np.bool_]
    fps: float
    before: Frames
    place: NDArray[np.float64]

    def merged(self, generated: Video) -> Video:
        """What was given untouched, what was generated made as large as it is."""
        height, width = self.frames.shape[1:3]
        made = Video(generated.frames).fit(height, width).frames
        clip = np.where(self.known[..., None], self.frames, made)
        return Video(np.concatenate([self.before, clip]), generated.fps)

    def mask(self, size: int, shape: Sequence[int]) -> Tensor:
        """(1, 1, T, h, w), or 1 for h and w: 1 where all of what a position of model space holds is known.

        shape: (T, h, w), of frames made `size` pixels high and wide by bars.
        """
        unknown = ~self.known
        if unknown.shape[1:] != (1, 1):
            unknown = padded_mask(unknown, size, size)
        pixels = torch.from_numpy(unknown).float()[None, None]
        return 1 - (pixels if pixels.shape[-1] == 1 else adaptive_max_pool3d(pixels, tuple(shape)))


def predict(media: Video, task: Predict, frames: int, fps: float) -> Canvas:
    """`frames` is how many are made, the kept ones included; `fps` the rate of a picture, which has none.

    Raises MediaError, as all tasks do, for what cannot be completed so.
    """
    _check_room(frames, 2)
    kept = min(task.keep, len(media), frames - 1)
    rest = len(media) - kept
    known, place = np.arange(frames) < kept, rest + np.arange(frames, dtype=float)
    fps = media.fps if len(media) > 1 else fps
    return _canvas({0: media.frames[rest:]}, known, fps, place, media.frames[:rest])


def interpolate(media: Video, task: Interpolate, frames: int, fps: float) -> Canvas:
    """As `predict`. Raises MediaError for a video of one frame."""
    _check_several(media, "interpolation")
    _check_room(frames, 3)
    kept = min(task.keep, len(media) // 2, (frames - 1) // 2)
    first, last = media.frames[:kept], media.frames[len(media) - kept :]
    place = np.arange(frames, dtype=float)
    known = (place < kept) | (place >= frames - kept)
    return _canvas({0: first, frames - kept: last}, known, media.fps, place)


def slow_motion(media: Video, task: SlowMotion, frames: int, fps: float) -> Canvas:
    """As many frames as the given video needs. Raises MediaError for a video of one frame, or too many."""
    _check_several(media, "slow motion")
    count = (len(media) - 1) * task.times + 1
    _check_length(count)
    index = np.arange(count)
    parts = {i * task.times: media.frames[i : i + 1] for i in range(len(media))}
    return _canvas(parts, index % task.times == 0, media.fps * task.times, index / task.times)


def fill(media: Video, task: Fill, frames: int, fps: float) -> Canvas:
    """As many frames as the given video has. Raises MediaError for a part that is empty or not within it."""
    _check_length(len(media))
    when, size = _when(media, task), (media.height, media.width) if task.box or task.mask else (1, 1)
    region = np.zeros((len(media), *size), bool)
    if task.box:
        x0, y0, x1, y1 = task.box
        if not (x0 < x1 <= media.width and y0 < y1 <= media.height):
            raise MediaError(
                f"box {x0},{y0},{x1},{y1}: is no part of a picture of {media.width} x {media.height} pixels; "
                "give x0,y0,x1,y1 with x0 < x1 and y0 < y1 within it"
            )
        region[when, y0:y1, x0:x1] = True
    else:
        region[when] = _white(media, task.mask)[when] if task.mask else True
    if not region.any():
        raise MediaError(f"{task.mask}: nothing in it is white where something shall be made anew")
    fps = media.fps if len(media) > 1 else fps
    return Canvas(media.frames, ~region, fps, media.frames[:0], np.arange(len(media), dtype=float))


def _when(media: Video, task: Fill) -> slice:
    """The frames from one time to the other."""
    start = 0.0 if task.start is None else task.start
    end = media.seconds if task.end is None else task.end
    if not start < end <= media.seconds + 0.5 / media.fps or start >= media.seconds:
        raise MediaError(
            f"cannot fill from {start:g} to {end:g} s: the video is {media.seconds:.2f} s long; "
            "choose from < to within it"
        )
    first = min(round(start * media.fps), len(media) - 1)
    return slice(first, max(min(round(end * media.fps), len(media)), first + 1))


def _white(media: Video, path: str) -> NDArray[np.bool_]:
    """(T, H, W): where a mask for these frames is white; a picture is one for all."""
    mask = Video.read(path)
    if (mask.height, mask.width) != (media.height, media.width) or len(mask) not in (1, len(media)):
        raise MediaError(
            f"{path}: a mask of {len(mask)} frames of {mask.width} x {mask.height} pixels does not fit {len(media)} of "
            f"{media.width} x {media.height}; give a picture or a video as large as the given one"
        )
    white: NDArray[np.bool_] = mask.frames.mean(-1) >= WHITE
    return np.broadcast_to(white, (len(media), *white.shape[1:]))


PLANS: Mapping[str, tuple[type[Spec], Callable[[Video, Any, int, float], Canvas]]] = {
    "predict": (Predict, predict),
    "interpolate": (Interpolate, interpolate),
    "fill": (Fill, fill),
    "slow-motion": (SlowMotion, slow_motion),
}
"""Task -> its options, and what it makes of the given video, these, and the frames and the rate that are asked for."""


def _canvas(
    parts: Mapping[int, Frames],
    known: NDArray[np.bool_],
    fps: float,
    place: NDArray[np.float64],
    before: Frames | None = None,
) -> Canvas:
    """A canvas (T, ...) with whole frames (n, H, W, 3) known, by where they begin."""
    some = next(iter(parts.values()))
    frames = np.zeros((len(known), *some.shape[1:]), np.uint8)
    for start, given in parts.items():
        frames[start : start + len(given)] = given
    return Canvas(frames, known[:, None, None], fps, some[:0] if before is None else before, place)


def _check_room(frames: int, least: int) -> None:
    if frames < least:
        raise MediaError(f"frames={frames} leaves none to generate; ask for at least {least}")


def _check_several(media: Video, what: str) -> None:
    if len(media) < 2:
        raise MediaError(f"the video has 1 frame; {what} needs a first and a last one, or use --task predict")


def _check_length(frames: int) -> None:
    if frames > MAX_FRAMES:
        raise MediaError(f"this makes {frames} frames; at most {MAX_FRAMES} are made at once, cut the video")


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
