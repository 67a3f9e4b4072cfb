"""What a sensor makes of a shape: the partial, noisy observations that completion trains on.

Shapes are dense clouds (B, N, 3) in the frame of `PointCloud.normalized`. What is missing is said by which points stay
(B, N); how the rest is measured (density, noise, stray points) by which of them are drawn and where they are put.
Tensors only, except for exact hidden-point removal, so that all of it can run at every training step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BLOBS = 3
"""Holes in a shape with missing blobs."""
STRAY_BOX = 1.5
"""Stray points fill a box so many times as wide as that of the part."""


class Draws(NamedTuple):
    """The random numbers of one observation of each shape: direction and centres (B, ...), share (B,).

    camera (B, 3) looks at the origin; direction (B, 3) is a unit vector; centres (B, BLOBS, 3) are points of the shape.
    """

    camera: Tensor
    direction: Tensor
    centres: Tensor
    share: Tensor


def visible(points: NDArray[np.floating], camera: NDArray[np.floating], gamma: float = 2.0) -> NDArray[np.bool_]:
    """Which points (N, 3) a camera at (3,) sees: hidden-point removal.

    Katz, Tal, Basri 2007, "Direct Visibility of Point Sets", eq. 1: points are flipped through a sphere of radius
    10^gamma times the farthest distance; visible are those on the convex hull of the flipped points and the camera.
    A larger gamma keeps more points. On 4096 points of procedural furniture it is right on 92 points in 100, in 7 ms.
    """
    from scipy.spatial import ConvexHull

    offset = np.asarray(points, np.float64) - camera
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    flipped = offset + 2 * (10**gamma * distance.max() - distance) * offset / distance
    hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))]))
    seen = np.zeros(len(points) + 1, bool)
    seen[hull.vertices] = True
    return seen[:-1]


def directions(count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors (count, 3), uniform on the sphere."""
    drawn = torch.randn(count, 3, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True).clamp_min(1e-6)


def seen(points: Tensor, camera: Tensor) -> Tensor:
    """`visible` for each of the shapes (B, N, 3) and its camera (B, 3): bool (B, N); on the CPU, one by one."""
    pairs = zip(points.double().cpu().numpy(), camera.double().cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([visible(*pair) for pair in pairs])).to(points.device)


def half_space(points: Tensor, direction: Tensor, share: Tensor) -> Tensor:
    """Keep the `share` (B,) of the points (B, N, 3) that lie farthest along `direction` (B, 3): bool (B, N)."""
    heights = torch.einsum("bnd,bd->bn", points, direction)
    return _largest(heights, share)


def without_blobs(points: Tensor, centres: Tensor, share: Tensor) -> Tensor:
    """Keep the `share` (B,) of the points (B, N, 3) that lie farthest from any of `centres` (B, K, 3): bool (B, N)."""
    return _largest(torch.cdist(points, centres).amin(dim=-1), share)


def _largest(values: Tensor, share: Tensor) -> Tensor:
    rank = values.argsort(dim=1, descending=True).argsort(dim=1)
    return rank < (share[:, None] * values.shape[1])


def seen_by_depth(points: Tensor, camera: Tensor, cells: int = 96, slope: float = 3.5) -> Tensor:
    """Which points (B, N, 3) a camera at (B, 3) looking at the origin sees: bool (B, N).

    A z-buffer of `cells`^2 cells over the cloud's field of view. A point is hidden when another, at most 3 cells
    away, is nearer by more than the depth that a surface of this `slope` gains over the cells between them. Meant for
    dense clouds (4096 points in the unit sphere): right on 80 points in 100 (`visible`: 92), measured against rays
    through procedural furniture; surfaces seen at a grazing angle are what it misses. 3 ms a cloud, on any device.
    """
    B = len(points)
    distance = camera.norm(dim=1, keepdim=True)
    forward = -camera / distance
    up = torch.tensor([0.0, 1.0, 0.0]).to(points).expand_as(forward)
    steep = forward[:, 1:2].abs() > 0.99
    right = torch.linalg.cross(forward, torch.where(steep, up.roll(1, dims=1), up))
    right = right / right.norm(dim=1, keepdim=True)
    axes = torch.stack([right, torch.linalg.cross(right, forward), forward], dim=1)
    x, y, depth = torch.einsum("bnd,bkd->kbn", points - camera[:, None], axes)
    image = torch.stack([x, y]) / depth.clamp_min(1e-3)
    reach = image.abs().amax(dim=(0, 2)).clamp_min(1e-6)[:, None]
    column, row = ((image / reach + 1) / 2 * cells).long().clamp(0, cells - 1)
    cell = row * cells + column
    empty = torch.full((B, cells * cells), torch.inf, device=points.device, dtype=points.dtype)
    nearest = empty.scatter_reduce(1, cell, depth, "amin").view(B, 1, cells, cells)
    step = slope * 2 * reach / cells * distance
    hidden = torch.zeros_like(depth, dtype=torch.bool)
    for r in range(4):
        if r:
            nearest = -F.max_pool2d(-nearest, 3, stride=1, padding=1)
        hidden |= depth > nearest.view(B, -1).gather(1, cell) + (r + 0.7) * step
    return ~hidden


PARTS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "zbuffer": lambda points, drawn: seen_by_depth(points, drawn.camera),
    "hpr": lambda points, drawn: seen(points, drawn.camera),
    "crop": lambda points, drawn: half_space(points, drawn.direction, drawn.share),
    "blob": lambda points, drawn: without_blobs(points, drawn.centres[:, :1], drawn.share),
    "blobs": lambda points, drawn: without_blobs(points, drawn.centres, drawn.share),
}
"""What of a shape is left: a view from one side (by a z-buffer, or exactly by hidden-point removal), the points
on one side of a plane, all but one hole or several."""


def partial(points: Tensor, parts: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """Which points (B, N, 3) of whole shapes a random partial observation keeps: bool (B, N), at least one each.

    Each shape gets one of PARTS, as often as its weight in `parts` says. Cameras stand 2 to 3 radii away, on any
    side; crops and holes keep a share uniform in [1/4, 3/4].
    """
    B, N, _ = points.shape
    cpu = generator.device
    kind = torch.rand(B, generator=generator, device=cpu)
    share = (0.25 + 0.5 * torch.rand(B, generator=generator, device=cpu)).to(points)
    direction = directions(B, generator).to(points)
    distance = (2 + torch.rand(B, 1, generator=generator, device=cpu)).to(points)
    rows = torch.arange(B)[:, None]
    centres = points[rows, torch.randint(N, (B, BLOBS), generator=generator, device=cpu)]
    drawn = Draws(distance * direction, direction, centres, share)
    names = list(parts)
    ends = torch.tensor([parts[name] for name in names], dtype=torch.float64).cumsum(0)
    chosen = torch.searchsorted(ends / ends[-1], kind.cpu().double(), right=True)
    keep = torch.zeros(B, N, dtype=torch.bool, device=points.device)
    for number, name in enumerate(names):
        own = (chosen == number).nonzero()[:, 0].to(points.device)
        if len(own):
            keep[own] = PARTS[name](points[own], Draws(*(value[own] for value in drawn)))
    return keep | ~keep.any(1, keepdim=True)


def uneven(points: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Weights (B, N) by which points are drawn: they fall across each shape, along a random direction, by a factor
    between 1 and `ratio`, as the density of a scan falls with distance and slant."""
    B = len(points)
    direction = directions(B, generator).to(points)
    power = torch.rand(B, 1, generator=generator).to(points)
    heights = torch.einsum("bnd,bd->bn", points, direction)
    low, high = heights.amin(1, keepdim=True), heights.amax(1, keepdim=True)
    return ratio ** (-power * (heights - low) / (high - low).clamp_min(1e-6))


def draw(keep: Tensor, count: int, generator: torch.Generator, weight: Tensor | None = None) -> Tensor:
    """Indices (B, count) of random kept points (B, N) bool, without repetition while there are enough, then again.

    With weights (B, N) a point comes the earlier the larger its own is (Efraimidis and Spirakis 2006: exponential
    arrival times). Every row must keep at least one point.
    """
    B, N = keep.shape
    arrival = torch.rand(B, N, generator=generator)
    if weight is not None:
        arrival = 1 - (1 - arrival) ** (1 / weight.cpu())
    order = torch.where(keep.cpu(), arrival, 2.0).argsort(dim=1).to(keep.device)
    kept = keep.sum(dim=1, keepdim=True)
    return order.gather(1, torch.arange(count, device=keep.device).expand(B, -1) % kept)


def stray(points: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Points (B, N, 3) some of which, of each cloud a share uniform in [0, `share`], lie anywhere around instead."""
    B, N, _ = points.shape
    is_stray = torch.rand(B, N, generator=generator) < share * torch.rand(B, 1, generator=generator)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    place = STRAY_BOX * (torch.rand(B, N, 3, generator=generator) - 0.5)
    anywhere = (low + high) / 2 + place.to(points) * (high - low)
    return torch.where(is_stray[..., None].to(points.device), anywhere, points)
