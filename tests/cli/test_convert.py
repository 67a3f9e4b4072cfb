"""multidiff convert: any file of a medium in another of its formats."""

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from multidiff.points import synth
from multidiff.points.media import PointCloud
from tests.cli.conftest import Run
from tests.tiny import given


def test_a_cloud_becomes_a_mesh_a_turntable_a_picture_and_gets_normals(run: Run, tmp_path: Path) -> None:
    bare = PointCloud(synth.shape(4, 400)[0].points).save(tmp_path / "bare.xyz")
    for name in ("a.stl", "a.gif", "a.png", "a.ply", "b.ply"):
        done = run("convert", bare, name, *(["--normals"] if name == "b.ply" else []))
        assert done.paths == [Path(name)], done
    assert trimesh.load("a.stl").is_watertight
    assert Image.open("a.gif").n_frames > 20
    assert Image.open("a.png").format == "PNG"
    assert PointCloud.read("a.ply").normals is None
    assert PointCloud.read("b.ply").normals is not None


def test_points_of_little_confidence_are_left_out(run: Run, tmp_path: Path) -> None:
    cloud = PointCloud(synth.shape(4, 400)[0].points, confidence=np.arange(400) / 400)
    assert run("convert", cloud.save(tmp_path / "a.ply"), "b.ply", "--least-confidence", "0.25").code == 0
    np.testing.assert_array_equal(PointCloud.read("b.ply").points, cloud.points[100:])
    bare = PointCloud(cloud.points).save(tmp_path / "bare.ply")
    assert run("convert", bare, "c.ply", "--least-confidence", "0.25").is_refused(2, "bare.ply: tells no confidence")
    sound = given("audio").save(tmp_path / "a.wav")
    assert run("convert", sound, "b.flac", "--least-confidence", "1").is_refused(2, "which tells no confidence")


def test_other_media_are_converted_too(run: Run, tmp_path: Path) -> None:
    sound = given("audio").save(tmp_path / "a.wav")
    assert run("convert", sound, "a.flac").code == 0
    assert Path("a.flac").read_bytes()[:4] == b"fLaC"
    assert run("convert", sound, "b.ply").is_refused(2, "ply")
    assert run("convert", sound, "b.flac", "--normals").is_refused(2, "which has no normals")


def test_a_file_of_no_medium_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("x")
    assert run("convert", tmp_path / "a.doc", "b.ply").is_refused(2, "a.doc", "no medium has files '.doc'")
    assert run("convert", tmp_path / "none.ply", "b.ply").is_refused(2, "none.ply", "no such file")
