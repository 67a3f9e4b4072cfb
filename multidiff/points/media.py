"""PointCloud: points in space with optional colours and normals; read from and written to files.

Formats whose layout is a few lines (ply, xyz, obj, npz) are written here; meshes and everything else are read
through trimesh. A mesh is sampled uniformly by area, so that a shape means the same whatever its triangles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multidiff import files
from multidiff.errors import InputError, MediaError, did_you_mean
from multidiff.points.sampling import face_areas, farthest_points, sample_surface

MIN_POINTS = 16
MAX_POINTS = 20_000_000
MAX_COORDINATE = 1e12
MESH_SAMPLES = 16_384
MAX_GLB_POINTS = 65_536
DEFAULT_COLOR = (86, 124, 178)
OCTAHEDRON_VERTICES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
OCTAHEDRON_FACES = np.array([[a, b, c] if a + b + c & 1 else [a, c, b] for a in (0, 1) for b in (2, 3) for c in (4, 5)])
MARK = "multidiff_octahedra"
"""Key in a GLB's extras that says its mesh is one octahedron per point, so that reading finds the points again."""


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in any unit, y up.

    points (N, 3) float32, or float64 where the cloud lies so far from the origin (map coordinates) that float32
    would move points by more than 1e-6 of its size; colors (N, 3) uint8; normals (N, 3) float32.
    Raises MediaError for fewer than 16 points, more than 20 million, NaN, or a cloud without extent.
    """

    points: NDArray[np.floating]
    colors: NDArray[np.uint8] | None = None
    normals: NDArray[np.float32] | None = None

    suffixes: ClassVar[tuple[str, ...]] = (
        *(".ply", ".obj", ".off", ".stl", ".glb", ".gltf"),
        *(".xyz", ".npy", ".npz"),
    )
    formats: ClassVar[tuple[str, ...]] = ("ply", "glb", "npz", "xyz", "obj")

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
        for name, kind in (("colors", np.uint8), ("normals", np.float32)):
            value = getattr(self, name)
            if value is not None:
                value = np.asarray(value)
                if value.shape != points.shape:
                    raise MediaError(f"{name} have shape {value.shape}; they need one row per point, {points.shape}")
                object.__setattr__(self, name, value.astype(kind))

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        low, high = self.bounds
        box = ", ".join(f"{axis} {a:.4g}..{b:.4g}" for axis, a, b in zip("xyz", low, high, strict=True))
        extras = "".join(f", {name}" for name in ("colors", "normals") if getattr(self, name) is not None)
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

    def select(self, index: NDArray[Any]) -> PointCloud:
        """The points (with colours and normals) at an integer or boolean index."""
        rows = {name: getattr(self, name) for name in ("points", "colors", "normals")}
        return PointCloud(**{name: value if value is None else value[index] for name, value in rows.items()})

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
        path = Path(path).expanduser()
        suffix = path.suffix.lower()
        if path.is_file() and suffix not in cls.suffixes:
            raise MediaError(f"{path}: unknown kind '{suffix}'; use one of {' '.join(cls.suffixes)}")
        path = files.readable(path, "a point cloud or mesh")
        reader = {".npy": _read_npy, ".npz": _read_npz, ".xyz": _read_xyz}.get(suffix, _read_trimesh)
        try:
            return reader(path)
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
        except Exception as error:  # whatever a parser raises on broken bytes
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise MediaError(
                f"{path}: cannot be read as {suffix} ({reason}); the file is truncated or of another kind"
            ) from None

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write ply (binary), glb (one small octahedron per point, so that viewers show it; at most 65 536 points,
        evenly thinned), npz, xyz or obj by suffix; tags become comments. Raises InputError for another suffix."""
        path = Path(path).expanduser()
        kind = path.suffix.lower().removeprefix(".")
        if kind not in self.formats:
            raise InputError(f"{path}: cannot write '.{kind}'; use one of {' '.join(self.formats)}")
        clean = {key: " ".join(str(value).split()) for key, value in (tags or {}).items()}
        with files.written_whole(path) as temporary:
            WRITERS[kind](self, temporary, clean)
        return path


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise MediaError(f"{what} are of type {array.dtype}, not numbers; give an (N, 3) array of floats")
    if array.ndim != 2 or array.shape[1] != 3:
        hint = "; it looks like a pack of clouds: use its folder as data.root" if array.ndim == 3 else "; give (N, 3)"
        raise MediaError(f"{what} have shape {array.shape}, not (N, 3){hint}")
    return array.astype(np.float64)


def _read_npy(path: Path) -> PointCloud:
    return PointCloud(np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> PointCloud:
    if not zipfile.is_zipfile(path):
        raise MediaError("is no npz archive; the file is truncated or of another kind")
    with np.load(path, allow_pickle=False) as arrays:
        key = next((k for k in ("points", "xyz", "positions", "arr_0") if k in arrays), None)
        if key is None:
            raise MediaError(f"has no array 'points'; it has {', '.join(arrays.files) or 'none'}")
        extra = {name: arrays[name] for name in ("colors", "normals") if name in arrays}
        return PointCloud(arrays[key], **extra)


def _read_xyz(path: Path) -> PointCloud:
    text = path.read_text("utf-8", errors="strict").replace(",", " ").replace(";", " ")
    rows = np.loadtxt(text.splitlines(), comments="#", ndmin=2, dtype=np.float64)
    if rows.shape[1] < 3:
        raise MediaError(f"has {rows.shape[1]} columns; an xyz file has x y z, and r g b or nx ny nz after them")
    points, rest = rows[:, :3], rows[:, 3:6]
    if rest.shape[1] < 3:
        return PointCloud(points)
    if np.allclose(np.linalg.norm(rest, axis=1), 1, atol=1e-2):
        return PointCloud(points, normals=rest)
    is_color = (rest >= 0).all() and (rest <= 255).all() and (rest == rest.round()).all()
    return PointCloud(points, colors=rest if is_color else None)


def _read_trimesh(path: Path) -> PointCloud:
    import trimesh

    loaded = trimesh.load(path, process=False)
    if isinstance(loaded, trimesh.Scene):
        marked = loaded.metadata.get(MARK)
        placed = [(loaded.graph[node]) for node in loaded.graph.nodes_geometry]
        parts = [loaded.geometry[name].copy().apply_transform(transform) for transform, name in placed]
    else:
        marked, parts = None, [loaded]
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if meshes:
        return _octahedra_centres(meshes[0]) if marked else _sample_meshes(meshes)
    clouds = [part for part in parts if hasattr(part, "vertices") and len(part.vertices)]
    if not clouds:
        raise MediaError(f"holds no points; the file is truncated or no {path.suffix} file")
    cloud = clouds[0]
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {})
    if raw.get("length", len(cloud.vertices)) != len(cloud.vertices):
        raise MediaError(f"has {len(cloud.vertices)} of {raw['length']} points; the file is truncated")
    colors = getattr(cloud, "colors", None)
    fields = raw.get("data")
    names = fields.dtype.names if isinstance(fields, np.ndarray) else tuple(fields or ())
    normals = np.stack([fields[k].reshape(-1) for k in ("nx", "ny", "nz")], 1) if {"nx", "ny", "nz"} <= {*names} else None
    has_colors = colors is not None and len(colors) == len(cloud.vertices)
    return PointCloud(np.asarray(cloud.vertices), colors[:, :3] if has_colors else None, normals)


def _sample_meshes(meshes: list[Any]) -> PointCloud:
    """One cloud, uniform by area over all meshes (in one frame), coloured where a mesh has colours."""
    sizes = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    vertices = np.concatenate([np.asarray(mesh.vertices, np.float64) for mesh in meshes])
    faces = np.concatenate([np.asarray(mesh.faces) + start for mesh, start in zip(meshes, sizes, strict=False)])
    colors = [_vertex_colors(mesh) for mesh in meshes]
    if not np.isfinite(vertices).all():
        raise MediaError("some vertices are NaN or infinite; repair the mesh")
    centre = vertices.mean(0)
    rng = np.random.default_rng(0)
    points, face, weights = sample_surface(vertices - centre, faces, MESH_SAMPLES, rng)
    normals = face_areas(vertices - centre, faces)[1][face]
    blended = None
    if any(color is not None for color in colors):
        plain = [c if c is not None else np.full((len(m.vertices), 3), 160) for c, m in zip(colors, meshes, strict=True)]
        blended = np.einsum("nij,ni->nj", np.concatenate(plain)[faces[face]], weights).round()
    return PointCloud(points + centre, blended, normals)


def _vertex_colors(mesh: Any) -> NDArray[np.floating] | None:
    """Colours (V, 3) of a mesh's vertices, looked up in its texture or material; None when it has none."""
    visual = mesh.visual
    if visual is None or not visual.defined:
        return None
    try:
        colors = np.asarray(visual.to_color().vertex_colors if visual.kind == "texture" else visual.vertex_colors)
    except Exception:  # a missing or foreign texture only costs the colours
        return None
    return colors[:, :3].astype(np.float64) if colors.shape[:1] == (len(mesh.vertices),) else None


def _octahedra_centres(mesh: Any) -> PointCloud:
    vertices = np.asarray(mesh.vertices, np.float64).reshape(-1, 6, 3)
    colors = _vertex_colors(mesh)
    return PointCloud(vertices.mean(1), None if colors is None else colors.reshape(-1, 6, 3)[:, 0])


def _table(cloud: PointCloud) -> NDArray[Any]:
    """Points, normals and colours as one structured array, with PLY's property names."""
    real = "<f4" if cloud.points.dtype == np.float32 else "<f8"
    columns: list[tuple[str, str, NDArray[Any]]] = [(n, real, cloud.points[:, i]) for i, n in enumerate("xyz")]
    if cloud.normals is not None:
        columns += [(n, "<f4", cloud.normals[:, i]) for i, n in enumerate(("nx", "ny", "nz"))]
    if cloud.colors is not None:
        columns += [(n, "u1", cloud.colors[:, i]) for i, n in enumerate(("red", "green", "blue"))]
    table = np.empty(len(cloud), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    return table


def _write_ply(cloud: PointCloud, path: Path, tags: Mapping[str, str]) -> None:
    table = _table(cloud)
    kinds = {"<f4": "float", "<f8": "double", "|u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {key}: {value}" for key, value in tags.items())]
    lines += [f"element vertex {len(cloud)}"]
    lines += [f"property {kinds[table.dtype[name].str]} {name}" for name in table.dtype.names or ()]
    header = "\n".join([*lines, "end_header", ""])
    path.write_bytes(header.encode("utf-8") + table.tobytes())


def _write_text(cloud: PointCloud, path: Path, tags: Mapping[str, str], prefix: str, color_scale: float) -> None:
    digits = 9 if cloud.points.dtype == np.float32 else 17
    rows, form = cloud.points.astype(np.float64), [f"%.{digits}g"] * 3
    if cloud.colors is not None:
        rows = np.concatenate([rows, cloud.colors / color_scale], axis=1)
        form += ["%.6g"] * 3
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"# {key}: {value}\n" for key, value in tags.items())
        np.savetxt(stream, rows, fmt=prefix + " ".join(form))


def _write_xyz(cloud: PointCloud, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "", 1.0)


def _write_obj(cloud: PointCloud, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "v ", 255.0)


def _write_npz(cloud: PointCloud, path: Path, tags: Mapping[str, str]) -> None:
    arrays = {name: getattr(cloud, name) for name in ("points", "colors", "normals")}
    notes = {f"tag_{key}": np.array(value) for key, value in tags.items()}
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None}, **notes)


def _write_glb(cloud: PointCloud, path: Path, tags: Mapping[str, str]) -> None:
    import trimesh
    from scipy.spatial import cKDTree

    cloud = cloud if len(cloud) <= MAX_GLB_POINTS else cloud.resample(MAX_GLB_POINTS, method="random")
    # glTF holds float32 only: far from the origin the node carries the offset.
    centre = np.zeros(3) if cloud.points.dtype == np.float32 else cloud.bounds.mean(0)
    points = cloud.points - centre
    spacing = cKDTree(points).query(points, k=2)[0][:, 1]
    radius = 0.6 * float(np.median(spacing)) or 0.004 * float(np.ptp(points, axis=0).max())
    vertices = points[:, None] + radius * OCTAHEDRON_VERTICES
    faces = OCTAHEDRON_FACES + 6 * np.arange(len(points))[:, None, None]
    colors = np.full((len(points), 3), DEFAULT_COLOR, np.uint8) if cloud.colors is None else cloud.colors
    mesh = trimesh.Trimesh(
        vertices.reshape(-1, 3), faces.reshape(-1, 3), vertex_colors=np.repeat(colors, 6, axis=0), process=False
    )
    scene = trimesh.Scene(metadata={MARK: len(points), **tags})
    scene.add_geometry(mesh, transform=trimesh.transformations.translation_matrix(centre))
    path.write_bytes(scene.export(file_type="glb"))


WRITERS: dict[str, Callable[[PointCloud, Path, Mapping[str, str]], None]] = {
    "ply": _write_ply,
    "glb": _write_glb,
    "npz": _write_npz,
    "xyz": _write_xyz,
    "obj": _write_obj,
}
