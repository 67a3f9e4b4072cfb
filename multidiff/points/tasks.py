"""What is known of a shape for each task, and what is made of it in the given cloud's own unit and place.

One masked model does all but denoising: known points stay clean, the others are made (PVD: Zhou et al. 2021; Point-E's
upsampler: Nichol et al. 2022, section 4.2). A noisy cloud is where a run of the sampler would be when so much noise
is left, and goes on from there.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from multidiff.errors import MediaError, Notice
from multidiff.modality import Given, Spec
from multidiff.points.codec import Frame, frame_of_part, frame_of_whole, heading
from multidiff.points.media import MIN_POINTS, UP, Axis, PointCloud
from multidiff.points.sampling import Array, noise_level, strays

MAX_POINTS = 131_072
CHUNK = 2048
"""New points that are made at a time between those of a whole, so that as many of those that are looked at are known as
were in training."""


class Upright(Spec):
    """What every task asks of a file."""

    up: Axis = Field("y", description="axis of the file that points up: x, y, z, -x, -y or -z")


class CompletePart(Upright):
    """A part is given, the whole shape is wanted."""

    known: int = Field(
        128, ge=16, le=16_384, description="given points shown to the model, evenly spread; all are kept"
    )
    outliers: Literal["keep", "drop"] = Field(
        "keep", description="drop: leave out given points that lie apart from the others, and say how many"
    )


class Upsample(Upright):
    """A whole shape is given in few points, as many as `points` are wanted: those given and others between them."""

    known: int = Field(
        1024, ge=16, le=16_384, description="given points shown to the model, evenly spread; all are kept"
    )


class Region(Upright):
    """What lies in a box is made anew, all else is kept."""

    box: tuple[float, float, float, float, float, float] = Field(
        description="x0,y0,z0,x1,y1,z1, in the file's unit and axes: points between the two corners are made anew"
    )
    known: int = Field(
        128, ge=16, le=16_384, description="given points shown to the model, evenly spread; all are kept"
    )

    @field_validator("box", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            numbers = [float(number) for number in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 6:
            raise ValueError("give x0,y0,z0,x1,y1,z1 in the file's unit, for example -1,0.5,-1,1,2,1")
        return numbers

    @field_validator("box")
    @classmethod
    def _has_extent(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(low < high for low, high in zip(value[:3], value[3:], strict=True)):
            raise ValueError("its first corner must be below the second: x0 < x1, y0 < y1 and z0 < z1")
        return value

    def inside(self, points: Array) -> NDArray[np.bool_]:
        """Which points (N, 3) lie in the box, its faces included."""
        low, high = np.array(self.box[:3]), np.array(self.box[3:])
        return np.asarray(((points >= low) & (points <= high)).all(axis=1))


class Denoise(Upright):
    """A noisy cloud of a whole shape is given; every point is moved to where it belongs."""

    noise: float | None = Field(
        None, gt=0, description="standard deviation of the noise, in the file's unit; by default it is estimated"
    )


TASKS: dict[str, type[Spec]] = {"complete": CompletePart, "upsample": Upsample, "region": Region, "denoise": Denoise}


class Observation(NamedTuple):
    """What `merged` needs: the task, the given points that are kept (or moved), the rotation (3, 3) that sets them
    upright, their frame then, how many the model was shown, and what a unit of its space is of what it decodes."""

    task: Upright
    part: PointCloud
    upright: NDArray[np.float64]
    frame: Frame
    known: int
    spread: float


def given(media: PointCloud, task: Upright, points: int, spread: float) -> tuple[Given, int]:
    """What is known for a task, and how many points of x it implies; `points` are asked for.

    Raises MediaError for a cloud or a box with which nothing can be done.
    """
    if isinstance(task, Denoise):
        return _noisy(media, task, spread), len(media)
    if isinstance(task, CompletePart):
        media = _without_strays(media) if task.outliers == "drop" else media
        return _observed(media, task, task.known, points, spread)
    if isinstance(task, Region):
        return _observed(_outside(media, task), task, task.known, points, spread)
    if not isinstance(task, Upsample):
        raise TypeError(f"no task of point clouds: {task!r}")
    if points <= len(media):
        raise MediaError(f"the cloud has {len(media)} points, and {points} are asked for; ask for more by points")
    known, total = _observed(media, task, task.known, points - len(media), spread)
    return replace(known, condition={"chunk": torch.tensor([CHUNK])}), total


def _observed(part: PointCloud, task: Upright, most: int, new: int, spread: float) -> tuple[Given, int]:
    """The part's own frame, and an even subset of at most so many of its points as the first of x; then new ones."""
    known, upright = min(most, len(part)), UP[task.up]
    shown = torch.from_numpy(part.resample(known).points.astype(np.float64) @ upright.T)[None]
    frame = frame_of_part(shown, torch.ones(1, known, dtype=torch.bool))
    x, mask = torch.zeros(1, known + new, 3), torch.zeros(1, known + new, 1)
    x[:, :known] = frame.enter(shown)
    mask[:, :known] = 1
    return Given(x, mask, context=Observation(task, part, upright, frame, known, spread)), known + new


def _noisy(media: PointCloud, task: Denoise, spread: float) -> Given:
    """The cloud in the frame that it would have without its noise, turned by less than an eighth of a circle."""
    if len(media) > MAX_POINTS:
        raise MediaError(f"{len(media)} points are too many to denoise; resample the cloud to at most {MAX_POINTS}")
    points = torch.from_numpy(media.points.astype(np.float64) @ UP[task.up].T)[None]
    noise = task.noise or noise_level(media.points)
    whole = frame_of_whole(points)
    size = float(whole.scale)
    if noise > size / 2:
        raise MediaError(f"noise of {noise:.3g} hides a cloud of this size (spread {size:.3g}); give a smaller noise")
    if task.noise is None:
        warnings.warn(Notice(f"noise is taken for {noise:.3g}, in the file's unit"), stacklevel=2)
    angle = heading(points - whole.centre, torch.ones(points.shape[:2], dtype=torch.bool))
    angle = torch.where(angle > math.pi / 4, angle - math.pi / 2, angle)
    frame = Frame(whole.centre, (whole.scale**2 - noise**2).sqrt(), angle)
    x = frame.enter(points).float()
    context = Observation(task, media, UP[task.up], frame, 0, spread)
    return Given(x, torch.zeros_like(x[..., :1]), context=context, noise=noise / float(frame.scale))


def _outside(media: PointCloud, task: Region) -> PointCloud:
    low, high = media.bounds
    if (np.array(task.box[3:]) < low).any() or (np.array(task.box[:3]) > high).any():
        raise MediaError(f"the box lies beside the cloud, which is {media!r}; give one that meets it")
    outside = ~task.inside(media.points)
    if outside.sum() < MIN_POINTS:
        raise MediaError(f"only {outside.sum()} of {len(media)} points lie outside the box; give a smaller one")
    return media.select(outside)


def _without_strays(cloud: PointCloud) -> PointCloud:
    """The cloud without the points that lie apart; a Notice says how many."""
    apart = strays(cloud.points)
    warnings.warn(f"{apart.sum()} of {len(cloud)} given points lie apart and are left out", Notice, stacklevel=2)
    return cloud.select(~apart)


def merged(generated: PointCloud, seen: Observation) -> PointCloud:
    """Every given point that is kept, with its colour, then generated ones, in its unit.

    When a part is completed, a generated point is left out where a given one is nearer to it than generated points
    are to each other (the median): there the surface is covered already. Of a box only what lies in it is taken; a
    Notice says so where that is nothing. New points take the colour of the nearest given one, moved ones keep theirs.
    Where the generated have normals, so has the result, those of kept points as they were given.
    """
    whole, kept = _together(generated, seen)
    if generated.normals is None:
        return whole
    whole = whole.with_normals()
    if kept and seen.part.normals is not None and whole.normals is not None:
        normals = np.concatenate([seen.part.normals, whole.normals[kept:]])
        return PointCloud(whole.points, whole.colors, normals)
    return whole


def _together(generated: PointCloud, seen: Observation) -> tuple[PointCloud, int]:
    """What `merged` makes but for normals, and how many of its first points are given ones."""
    from scipy.spatial import cKDTree

    part = seen.part
    new = torch.from_numpy(generated.points[seen.known :].astype(np.float64) / seen.spread)[None]
    points = seen.frame.leave(new)[0].numpy() @ seen.upright
    if isinstance(seen.task, Denoise):
        return PointCloud(points, part.colors), 0
    distance, nearest = cKDTree(part.points).query(points)
    added = np.ones(len(points), bool)
    if not isinstance(seen.task, Upsample):
        added = distance > np.median(cKDTree(points).query(points, k=2)[0][:, 1])
    if isinstance(seen.task, Region):
        added &= seen.task.inside(points)
        if not added.any():
            warnings.warn(Notice("of what was made nothing lies in the box; it is left empty"), stacklevel=2)
    colors = None if part.colors is None else np.concatenate([part.colors, part.colors[nearest[added]]])
    return PointCloud(np.concatenate([part.points, points[added]]), colors), len(part)
