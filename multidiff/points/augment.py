"""What a training step sees of a shape: other points, a slightly other shape, and often only a part of it known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from multidiff.errors import did_you_mean
from multidiff.modality import Batch
from multidiff.points.codec import frame_of_part, frame_of_whole, turn
from multidiff.points.corrupt import PARTS, draw, partial, stray, uneven
from multidiff.points.data import PointData


class PointTraining(PointData):
    """The data section of a recipe: where shapes come from, and what a training step makes of them."""

    drawn: int = Field(512, ge=64, description="points of a shape in one training step, the known ones among them")
    known: int = Field(128, ge=0, description="at most so many of them are known when a part is completed")
    complete: float = Field(0.4, ge=0, le=1, description="share of the training items that complete a part")
    upsample: float = Field(
        0.0, ge=0, le=1, description="share of them of which points all over the shape are known, to make more of them"
    )
    turn: float = Field(15.0, ge=0, le=180, description="largest turn of a whole shape about y, in degrees")
    stretch: float = Field(0.15, ge=0, lt=1, description="largest relative change of width, height and depth")
    parts: Mapping[str, float] = Field(
        {"zbuffer": 0.5, "crop": 0.25, "blob": 0.25},
        description=f"how often each kind of part is completed: weights of {', '.join(PARTS)}",
    )
    jitter: float = Field(0.02, ge=0, description="largest sensor noise on known points, in radii of the shape")
    uneven: float = Field(1.0, ge=1, description="largest ratio of the known points' density across a part")
    outliers: float = Field(0.0, ge=0, lt=1, description="largest share of the known points that are stray")

    @model_validator(mode="after")
    def _shares(self) -> PointTraining:
        if self.complete + self.upsample > 1:
            raise ValueError(f"complete {self.complete:g} and upsample {self.upsample:g} are shares; they exceed 1")
        return self

    @field_validator("parts")
    @classmethod
    def _known_parts(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for name, weight in value.items():
            if name not in PARTS:
                raise ValueError(f"unknown part '{name}'{did_you_mean(name, list(PARTS))}")
            if weight < 0:
                raise ValueError(f"the weight of {name}, {weight}, is negative")
        if not sum(value.values()) > 0:
            raise ValueError(f"give at least one of {', '.join(PARTS)} a weight above 0")
        return value


def training_batch(points: Tensor, data: PointTraining, generator: torch.Generator) -> Batch:
    """A batch in model space from stored shapes (B, P, 3) in the unit sphere; N = data.drawn.

    x0 (B, N, 3). In `data.complete` of the items, between a quarter of `data.known` and all of it are points of a
    random part: they come first, with condition `mask` (B, N, 1) = 1. The other points cover the whole shape, so
    how much of it is missing need not be known. In `data.upsample` of them the known points are as many of the whole
    shape, without noise, and no other point is one of them. An item with known points is in their frame, turned at
    random before; another in its own.
    """
    B, device = len(points), points.device
    points = _varied(points.float(), data, generator)
    known = min(data.known, data.drawn - 1)
    kind = _uniform(B, generator).to(device)
    completes = kind < (data.complete if known else 0.0)
    told = kind < (data.complete + data.upsample if known else 0.0)
    limit = math.pi * torch.where(told, 1.0, data.turn / 180)
    points = turn(points, limit * (2 * _uniform(B, generator).to(device) - 1))

    x0 = _gather(points, draw(torch.ones_like(points[..., 0], dtype=torch.bool), data.drawn, generator))
    count = (known * (0.25 + 0.75 * _uniform(B, generator))).ceil().to(device) * told
    mask = torch.arange(data.drawn, device=device) < count[:, None]
    if known:
        keep = partial(points, data.parts, generator)
        weight = uneven(points, data.uneven, generator) if data.uneven > 1 else None
        part = _gather(points, draw(keep, known, generator, weight))
        noise = torch.randn(part.shape, generator=generator).to(device)
        part = part + data.jitter * _uniform(B, generator).to(device)[:, None, None] * noise
        part = stray(part, data.outliers, generator) if data.outliers else part
        x0[:, :known] = torch.where((mask[:, :known] & completes[:, None])[..., None], part, x0[:, :known])
    whole_frame, part_frame = frame_of_whole(points), frame_of_part(x0, mask)
    x0 = torch.where(told[:, None, None], part_frame.enter(x0), whole_frame.enter(x0))
    flag = mask[..., None].to(x0.dtype)
    return Batch(x0, {"mask": flag, "known": x0 * flag})


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator)


def _varied(points: Tensor, data: PointTraining, generator: torch.Generator) -> Tensor:
    """Shapes stretched along each axis at random, half of them mirrored in x."""
    stretch = 1 + data.stretch * (2 * torch.rand(len(points), 1, 3, generator=generator) - 1)
    stretch[..., 0] *= torch.where(torch.rand(len(points), 1, generator=generator) < 0.5, -1.0, 1.0)
    return points * stretch.to(points.device)


def _gather(points: Tensor, index: Tensor) -> Tensor:
    """Points (B, N, 3) of (B, P, 3) at indices (B, N)."""
    return points.gather(1, index[..., None].expand(-1, -1, 3))
