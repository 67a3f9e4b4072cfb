"""PointCloud: points in space with optional colours, normals and confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from multidiff import files
from multidiff.errors import InputError, MediaError, did_you_mean
from multidiff.points.arrays import Arrays
from multidiff.points.formats import MAX_MESHED_POINTS, READERS, WRITERS
from multidiff.points.sampling import farthest_points

MIN_POINTS = 16
MAX_POINTS = 20_000_000
MAX_COORDINATE = 1e12
Axis = Literal["x", "-x", "y", "-y", "z", "-z"]
UP: dict[Axis, NDArray[np.float64]] = {
    "y": np.eye(3),
    "-y": np.diag([1.0, -1.0, -1.0]),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "x": np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]]),
    "-x": np.array([[0, 1.0, 0], [-1, 0, 0], [0, 0, 1]]),
}
"""The axis of a file that points up -> the rotation (3, 3) of its points p, as R p, that makes y do so."""
KINDS: dict[str, type] = {"colors": np.uint8, "normals": np.float32, "confidence": np.float32}
"""What may be known of each point, and its type."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in any unit, y up.

    points (N, 3) float32, or float64 where the cloud lies so far from the origin (map coordinates) that float32
    would move points by more than 1e-6 of its size; colors (N, 3) uint8; normals (N, 3) float32; confidence (N,)
    float32, how sure each point is: from 0 to 1 where several completions told it (`points.confidence`).
    Raises MediaError for fewer than 16 points, more than 20 million, NaN, or a cloud without extent.
    """

    points: NDArray[np.floating]
    colors: NDArray[np.uint8] | None = None
    normals: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None

    suffixes: ClassVar[tuple[str, ...]] = tuple(READERS)
    formats: ClassVar[tuple[str, ...]] = tuple(WRITERS)

    def __post_init__(self) -> None:
        points = _numbers(self.points, "points")
        if len(points) < MIN_POINTS:
            raise MediaError(f"{len(points)} points are too few; a cloud needs at least {MIN_POINTS}")
        if len(points) > MAX_POINTS:
            raise MediaError(f"{len(points)} points are too many; thin the cloud to at most {MAX_POINTS}")
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        if bad:
            raise MediaError(f"{bad} of {len(points)} points are NaN or infinite; remove them")
        extent = float(np.ptp(points, axis=0).max())
        if np.abs(points).max() > MAX_COORDINATE:
            raise MediaError(f"coordinates beyond {MAX_COORDINATE:.0e} are absurd; check the file's unit or type")
        if extent == 0:
            raise MediaError("all points are the same; a cloud needs some extent")
        rounded = points.astype(np.float32)
        exact = np.abs(rounded - points).max() <= 1e-6 * extent
        object.__setattr__(self, "points", rounded if exact else points)
        for name, kind in KINDS.items():
            value = getattr(self, name)
            if value is not None:
                value = np.asarray(value)
                shape = points.shape if name != "confidence" else points.shape[:1]
                if value.shape != shape:
                    raise MediaError(f"{name} of shape {value.shape}: one row per point is needed, {shape}")
                object.__setattr__(self, name, value.astype(kind))

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        low, high = self.bounds
        digits = 4 if self.points.dtype == np.float32 else 10
        box = ", ".join(f"{axis} {a:.{digits}g}..{b:.{digits}g}" for axis, a, b in zip("xyz", low, high, strict=True))
        extras = "".join(f", {name}" for name in KINDS if getattr(self, name) is not None)
        return f"PointCloud({len(self)} points, {box}{extras})"

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Lower and upper corner of the bounding box, (2, 3)."""
        return np.stack([self.points.min(0), self.points.max(0)]).astype(np.float64)

    def normalized(self) -> tuple[PointCloud, NDArray[np.float64], float]:
        """The cloud in the frame the models use (bounding box centred at 0, farthest point at 1), and the
        centre (3,) and scale that lead back: points = normalized * scale + centre."""
        centre = self.bounds.mean(0)
        offset = self.points.astype(np.float64) - centre
        scale = float(np.linalg.norm(offset, axis=1).max())
        return replace(self, points=offset / scale), centre, scale

    def rotated(self, rotation: NDArray[np.float64]) -> PointCloud:
        """The cloud with its points p, and its normals, at R p, for a rotation R (3, 3)."""
        normals = None if self.normals is None else (self.normals @ rotation.T).astype(np.float32)
        return replace(self, points=self.points.astype(np.float64) @ rotation.T, normals=normals)

    def with_normals(self) -> PointCloud:
        """The cloud with the normals it has, or else with estimates of them (`normals.oriented_normals`)."""
        if self.normals is not None:
            return self
        from multidiff.points.normals import oriented_normals

        return replace(self, normals=oriented_normals(self.points))

    def select(self, index: NDArray[Any]) -> PointCloud:
        """The points, with all that is known of them, at an integer or boolean index."""
        chosen = {name: None if (held := getattr(self, name)) is None else held[index] for name in KINDS}
        return PointCloud(self.points[index], **chosen)

    def surest(self, least: float) -> PointCloud:
        """The points whose confidence is at least so much. Raises MediaError where none is told, or few are so sure."""
        if self.confidence is None:
            raise MediaError("tells no confidence; complete a part with -n 2 or more, and take ply or npz")
        return self.select(self.confidence >= least)

    def resample(self, count: int, seed: int = 0, method: str = "farthest") -> PointCloud:
        """`count` of the points: evenly spread ("farthest"), or at random ("random").

        Farthest-point sampling chooses among at most 16 * count random points, to bound its cost. With fewer
        points than `count` all are kept and some repeated. Raises InputError for an unknown method.
        """
        if method not in ("farthest", "random"):
            raise InputError(f"unknown resampling method '{method}'{did_you_mean(method, ['farthest', 'random'])}")
        rng = np.random.default_rng(seed)
        if count >= len(self):
            return self.select(np.concatenate([np.arange(len(self)), rng.integers(len(self), size=count - len(self))]))
        if method == "random":
            return self.select(np.sort(rng.permutation(len(self))[:count]))
        candidates = rng.permutation(len(self))[: 16 * count]
        centred = (self.points[candidates] - self.bounds.mean(0)).astype(np.float32)
        return self.select(candidates[farthest_points(centred, count)])

    @classmethod
    def read(cls, path: str | Path) -> PointCloud:
        """Read a cloud, or sample 16 384 points on a mesh. Raises MediaError (file, fault, cure)."""
        path = files.readable(path, "a point cloud or mesh")
        suffix = path.suffix.lower()
        if suffix not in cls.suffixes:
            raise MediaError(f"{path}: unknown kind '{suffix}'; use one of {' '.join(cls.suffixes)}")
        try:
            return cls(*READERS[suffix](path))
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
        except Exception as error:  # whatever a parser raises on broken bytes
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise MediaError(
                f"{path}: cannot be read as {suffix} ({reason}); the file is truncated or of another kind"
            ) from None

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write ply (binary), npz, xyz or obj, glb (a small octahedron per point, so that viewers show it), stl (a
        watertight mesh round the points, by `surface`), mp4 or gif (a turntable), by suffix; tags become comments.

        glb and stl show at most 65 536 points, drawn at random; stl holds float32 only. Raises InputError for another
        suffix.
        """
        path = Path(path).expanduser()
        kind = path.suffix.lower().removeprefix(".")
        if kind not in self.formats:
            raise InputError(f"{path}: cannot write '.{kind}'; use one of {' '.join(self.formats)}")
        clean = {key: " ".join(str(value).split()) for key, value in (tags or {}).items()}
        written = self
        if kind in ("glb", "stl") and len(self) > MAX_MESHED_POINTS:
            written = self.resample(MAX_MESHED_POINTS, method="random")
        with files.written_whole(path) as temporary:
            WRITERS[kind](Arrays(written.points, *(getattr(written, name) for name in KINDS)), temporary, clean)
        return path


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise MediaError(f"{what} are of type {array.dtype}, not numbers; give an (N, 3) array of floats")
    if array.ndim != 2 or array.shape[1] != 3:
        hint = "; it looks like a pack of clouds: use its folder as data.root" if array.ndim == 3 else "; give (N, 3)"
        raise MediaError(f"{what} have shape {array.shape}, not (N, 3){hint}")
    return array.astype(np.float64)
