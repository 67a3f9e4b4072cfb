"""Convex solids placed in space, from which procedural shapes are built.

A solid is a unit mesh (box, frustum or ball, all within [-1, 1]) under an affine map. Only the outer surface of a
union of solids is sampled: points that lie inside another solid are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from multidiff.points.sampling import Array, face_areas, sample_surface

INSIDE = 1e-4


@dataclass(frozen=True, eq=False)
class Solid:
    """A "box", "ball" or "frustum" (axis y, radius 1 below and `taper` above) under p -> linear p + centre."""

    kind: str
    linear: Array
    centre: Array
    taper: float = 1.0

    def inside(self, points: Array) -> NDArray[np.bool_]:
        """Whether points (N, 3) lie inside by more than a hair."""
        x, y, z = np.linalg.solve(self.linear, (points - self.centre).T)
        if self.kind == "box":
            depth = np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z))
        elif self.kind == "ball":
            depth = np.sqrt(x * x + y * y + z * z)
        else:
            radius = 1 + (self.taper - 1) * (np.clip(y, -1, 1) + 1) / 2
            depth = np.maximum(np.abs(y), np.hypot(x, z) / np.maximum(radius, 1e-9))
        return depth < 1 - INSIDE


def box(centre: tuple[float, float, float], size: tuple[float, float, float], tilt: float = 0.0) -> Solid:
    """A box of full `size`; `tilt` leans its upper end backwards (-z), in units of its height (a shear)."""
    linear = np.diag(np.asarray(size) / 2)
    linear[2, 1] = -tilt * size[1] / 2
    return Solid("box", linear, np.asarray(centre))


def frustum(
    foot: tuple[float, float, float], top: tuple[float, float, float], radius: float, taper: float = 1.0
) -> Solid:
    """A rod, cone or disc with horizontal ends from `foot` to `top`; the upper radius is `taper` times the lower."""
    a, b = np.asarray(foot, float), np.asarray(top, float)
    linear = np.diag([radius, 1.0, radius])
    linear[:, 1] = (b - a) / 2
    return Solid("frustum", linear, (a + b) / 2, taper)


def rod(start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Solid:
    """A straight round bar in any direction."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    axis = (b - a) / np.linalg.norm(b - a)
    side = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    return Solid("frustum", np.stack([radius * np.cross(side, axis), (b - a) / 2, radius * side], axis=1), (a + b) / 2)


def ball(centre: tuple[float, float, float], size: tuple[float, float, float]) -> Solid:
    """An ellipsoid of full `size`."""
    return Solid("ball", np.diag(np.asarray(size) / 2), np.asarray(centre))


@cache
def _box_mesh() -> tuple[Array, NDArray[np.integer]]:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def _revolved(profile: list[tuple[float, float]], sides: int) -> tuple[Array, NDArray[np.integer]]:
    """The surface of revolution about y of a profile (radius, height) that runs upwards from axis to axis."""
    angles = np.arange(sides) * 2 * np.pi / sides
    rings = [np.stack([r * np.cos(angles), np.full(sides, y), r * np.sin(angles)], axis=1) for r, y in profile]
    k = np.arange(sides)
    faces = []
    for i in range(len(profile) - 1):
        low, high, turn = i * sides, (i + 1) * sides, (k + 1) % sides
        faces += [np.stack([low + k, high + k, high + turn], 1), np.stack([low + k, high + turn, low + turn], 1)]
    return np.concatenate(rings), np.concatenate(faces)


@cache
def _ball_mesh() -> tuple[Array, NDArray[np.integer]]:
    slopes = np.linspace(-np.pi / 2, np.pi / 2, 13)
    return _revolved([(float(np.cos(a)), float(np.sin(a))) for a in slopes], 24)


def mesh(solid: Solid) -> tuple[Array, NDArray[np.integer]]:
    """Vertices (V, 3) and outward faces (F, 3) of a solid."""
    if solid.kind == "box":
        vertices, faces = _box_mesh()
    elif solid.kind == "ball":
        vertices, faces = _ball_mesh()
    else:
        vertices, faces = _revolved([(0, -1), (1, -1), (solid.taper, 1), (0, 1)], 32)
    outward = faces if np.linalg.det(solid.linear) > 0 else faces[:, ::-1]
    return vertices @ solid.linear.T + solid.centre, outward


def sample_union(solids: list[Solid], count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """`count` points (count, 3) uniform by area on the outer surface of a union, and their outward normals."""
    meshes = [mesh(solid) for solid in solids]
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    vertices = np.concatenate([v for v, _ in meshes])
    faces = np.concatenate([f + start for (_, f), start in zip(meshes, starts, strict=False)])
    owner = np.repeat(np.arange(len(solids)), [len(f) for _, f in meshes])
    normals = face_areas(vertices, faces)[1]
    found: list[tuple[Array, Array]] = []
    missing, factor = count, 1.3
    while missing > 0:
        points, face, _ = sample_surface(vertices, faces, int(factor * missing) + 16, rng)
        outside = np.ones(len(points), bool)
        for i, solid in enumerate(solids):
            outside &= ~(solid.inside(points) & (owner[face] != i))
        found.append((points[outside], normals[face[outside]]))
        missing -= int(outside.sum())
    chosen = rng.permutation(sum(len(p) for p, _ in found))[:count]
    return np.concatenate([p for p, _ in found])[chosen], np.concatenate([n for _, n in found])[chosen]
