import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from multidiff.errors import InputError, MediaError, MultidiffError
from multidiff.points import formats, sampling
from multidiff.points.media import UP, PointCloud

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 3)).astype(np.float32)
COLORS = RNG.integers(0, 256, (300, 3)).astype(np.uint8)
NORMALS = (POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)).astype(np.float32)
FAR = np.array([500_000.0, 4_000_000.0, 100.0])


KEEPING = [kind for kind in PointCloud.formats if kind not in ("stl", "mp4", "gif")]
"""Formats that hold the points themselves."""


@pytest.mark.parametrize("kind", KEEPING)
def test_a_cloud_survives_every_format(tmp_path: Path, kind: str) -> None:
    path = PointCloud(POINTS, COLORS, NORMALS).save(tmp_path / f"a.{kind}", {"prompt": "a chair\nor two", "seed": "7"})
    back = PointCloud.read(path)
    np.testing.assert_allclose(back.points, POINTS, atol=0 if kind != "glb" else 1e-6)
    np.testing.assert_array_equal(back.colors, COLORS)
    if kind in ("ply", "npz", "xyz"):
        np.testing.assert_array_equal(back.normals, NORMALS)


def test_confidence_survives_ply_and_npz_and_other_programs_find_it(tmp_path: Path) -> None:
    cloud = PointCloud(POINTS, COLORS, NORMALS, np.linspace(0, 1, len(POINTS)))
    for kind in ("ply", "npz"):
        back = PointCloud.read(cloud.save(tmp_path / f"a.{kind}"))
        np.testing.assert_array_equal(back.confidence, np.linspace(0, 1, len(POINTS), dtype=np.float32))
        np.testing.assert_array_equal(back.normals, NORMALS)
        np.testing.assert_array_equal(back.colors, COLORS)
    vertices = trimesh.load(tmp_path / "a.ply", process=False).metadata["_ply_raw"]["vertex"]
    assert list(vertices["properties"])[-1] == "confidence"
    np.testing.assert_array_equal(vertices["data"]["confidence"].reshape(-1), cloud.confidence)
    assert PointCloud.read(PointCloud(POINTS).save(tmp_path / "b.ply")).confidence is None
    with pytest.raises(MediaError, match=r"confidence of shape \(300, 3\): one row per point is needed, \(300,\)"):
        PointCloud(POINTS, confidence=POINTS)


def test_the_surest_points_are_those_of_so_much_confidence_at_least() -> None:
    cloud = PointCloud(POINTS, confidence=np.arange(300) / 300)
    np.testing.assert_array_equal(cloud.surest(0.5).points, POINTS[150:])
    with pytest.raises(MediaError, match="15 points are too few"):
        cloud.surest(0.95)
    with pytest.raises(MediaError, match="tells no confidence; complete a part with -n 2 or more"):
        PointCloud(POINTS).surest(0.5)


@pytest.mark.parametrize("kind", KEEPING)
def test_map_coordinates_stay_exact_to_a_micrometre(tmp_path: Path, kind: str) -> None:
    cloud = PointCloud(POINTS + FAR)
    assert cloud.points.dtype == np.float64
    back = PointCloud.read(cloud.save(tmp_path / f"a.{kind}"))
    np.testing.assert_allclose(back.points, POINTS + FAR, rtol=0, atol=1e-6)
    np.testing.assert_allclose(back.normalized()[0].points, PointCloud(POINTS).normalized()[0].points, atol=1e-6)


def test_other_programs_find_points_colours_and_normals(tmp_path: Path) -> None:
    cloud = PointCloud(POINTS, COLORS, NORMALS)
    for kind in ("ply", "obj"):
        other = trimesh.load(cloud.save(tmp_path / f"a.{kind}"), process=False)
        np.testing.assert_array_equal(np.asarray(other.vertices, np.float32), POINTS)
        np.testing.assert_array_equal(np.asarray(other.colors)[:, :3], COLORS)
    with np.load(cloud.save(tmp_path / "a.npz")) as arrays:
        np.testing.assert_array_equal(arrays["normals"], NORMALS)
    table = np.loadtxt(cloud.save(tmp_path / "a.xyz"))
    np.testing.assert_allclose(table, np.concatenate([POINTS, COLORS, NORMALS], axis=1), rtol=1e-7)
    bare = np.loadtxt(PointCloud(POINTS, normals=NORMALS).save(tmp_path / "b.xyz"))
    np.testing.assert_allclose(bare, np.concatenate([POINTS, NORMALS], axis=1), rtol=1e-7)
    assert PointCloud.read(tmp_path / "b.xyz").colors is None


def test_a_gltf_is_read_with_the_files_beside_it(tmp_path: Path) -> None:
    box = trimesh.creation.box((1.0, 2.0, 4.0))
    box.visual.vertex_colors = (10, 200, 30, 255)
    for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box)).items():
        (tmp_path / name).write_bytes(content)
    cloud = PointCloud.read(tmp_path / "model.gltf")
    np.testing.assert_allclose(cloud.bounds, [[-0.5, -1, -2], [0.5, 1, 2]], atol=1e-5)
    assert (cloud.colors == (10, 200, 30)).all()
    next(tmp_path.glob("*.bin")).unlink()
    with pytest.raises(MediaError, match=r"model\.gltf: refers to '.*\.bin', which is not beside it"):
        PointCloud.read(tmp_path / "model.gltf")


def test_all_clouds_of_a_scene_are_read(tmp_path: Path) -> None:
    scene = trimesh.Scene([trimesh.PointCloud(POINTS, COLORS), trimesh.PointCloud(POINTS + 9, COLORS)])
    scene.export(tmp_path / "two.glb")
    cloud = PointCloud.read(tmp_path / "two.glb")
    order = np.argsort(cloud.points[:, 0] > 5, kind="stable")  # trimesh puts the second first
    np.testing.assert_allclose(cloud.points[order], np.concatenate([POINTS, POINTS + 9]), atol=1e-6)
    np.testing.assert_array_equal(cloud.colors, np.concatenate([COLORS, COLORS]))


@pytest.mark.parametrize("up", UP)
def test_any_axis_of_a_file_can_be_the_one_that_points_up(up: str) -> None:
    axis = "xyz".index(up[-1])
    sign = -1 if up.startswith("-") else 1
    cloud = PointCloud(POINTS, COLORS, NORMALS).rotated(UP[up])
    np.testing.assert_allclose(cloud.points[:, 1], sign * POINTS[:, axis])
    np.testing.assert_allclose(cloud.normals[:, 1], sign * NORMALS[:, axis])
    assert np.linalg.det(UP[up]) == pytest.approx(1)
    np.testing.assert_array_equal(cloud.rotated(UP[up].T).points, POINTS)


def test_tags_are_in_the_file(tmp_path: Path) -> None:
    for kind in ("ply", "glb", "xyz", "obj", "stl"):
        assert (
            b"a small chair"
            in PointCloud(POINTS).save(tmp_path / f"a.{kind}", {"prompt": "a small chair"}).read_bytes()
        )
    with np.load(PointCloud(POINTS).save(tmp_path / "a.npz", {"prompt": "a small chair"})) as arrays:
        assert str(arrays["tag_prompt"]) == "a small chair"


def test_a_mesh_is_sampled_uniformly_by_area_and_the_same_each_time(tmp_path: Path) -> None:
    box = trimesh.creation.box((1.0, 2.0, 4.0)).subdivide()
    for kind in ("obj", "off", "stl", "glb", "ply"):
        box.export(tmp_path / f"box.{kind}")
        cloud = PointCloud.read(tmp_path / f"box.{kind}")
        again = PointCloud.read(tmp_path / f"box.{kind}")
        np.testing.assert_array_equal(cloud.points, again.points)
        np.testing.assert_allclose(cloud.bounds, [[-0.5, -1, -2], [0.5, 1, 2]], atol=1e-5)
        on_end = np.isclose(np.abs(cloud.points[:, 2]), 2, atol=1e-5).mean()
        assert on_end == pytest.approx(4 / 28, abs=0.003)
        assert cloud.normals is not None
        assert np.abs(cloud.normals).max(axis=1) == pytest.approx(1)


def test_sampling_is_stratified_over_the_faces() -> None:
    ball = trimesh.creation.icosphere(3)
    _, face, weights = sampling.sample_surface(ball.vertices, ball.faces, 20_000, np.random.default_rng(0))
    expected = ball.area_faces / ball.area * 20_000
    assert np.abs(np.bincount(face, minlength=len(ball.faces)) - expected).max() <= 2
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights >= 0).all()


def test_parts_of_a_scene_are_placed_and_keep_their_colours(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for x, color in ((-5, (255, 0, 0, 255)), (5, (0, 0, 255, 255))):
        part = trimesh.creation.box()
        part.visual.vertex_colors = color
        scene.add_geometry(part, transform=trimesh.transformations.translation_matrix([x, 0, 0]))
    scene.export(tmp_path / "two.glb")
    cloud = PointCloud.read(tmp_path / "two.glb")
    np.testing.assert_allclose(cloud.bounds[:, 0], [-5.5, 5.5], atol=1e-6)
    assert cloud.colors is not None
    np.testing.assert_array_equal(cloud.colors[cloud.points[:, 0] > 0], [0, 0, 255] * np.ones((8192, 1)))


def test_another_program_sees_one_outward_octahedron_per_point(tmp_path: Path) -> None:
    path = PointCloud(POINTS, COLORS).save(tmp_path / "a.glb")
    (mesh,) = trimesh.load(path).geometry.values()
    assert len(mesh.faces) == 8 * len(POINTS)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert trimesh.Trimesh(formats.OCTAHEDRON_VERTICES, formats.OCTAHEDRON_FACES).volume == pytest.approx(4 / 3)


def test_resampling_is_even_deterministic_and_keeps_colours_with_their_points() -> None:
    cloud = PointCloud(POINTS, COLORS)
    even, random = cloud.resample(50), cloud.resample(50, method="random")
    np.testing.assert_array_equal(even.points, cloud.resample(50).points)
    spacing = [cKDTree(thin.points).query(thin.points, k=2)[0][:, 1].min() for thin in (even, random)]
    assert spacing[0] > 2 * spacing[1]
    for thin in (even, random, cloud.resample(1000)):
        rows = [np.flatnonzero((p == POINTS).all(1))[0] for p in thin.points]
        np.testing.assert_array_equal(thin.colors, COLORS[rows])
    assert {tuple(p) for p in cloud.resample(1000).points} == {tuple(p) for p in POINTS}
    with pytest.raises(InputError, match="did you mean 'farthest'"):
        cloud.resample(10, method="fartest")


def test_farthest_points_agree_with_their_definition() -> None:
    chosen = sampling.farthest_points(POINTS, 20)
    for k in range(1, 20):
        reach = np.linalg.norm(POINTS[:, None] - POINTS[chosen[:k]], axis=2).min(1)
        assert reach[chosen[k]] == pytest.approx(reach.max())


def test_normalizing_is_undone_by_its_centre_and_scale() -> None:
    cloud, centre, scale = PointCloud(3 * POINTS + 7).normalized()
    np.testing.assert_allclose(cloud.points * scale + centre, 3 * POINTS + 7, atol=1e-5)
    assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(cloud.bounds.sum(0), 0, atol=1e-6)


def test_repr_says_how_many_and_where() -> None:
    box = np.stack(np.meshgrid([0, 1, 2], [0, 1, 2], [0, 1, 2]), -1).reshape(-1, 3)
    assert repr(PointCloud(box)) == "PointCloud(27 points, x 0..2, y 0..2, z 0..2)"


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        (POINTS[:3], "at least 16"),
        (np.where(POINTS > 2, np.nan, POINTS), "NaN or infinite"),
        (POINTS * np.float64(1e20), "absurd"),
        (np.zeros((50, 3)), "all points are the same"),
        (POINTS[:, :2], r"shape \(300, 2\)"),
        (POINTS[None], "pack of clouds"),
        (POINTS.astype(str), "not numbers"),
    ],
)
def test_impossible_points_are_refused(points: np.ndarray, fault: str) -> None:
    with pytest.raises(MediaError, match=fault):
        PointCloud(points)
    with pytest.raises(MediaError, match="one row per point"):
        PointCloud(POINTS, COLORS[:5])


def broken(folder: Path) -> list[tuple[Path, str]]:
    """Files that cannot be used, with a word of the message each must give."""
    ply = PointCloud(POINTS).save(folder / "whole.ply").read_bytes()
    header = ply[: ply.index(b"end_header") + 11]
    few = b"\n".join(b"%d 1 2" % i for i in range(3))
    nan = POINTS.copy()
    nan[5] = np.nan
    np.save(folder / "nan.npy", nan)
    np.save(folder / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(folder / "other.npz", a=POINTS)
    stl = trimesh.creation.box().export(file_type="stl")
    glb = trimesh.creation.box().export(file_type="glb")
    draco = b'{"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}'
    chunk = len(draco).to_bytes(4, "little") + b"JSON" + draco
    written = {
        "draco.gltf": (draco, "needs KHR_draco_mesh_compression"),
        "draco.glb": (
            b"glTF" + bytes([2, 0, 0, 0, 12 + len(chunk), 0, 0, 0]) + chunk,
            "export it uncompressed, without extensions",
        ),
        "empty.gltf": (b'{"asset": {"version": "2.0"}}', "holds no points"),
        "text.gltf": (b"hello, I am no cloud", "holds no glTF"),
        "text.glb": (b"hello, I am no cloud, none at all", "holds no glTF"),
        "empty.ply": (b"", "empty"),
        "cut.ply": (ply[: len(ply) // 2], "truncated"),
        "header.ply": (header, "truncated"),
        "ascii_cut.ply": (header.replace(b"binary_little_endian", b"ascii") + few + b"\n", "truncated"),
        "huge.ply": (header.replace(b"vertex 300", b"vertex 99999999999999") + ply[len(header) :], "truncated"),
        "text.ply": (b"hello, I am no cloud\n", "of another kind"),
        "text.obj": (b"hello, I am no cloud\n" * 20, "holds no points"),
        "png.stl": (b"\x89PNG\r\n" + bytes(200), "holds no points"),
        "cut.stl": (stl[: len(stl) // 2], "holds no points"),
        "cut.glb": (glb[: len(glb) // 2], "truncated"),
        "cut.off": (b"OFF\n8 12 0\n0 0 0\n1 1", "truncated"),
        "few.xyz": (few, "3 points"),
        "two_columns.xyz": (b"1 2\n" * 20, "2 columns"),
        "binary.xyz": (bytes(range(256)), "another kind"),
        "few.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "3 points"),
        "flat.obj": (b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no area"),
        "zip.npz": (b"PK nothing", "no npz"),
        "cut.npy": ((folder / "nan.npy").read_bytes()[:500], "truncated"),
        "photo.jpg": (b"abc", "unknown kind '.jpg'"),
    }
    for name, (content, _) in written.items():
        (folder / name).write_bytes(content)
    (folder / "folder.ply").mkdir()
    return [(folder / name, fault) for name, (_, fault) in written.items()] + [
        (folder / "missing.ply", "no such file"),
        (folder / "folder.ply", "is a folder"),
        (folder / "nan.npy", "NaN"),
        (folder / "pickled.npy", "cannot be read"),
        (folder / "other.npz", "no array 'points'"),
    ]


def gltf_of_a_box() -> dict:
    """A box as one glTF, its bytes within the JSON."""
    written = trimesh.exchange.gltf.export_gltf(trimesh.Scene(trimesh.creation.box()), merge_buffers=True)
    scene = json.loads(written["model.gltf"])
    for buffer in scene["buffers"]:
        content = base64.b64encode(written[buffer["uri"]]).decode()
        buffer["uri"] = f"data:application/octet-stream;base64,{content}"
    return scene


def points_of(scene: dict) -> dict:
    """The accessor of the first mesh's points."""
    return scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda s: s.update(extensionsRequired=["EXT_meshopt_compression"]), "needs EXT_meshopt_compression"),
        (lambda s: s.update(extensionsRequired=["ACME_points"]), "needs ACME_points"),
        (lambda s: s["nodes"][0].update(extensions={"EXT_mesh_gpu_instancing": {}}), "export every copy"),
        (lambda s: points_of(s).update(sparse={"count": 0}), "sparse numbers"),
        (lambda s: points_of(s).update(normalized=True), "normalised whole numbers"),
        (lambda s: points_of(s).pop("bufferView"), "points without data"),
    ],
)
def test_a_gltf_that_would_be_read_as_less_than_it_holds_is_refused(tmp_path: Path, spoil: Any, fault: str) -> None:
    scene, path = gltf_of_a_box(), tmp_path / "box.gltf"
    path.write_text(json.dumps(scene | {"extensionsRequired": ["KHR_materials_unlit"]}))
    np.testing.assert_allclose(PointCloud.read(path).bounds, [[-0.5] * 3, [0.5] * 3], atol=1e-6)
    spoil(scene)
    path.write_text(json.dumps(scene))
    with pytest.raises(MediaError, match=fault):
        PointCloud.read(path)


def test_an_obj_whose_materials_are_not_beside_it_has_no_colours(tmp_path: Path) -> None:
    """trimesh makes up a grey for it."""
    box = trimesh.creation.box()
    uv, material = np.zeros((8, 2)), trimesh.visual.material.SimpleMaterial(diffuse=(10, 200, 30, 255))
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    box.export(tmp_path / "box.obj")
    assert (PointCloud.read(tmp_path / "box.obj").colors == (10, 200, 30)).all()
    next(tmp_path.glob("*.mtl")).unlink()
    assert PointCloud.read(tmp_path / "box.obj").colors is None


def test_every_bad_file_is_one_clear_line(tmp_path: Path) -> None:
    for path, fault in broken(tmp_path):
        with pytest.raises(MediaError) as caught:
            PointCloud.read(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert fault in message
        assert "\n" not in message


def test_an_absurdly_large_file_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "big.ply").open("wb") as stream:
        stream.truncate(3 * 1024**3)
    with pytest.raises(MediaError, match=r"3\.0 GiB"):
        PointCloud.read(tmp_path / "big.ply")


def test_saving_fails_clearly_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = PointCloud(POINTS)
    with pytest.raises(InputError, match=r"cannot write '\.jpg'"):
        cloud.save(tmp_path / "a.jpg")
    with pytest.raises(MultidiffError, match="cannot be written"):
        cloud.save(tmp_path / "none" / "a.ply")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setitem(formats.WRITERS, "ply", full)
    with pytest.raises(MultidiffError, match="No space left"):
        cloud.save(tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == []


def test_media_libraries_load_only_when_used() -> None:
    code = (
        "import sys, multidiff.points.data, multidiff.points.media, multidiff.points.plot, multidiff.points.metrics\n"
        "print([m for m in ('trimesh', 'scipy', 'matplotlib', 'skimage', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_file_in_upper_case_is_read(tmp_path: Path) -> None:
    PointCloud(POINTS).save(tmp_path / "a.ply")
    shutil.move(tmp_path / "a.ply", tmp_path / "A.PLY")
    assert len(PointCloud.read(tmp_path / "A.PLY")) == 300


def test_points_that_lie_apart_are_found_and_sparse_regions_are_not() -> None:
    rng = np.random.default_rng(0)
    dense, sparse = (np.concatenate([rng.random((n, 2)), np.zeros((n, 1))], axis=1) for n in (2000, 200))
    points = np.concatenate([dense, sparse + np.array([1, 0, 0]), [[0.5, 0.5, 0.3], [1.5, 0.5, -0.4], [3, 3, 3]]])
    found = sampling.strays(points)
    assert found[-3:].all()
    assert found[:-3].mean() < 0.02
