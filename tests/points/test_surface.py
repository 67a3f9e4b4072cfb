"""Meshes round points: closed, in place, and of the right size."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from multidiff.points import synth
from multidiff.points.distance import nearest
from multidiff.points.media import PointCloud
from multidiff.points.surface import surface


def ball(count: int = 1500) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_a_ball_becomes_a_solid_ball_a_little_too_thick() -> None:
    vertices, faces = surface(ball())
    mesh = trimesh.Trimesh(vertices, faces)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2  # one piece, without holes or cavities
    radius = np.linalg.norm(vertices, axis=1)
    assert 1 <= radius.mean() < 1.05
    assert radius.std() < 0.01
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * radius.mean() ** 3, rel=0.02)


def test_thin_parts_are_kept_and_everything_is_covered() -> None:
    points = synth.shape(4, 2048)[0].points  # a chair
    vertices, faces = surface(points)
    mesh = trimesh.Trimesh(vertices, faces)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert nearest(points, vertices).max() < 0.05
    assert nearest(vertices, points).max() < 0.1


def test_an_open_sheet_becomes_a_thin_plate() -> None:
    sheet = np.random.default_rng(0).random((1000, 3)) * [1, 0, 1]
    mesh = trimesh.Trimesh(*surface(sheet))
    assert mesh.is_watertight
    assert mesh.volume / mesh.area * 2 < 0.06
    np.testing.assert_allclose(mesh.bounds[:, [0, 2]], [[0, 0], [1, 1]], atol=0.12)


def test_a_mesh_moves_with_its_points() -> None:
    vertices, faces = surface(ball(400))
    moved, again = surface(ball(400) * 1000 + [1e6, 0, -5e6])
    np.testing.assert_array_equal(again, faces)
    np.testing.assert_allclose(moved, vertices * 1000 + [1e6, 0, -5e6], atol=1e-2)


def test_a_cloud_saved_as_stl_is_a_mesh_for_others_and_can_be_read_again(tmp_path: Path) -> None:
    path = PointCloud(ball(600)).save(tmp_path / "ball.stl", {"title": "a round ball"})
    other = trimesh.load(path)
    assert other.is_watertight
    assert other.volume == pytest.approx(4.19, rel=0.3)
    np.testing.assert_allclose(
        other.face_normals,
        np.cross(*np.diff(other.triangles, axis=1).swapaxes(0, 1)) / (2 * other.area_faces[:, None]),
        atol=1e-3,
    )
    assert np.linalg.norm(PointCloud.read(path).points, axis=1).mean() == pytest.approx(1.05, abs=0.05)
    assert path.read_bytes()[:80].strip() == b"multidiff: a round ball"


def test_points_that_are_no_surface_give_a_closed_mesh_all_the_same(tmp_path: Path) -> None:
    mesh = trimesh.Trimesh(*surface(np.random.default_rng(0).random((800, 3))))
    assert mesh.is_watertight
    assert 0.4 < mesh.volume < 1.8
    for count in (16, 24):
        few = PointCloud(np.random.default_rng(0).normal(size=(count, 3)))
        assert trimesh.load(few.save(tmp_path / "few.stl")).is_watertight
