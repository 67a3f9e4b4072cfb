"""Normals of bare clouds: right in direction, on one side, in the files and through every task."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from multidiff.points import synth
from multidiff.points.codec import PointCodec, PointCodecSpec
from multidiff.points.media import PointCloud
from multidiff.points.modality import POINTS, PointOptions
from multidiff.points.normals import oriented_normals
from multidiff.points.tasks import CompletePart, Denoise

CODEC = PointCodec(PointCodecSpec())


def agreement(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", found, true)


def test_on_a_closed_surface_all_normals_point_outwards() -> None:
    points, face = trimesh.sample.sample_surface(trimesh.creation.torus(1.0, 0.4), 3000, seed=0)
    true = trimesh.creation.torus(1.0, 0.4).face_normals[face]
    found = oriented_normals(points + 1e4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert (agreement(found, true) > 0.9).mean() > 0.98


def test_pieces_that_lie_apart_are_each_turned_outwards() -> None:
    balls = np.random.default_rng(0).normal(size=(2, 800, 3))
    true = (balls / np.linalg.norm(balls, axis=2, keepdims=True)).reshape(-1, 3)
    points = true + np.repeat([[0, 0, 0], [9, -3, 2]], 800, axis=0)
    assert (agreement(oriented_normals(points), true) > 0.9).all()


def test_most_normals_of_furniture_are_those_of_its_faces() -> None:
    shares = []
    for index in (0, 3, 9, 11):
        cloud = synth.shape(index, 4096)[0]
        assert cloud.normals is not None
        shares.append((agreement(oriented_normals(cloud.points), cloud.normals) > 0.7).mean())
    assert np.mean(shares) > 0.85


def test_a_bare_cloud_gets_normals_in_its_ply_and_another_keeps_its_own(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    colors = np.random.default_rng(0).integers(256, size=(500, 3)).astype(np.uint8)
    cloud = PointCloud(points, colors).with_normals()
    back = PointCloud.read(cloud.save(tmp_path / "a.ply"))
    assert back.normals is not None
    assert agreement(back.normals, points).min() > 0.9
    np.testing.assert_array_equal(back.colors, colors)
    assert back.with_normals() is back


def test_what_is_made_has_normals_where_they_are_asked_for() -> None:
    x, asked = torch.randn(1, 200, 3), PointOptions(points=200, normals=True)
    x = 3**0.5 * x / x.norm(dim=-1, keepdim=True)
    (cloud,) = CODEC.decode(x, asked)
    assert agreement(cloud.normals, cloud.points / CODEC.spread / 3**0.5).min() > 0.7
    assert CODEC.decode(x, PointOptions(points=200))[0].normals is None
    edited = POINTS.restore(cloud, PointCloud(7 * cloud.points + 5), CODEC)
    np.testing.assert_array_equal(edited.normals, cloud.normals)


@pytest.mark.parametrize("own", [True, False])
def test_a_completion_keeps_given_normals_and_estimates_the_rest(own: bool) -> None:
    points = np.random.default_rng(0).normal(size=(900, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    given_normals = -points[:400].astype(np.float32)  # on the other side, so that they are known again
    part = PointCloud(points[:400], normals=given_normals if own else None)
    asked = PointOptions(points=500, normals=True)
    given, options = POINTS.given(part, "complete", CompletePart(known=64), CODEC, asked)
    x = torch.cat([given.known[:, :64], given.context.frame.enter(torch.from_numpy(points[None, 400:])).float()], 1)
    whole = POINTS.merge(CODEC.decode(x, options)[0], part, given)
    assert len(whole) > 500
    assert agreement(whole.normals[400:], whole.points[400:]).min() > 0.7
    if own:
        np.testing.assert_array_equal(whole.normals[:400], given_normals)
    else:
        assert agreement(whole.normals[:400], points[:400]).min() > 0.7
    noisy, options = POINTS.given(part, "denoise", Denoise(noise=0.01), CODEC, asked)
    moved = POINTS.merge(CODEC.decode(noisy.known, options)[0], part, noisy)
    assert agreement(moved.normals, moved.points).min() > 0.7
