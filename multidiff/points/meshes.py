"""Files that may hold triangles (ply, obj, off, stl, glb, gltf), read through trimesh.

A mesh is sampled uniformly by area, so that a shape means the same whatever its triangles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import MediaError
from multidiff.points.arrays import Arrays
from multidiff.points.sampling import face_areas, sample_surface

MESH_SAMPLES = 16_384
HARMLESS = (
    "KHR_materials_",
    "KHR_texture_",
    "EXT_texture_",
    "KHR_lights_",
    "KHR_animation_",
    "KHR_xmp",
    "KHR_mesh_quant",
)
"""How the names of those glTF extensions begin that say nothing of where points are, and of whole-number points."""
INSTANCES = "EXT_mesh_gpu_instancing"
MARK = "multidiff_octahedra"
"""Key in a GLB's extras that says its mesh is one octahedron per point, so that reading finds the points again."""


def read_gltf(path: Path) -> Arrays:
    """As `read_mesh`, but what it would read as nothing, or as noise, is an error."""
    content = path.read_bytes()
    if path.suffix.lower() == ".glb":
        # 12 bytes of header, then the length, the type and the bytes of the first chunk, which is JSON.
        content = content[20 : 20 + int.from_bytes(content[12:16], "little")]
    try:
        scene = json.loads(content)
        buffers, fault = [b.get("uri", "") for b in scene.get("buffers", [])], _undecodable(scene)
    except (ValueError, AttributeError, TypeError, LookupError):
        raise MediaError(f"holds no glTF; the file is truncated or no {path.suffix} file") from None
    if fault:
        raise MediaError(fault)
    for uri in buffers:
        if uri and not uri.startswith("data:") and not (path.parent / unquote(uri)).is_file():
            raise MediaError(f"refers to '{uri}', which is not beside it")
    return read_mesh(path)


def _undecodable(scene: dict[str, Any]) -> str:
    """What of a glTF's geometry trimesh would leave out or read as zeros, and the cure; empty where there is nothing.

    Source: the glTF 2.0 specification, sections 3.6.2 (accessors) and 3.12 (extensions).
    """
    for extension in scene.get("extensionsRequired", []):
        if not extension.startswith(HARMLESS):
            return f"needs {extension}, which cannot be decoded here; export it uncompressed, without extensions"
    if any(INSTANCES in node.get("extensions", {}) for node in scene.get("nodes", [])):
        return f"repeats a mesh by {INSTANCES}, which cannot be decoded here; export every copy as a mesh"
    accessors = scene.get("accessors", [])
    used = {p["attributes"].get("POSITION") for mesh in scene.get("meshes", []) for p in mesh["primitives"]}
    for place in (accessors[index] for index in used - {None}):
        if "sparse" in place or place.get("normalized"):
            kind = "sparse" if "sparse" in place else "normalised whole"
            return f"holds its points as {kind} numbers, which cannot be decoded here; export them as plain floats"
        if "bufferView" not in place:
            return "holds points without data; the file is compressed by an extension that it does not name as required"
    return ""


def read_mesh(path: Path) -> Arrays:
    """The points of a file, or points on its triangles where it has any. Raises MediaError."""
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
    found = [_vertices(cloud) for cloud in clouds]
    points, *known = (list(values) for values in zip(*found, strict=True))
    return Arrays(np.concatenate(points), *map(_joined, known))


def _joined(values: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    """All of the values as one array, None where one is missing."""
    present = [value for value in values if value is not None]
    return np.concatenate(present) if len(present) == len(values) else None


def _vertices(cloud: Any) -> Arrays:
    """The vertices of a file without faces, with their colours and a PLY's normals and confidence."""
    count = len(cloud.vertices)
    element = cloud.metadata.get("_ply_raw", {}).get("vertex", {})
    if element.get("length", count) != count:
        raise MediaError(f"has {count} of {element['length']} points; the file is truncated")
    data, names = element.get("data"), ("nx", "ny", "nz")
    known = set(element.get("properties", ()))
    normals = np.stack([data[name].reshape(-1) for name in names], axis=1) if known.issuperset(names) else None
    confidence = data["confidence"].reshape(-1) if "confidence" in known else None
    colors = getattr(cloud, "colors", None)
    has_colors = colors is not None and len(colors) == count
    return Arrays(np.asarray(cloud.vertices), np.asarray(colors)[:, :3] if has_colors else None, normals, confidence)


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
    from trimesh.visual.material import SimpleMaterial, color_image

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
    unnamed = (*np.asarray(color_image())[0, 0][:3], 255)
    if any((colors == made_up).all() for made_up in (DEFAULT_COLOR, SimpleMaterial().main_color, unnamed)):
        return None
    return colors[:, :3].astype(np.float64)


def _octahedra_centres(mesh: Any) -> Arrays:
    vertices = np.asarray(mesh.vertices, np.float64).reshape(-1, 6, 3)
    colors = _vertex_colors(mesh)
    return Arrays(vertices.mean(1), None if colors is None else colors.reshape(-1, 6, 3)[:, 0])
