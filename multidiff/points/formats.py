"""Point-cloud file formats: path -> arrays and arrays -> path.

Formats whose layout is a few lines (ply, xyz, obj, npz) are written here; `meshes` reads what may hold triangles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import MediaError
from multidiff.frames import encode
from multidiff.points.arrays import Arrays
from multidiff.points.meshes import MARK, read_gltf, read_mesh
from multidiff.points.pcd import read_pcd
from multidiff.points.sampling import face_areas

MAX_MESHED_POINTS = 65_536
"""Points of a file that shows them by triangles."""
PLAIN_COLOR = (86, 124, 178)
OCTAHEDRON_VERTICES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
OCTAHEDRON_FACES = np.array([[0, 2, 4], [0, 5, 2], [0, 4, 3], [0, 3, 5], [1, 4, 2], [1, 2, 5], [1, 3, 4], [1, 5, 3]])


def _read_npy(path: Path) -> Arrays:
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise MediaError("is an npz archive; name it .npz")
    return Arrays(loaded)


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise MediaError("is no npz archive; the file is truncated or of another kind")
    with np.load(path, allow_pickle=False) as arrays:
        key = next((k for k in ("points", "xyz", "positions", "arr_0") if k in arrays), None)
        if key is None:
            raise MediaError(f"has no array 'points'; it has {', '.join(arrays.files) or 'none'}")
        extra = {name: arrays[name] for name in ("colors", "normals", "confidence") if name in arrays}
        return Arrays(arrays[key], **extra)


def _read_xyz(path: Path) -> Arrays:
    text = path.read_text("utf-8", errors="strict").replace(",", " ").replace(";", " ")
    rows = np.loadtxt(text.splitlines(), comments="#", ndmin=2, dtype=np.float64)
    if rows.shape[1] < 3:
        raise MediaError(f"has {rows.shape[1]} columns; an xyz file has x y z, and may have r g b and nx ny nz")
    groups = [rows[:, i : i + 3] for i in range(3, rows.shape[1] - 2, 3)]
    normals = next((g for g in groups if np.allclose(np.linalg.norm(g, axis=1), 1, atol=1e-2)), None)
    colors = next((g for g in groups if g is not normals and _are_colors(g)), None)
    return Arrays(rows[:, :3], colors, normals)


def _are_colors(values: NDArray[Any]) -> bool:
    return bool((values >= 0).all() and (values <= 255).all() and (values == values.round()).all())


def _table(cloud: Arrays) -> NDArray[Any]:
    """Points, normals, colours and confidence as one structured array, with PLY's property names."""
    real = "<f4" if cloud.points.dtype == np.float32 else "<f8"
    columns: list[tuple[str, str, NDArray[Any]]] = [(n, real, cloud.points[:, i]) for i, n in enumerate("xyz")]
    if cloud.normals is not None:
        columns += [(n, "<f4", cloud.normals[:, i]) for i, n in enumerate(("nx", "ny", "nz"))]
    if cloud.colors is not None:
        columns += [(n, "u1", cloud.colors[:, i]) for i, n in enumerate(("red", "green", "blue"))]
    if cloud.confidence is not None:  # Stanford's name for it, which viewers know
        columns.append(("confidence", "<f4", cloud.confidence))
    table = np.empty(len(cloud.points), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    return table


def _write_ply(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    table = _table(cloud)
    kinds = {"<f4": "float", "<f8": "double", "|u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {key}: {value}" for key, value in tags.items())]
    lines += [f"element vertex {len(cloud.points)}"]
    lines += [f"property {kinds[table.dtype[name].str]} {name}" for name in table.dtype.names or ()]
    header = "\n".join([*lines, "end_header", ""])
    path.write_bytes(header.encode("utf-8") + table.tobytes())


def _write_text(
    cloud: Arrays, path: Path, tags: Mapping[str, str], prefix: str, color_scale: float, normals: bool
) -> None:
    digits = 9 if cloud.points.dtype == np.float32 else 17
    rows, form = cloud.points.astype(np.float64), [f"%.{digits}g"] * 3
    if cloud.colors is not None:
        rows = np.concatenate([rows, cloud.colors / color_scale], axis=1)
        form += ["%.6g"] * 3
    if normals and cloud.normals is not None:
        rows = np.concatenate([rows, cloud.normals], axis=1)
        form += ["%.9g"] * 3
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"# {key}: {value}\n" for key, value in tags.items())
        np.savetxt(stream, rows, fmt=prefix + " ".join(form))


def _write_xyz(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "", 1.0, normals=True)


def _write_obj(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "v ", 255.0, normals=False)


def _write_npz(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    arrays = {name: value for name, value in cloud._asdict().items() if value is not None}
    arrays.update({f"tag_{key}": np.array(value) for key, value in tags.items()})
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _write_glb(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    import trimesh
    from scipy.spatial import cKDTree

    # glTF holds float32 only: far from the origin the node carries the offset.
    centre = np.zeros(3) if cloud.points.dtype == np.float32 else (cloud.points.min(0) + cloud.points.max(0)) / 2
    points = cloud.points - centre
    spacing = cKDTree(points).query(points, k=2)[0][:, 1]
    radius = 0.6 * float(np.median(spacing)) or 0.004 * float(np.ptp(points, axis=0).max())
    vertices = points[:, None] + radius * OCTAHEDRON_VERTICES
    faces = OCTAHEDRON_FACES + 6 * np.arange(len(points))[:, None, None]
    colors = np.full((len(points), 3), PLAIN_COLOR, np.uint8) if cloud.colors is None else cloud.colors
    mesh = trimesh.Trimesh(
        vertices.reshape(-1, 3), faces.reshape(-1, 3), vertex_colors=np.repeat(colors, 6, axis=0), process=False
    )
    scene = trimesh.Scene(metadata={MARK: len(points), **tags})
    scene.add_geometry(mesh, transform=trimesh.transformations.translation_matrix(centre))
    path.write_bytes(scene.export(file_type="glb"))


def _write_stl(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    from multidiff.points.surface import surface

    vertices, faces = surface(cloud.points)
    table = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    table["normal"] = face_areas(vertices, faces)[1]
    table["corners"] = vertices[faces]
    # A header that began with "solid" would announce text.
    header = " ".join(["multidiff:", *tags.values()]).encode("utf-8")[:80].ljust(80)
    path.write_bytes(header + len(faces).to_bytes(4, "little") + table.tobytes())


def _write_turntable(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    from multidiff.points.media import PointCloud
    from multidiff.points.plot import TURN_FPS, turntable

    encode(turntable(PointCloud(*cloud)), TURN_FPS, path, tags)


READERS: dict[str, Callable[[Path], Arrays]] = {
    **dict.fromkeys((".ply", ".obj", ".off", ".stl"), read_mesh),
    **dict.fromkeys((".glb", ".gltf"), read_gltf),
    ".pcd": read_pcd,
    ".xyz": _read_xyz,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
"""By suffix; whatever a reader raises means that the file cannot be read."""

WRITERS: dict[str, Callable[[Arrays, Path, Mapping[str, str]], None]] = {
    "ply": _write_ply,
    "glb": _write_glb,
    "npz": _write_npz,
    "xyz": _write_xyz,
    "obj": _write_obj,
    "stl": _write_stl,
    "mp4": _write_turntable,
    "gif": _write_turntable,
}
