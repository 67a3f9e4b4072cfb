"""Point-cloud file formats: path -> arrays and arrays -> path.

Formats whose layout is a few lines (ply, xyz, obj, npz) are written here; meshes and everything else are read
through trimesh. A mesh is sampled uniformly by area, so that a shape means the same whatever its triangles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import MediaError
from multidiff.points.sampling import face_areas, sample_surface

MESH_SAMPLES = 16_384
MAX_GLB_POINTS = 65_536
PLAIN_COLOR = (86, 124, 178)
OCTAHEDRON_VERTICES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
OCTAHEDRON_FACES = np.array([[0, 2, 4], [0, 5, 2], [0, 4, 3], [0, 3, 5], [1, 4, 2], [1, 2, 5], [1, 3, 4], [1, 5, 3]])
MARK = "multidiff_octahedra"
"""Key in a GLB's extras that says its mesh is one octahedron per point, so that reading finds the points again."""


class Arrays(NamedTuple):
    """points (N, 3), colors (N, 3) and normals (N, 3), as a file holds them; not yet checked."""

    points: NDArray[Any]
    colors: NDArray[Any] | None = None
    normals: NDArray[Any] | None = None


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
        extra = {name: arrays[name] for name in ("colors", "normals") if name in arrays}
        return Arrays(arrays[key], **extra)


def _read_xyz(path: Path) -> Arrays:
    text = path.read_text("utf-8", errors="strict").replace(",", " ").replace(";", " ")
    rows = np.loadtxt(text.splitlines(), comments="#", ndmin=2, dtype=np.float64)
    if rows.shape[1] < 3:
        raise MediaError(f"has {rows.shape[1]} columns; an xyz file has x y z, and r g b or nx ny nz after them")
    points, rest = rows[:, :3], rows[:, 3:6]
    if rest.shape[1] < 3:
        return Arrays(points)
    if np.allclose(np.linalg.norm(rest, axis=1), 1, atol=1e-2):
        return Arrays(points, normals=rest)
    is_color = (rest >= 0).all() and (rest <= 255).all() and (rest == rest.round()).all()
    return Arrays(points, colors=rest if is_color else None)


def _read_trimesh(path: Path) -> Arrays:
    import trimesh

    loaded = trimesh.load(path, process=False)
    if isinstance(loaded, trimesh.Scene):
        marked = MARK in loaded.metadata
        placed = [loaded.graph[node] for node in loaded.graph.nodes_geometry]
        parts = [loaded.geometry[name].copy().apply_transform(transform) for transform, name in placed]
    else:
        marked, parts = False, [loaded]
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if meshes:
        return _octahedra_centres(meshes[0]) if marked else _sample_meshes(meshes)
    clouds = [part for part in parts if hasattr(part, "vertices") and len(part.vertices)]
    if not clouds:
        raise MediaError(f"holds no points; the file is truncated or no {path.suffix} file")
    return _vertices(clouds[0])


def _vertices(cloud: Any) -> Arrays:
    """The vertices of a file without faces, with their colours and a PLY's normals."""
    count = len(cloud.vertices)
    element = cloud.metadata.get("_ply_raw", {}).get("vertex", {})
    if element.get("length", count) != count:
        raise MediaError(f"has {count} of {element['length']} points; the file is truncated")
    data, names = element.get("data"), ("nx", "ny", "nz")
    known = set(element.get("properties", ()))
    normals = np.stack([data[name].reshape(-1) for name in names], axis=1) if known.issuperset(names) else None
    colors = getattr(cloud, "colors", None)
    has_colors = colors is not None and len(colors) == count
    return Arrays(np.asarray(cloud.vertices), np.asarray(colors)[:, :3] if has_colors else None, normals)


def _sample_meshes(meshes: list[Any]) -> Arrays:
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
        plain = [
            c if c is not None else np.full((len(m.vertices), 3), 160) for c, m in zip(colors, meshes, strict=True)
        ]
        blended = np.einsum("nij,ni->nj", np.concatenate(plain)[faces[face]], weights).round()
    return Arrays(points + centre, blended, normals)


def _vertex_colors(mesh: Any) -> NDArray[np.floating] | None:
    """Colours (V, 3) of a mesh's vertices, looked up in its texture or material; None when it has none."""
    from trimesh.visual.color import DEFAULT_COLOR
    from trimesh.visual.material import SimpleMaterial

    visual = mesh.visual
    try:
        material = getattr(visual, "material", None)
        pictures = [getattr(material, name, None) for name in ("image", "baseColorTexture")]
        if visual.kind == "texture" and visual.uv is not None and pictures != [None, None]:
            colors = visual.to_color().vertex_colors
        elif material is not None:
            colors = np.tile(material.main_color, (len(mesh.vertices), 1))
        else:
            colors = visual.vertex_colors if visual.defined else ()
    except Exception:  # a missing or foreign texture only costs the colours
        return None
    colors = np.asarray(colors)
    if colors.shape != (len(mesh.vertices), 4):
        return None
    # What trimesh makes up when a material or colour is missing is no colour.
    if any((colors == made_up).all() for made_up in (DEFAULT_COLOR, SimpleMaterial().main_color)):
        return None
    return colors[:, :3].astype(np.float64)


def _octahedra_centres(mesh: Any) -> Arrays:
    vertices = np.asarray(mesh.vertices, np.float64).reshape(-1, 6, 3)
    colors = _vertex_colors(mesh)
    return Arrays(vertices.mean(1), None if colors is None else colors.reshape(-1, 6, 3)[:, 0])


def _table(cloud: Arrays) -> NDArray[Any]:
    """Points, normals and colours as one structured array, with PLY's property names."""
    real = "<f4" if cloud.points.dtype == np.float32 else "<f8"
    columns: list[tuple[str, str, NDArray[Any]]] = [(n, real, cloud.points[:, i]) for i, n in enumerate("xyz")]
    if cloud.normals is not None:
        columns += [(n, "<f4", cloud.normals[:, i]) for i, n in enumerate(("nx", "ny", "nz"))]
    if cloud.colors is not None:
        columns += [(n, "u1", cloud.colors[:, i]) for i, n in enumerate(("red", "green", "blue"))]
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


def _write_text(cloud: Arrays, path: Path, tags: Mapping[str, str], prefix: str, color_scale: float) -> None:
    digits = 9 if cloud.points.dtype == np.float32 else 17
    rows, form = cloud.points.astype(np.float64), [f"%.{digits}g"] * 3
    if cloud.colors is not None:
        rows = np.concatenate([rows, cloud.colors / color_scale], axis=1)
        form += ["%.6g"] * 3
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"# {key}: {value}\n" for key, value in tags.items())
        np.savetxt(stream, rows, fmt=prefix + " ".join(form))


def _write_xyz(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "", 1.0)


def _write_obj(cloud: Arrays, path: Path, tags: Mapping[str, str]) -> None:
    _write_text(cloud, path, tags, "v ", 255.0)


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


READERS: dict[str, Callable[[Path], Arrays]] = {
    **dict.fromkeys((".ply", ".obj", ".off", ".stl", ".glb", ".gltf"), _read_trimesh),
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
}
