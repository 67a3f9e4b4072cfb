"""Point clouds <-> model space, and the frame in which a shape is seen.

Model space is the cloud in its own frame: the mean at the origin, unit variance per coordinate, y up. A partial
cloud is put into the frame of the *part*, since nothing else is known of a scan: training by the whole shape's
frame and using the part's is why completion tools fail on people's own scans (PoinTr issues 130 and 142). Of a
part even the heading is unknown, so it is turned about y until the rectangle round its ground plan is smallest;
what remains open are quarter turns. Mean and variance are less moved by a sensor's stray points than a bounding
box is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from multidiff.errors import InputError
from multidiff.modality import Spec
from multidiff.points.media import PointCloud

HEADINGS = 30
"""Headings tried over a quarter turn: one every 3 degrees."""
PART_MARGIN = 1.38
"""A part's frame is so much larger, because whole shapes have a variance of about 1.9 in units of their part's."""


class Frame(NamedTuple):
    """A similarity of space for each item: x = turn(heading) (points - centre) / scale.

    centre (B, 1, 3) and scale (B, 1, 1) in the points' unit, heading (B,) in radians about y.
    """

    centre: Tensor
    scale: Tensor
    heading: Tensor

    def enter(self, points: Tensor) -> Tensor:
        """Points (B, N, 3) of the world in the frame."""
        return turn((points - self.centre) / self.scale, self.heading)

    def leave(self, x: Tensor) -> Tensor:
        """Points (B, N, 3) of the frame in the world."""
        return turn(x, -self.heading) * self.scale + self.centre


def turn(points: Tensor, angle: Tensor) -> Tensor:
    """Points (B, N, 3) turned about y by angles (B,) in radians."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x + sin * z, y, cos * z - sin * x], dim=-1)


def frame_of_whole(points: Tensor) -> Frame:
    """The frame of whole shapes (B, N, 3); they face +z, so that their heading is 0."""
    centre, scale = _moments(points, torch.ones_like(points[..., 0], dtype=torch.bool))
    return Frame(centre, scale, torch.zeros_like(scale[:, 0, 0]))


def frame_of_part(points: Tensor, seen: Tensor) -> Frame:
    """The frame of shapes of which only the points (B, N, 3) at `seen` (B, N) bool are known."""
    centre, scale = _moments(points, seen)
    return Frame(centre, PART_MARGIN * scale, heading(points - centre, seen))


def _moments(points: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 1, 3) and standard deviation of a coordinate (B, 1, 1) over the counted points."""
    weight = counted[..., None].to(points.dtype) / counted.sum(1).clamp(min=1)[:, None, None]
    centre = (points * weight).sum(1, keepdim=True)
    variance = ((points - centre).square() * weight).sum((1, 2), keepdim=True) / 3
    return centre, variance.sqrt().clamp(min=1e-12)


def heading(points: Tensor, counted: Tensor) -> Tensor:
    """Angles (B,) in [0, pi/2) that give the smallest upright box of the counted points (B, N, 3)."""
    angles = torch.arange(HEADINGS, dtype=points.dtype, device=points.device) * (0.5 * math.pi / HEADINGS)
    x, z = points[..., 0, None], points[..., 2, None]
    cos, sin = angles.cos(), angles.sin()
    area = _extent(cos * x + sin * z, counted) * _extent(cos * z - sin * x, counted)
    return angles[area.argmin(dim=1)]


def _extent(values: Tensor, counted: Tensor) -> Tensor:
    """Largest minus smallest of the counted values (B, N, K): (B, K)."""
    left_out = ~counted[..., None]
    return values.masked_fill(left_out, -torch.inf).amax(1) - values.masked_fill(left_out, torch.inf).amin(1)


class PointCodecSpec(Spec):
    """Model space is fixed by the data; only the size of what is made can be chosen."""

    spread: float = Field(
        0.38, gt=0, description="standard deviation of a decoded shape's coordinates; 0.38 about fills the unit sphere"
    )


class PointCodec(nn.Module):
    """PointCloud <-> x (B, N, 3). It has no weights."""

    def __init__(self, spec: PointCodecSpec) -> None:
        super().__init__()
        self.spread = spec.spread

    def encode(self, media: Sequence[PointCloud]) -> Tensor:
        """Clouds of one size, each in its own frame: (B, N, 3). Raises InputError when the sizes differ."""
        sizes = sorted({len(cloud) for cloud in media})
        if len(sizes) > 1:
            raise InputError(f"clouds of {sizes[0]} and {sizes[-1]} points make no batch; resample them to one size")
        points = torch.from_numpy(np.stack([cloud.points for cloud in media]).astype(np.float64))
        return frame_of_whole(points).enter(points).float()

    def decode(self, x: Tensor, options: Any) -> list[PointCloud]:
        """x (B, N, 3) -> clouds centred at the origin that about fill the unit sphere, y up; with estimated normals
        where `options.normals`."""
        clouds = [PointCloud(points) for points in (x.float() * self.spread).cpu().numpy()]
        return [cloud.with_normals() for cloud in clouds] if options.normals else clouds
