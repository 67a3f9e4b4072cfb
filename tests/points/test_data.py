from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import dataset
from multidiff.errors import InputError
from multidiff.points import synth
from multidiff.points.data import PointData, examples
from multidiff.points.media import UP, PointCloud


@pytest.fixture(autouse=True)
def _no_old_reports() -> None:
    dataset.SKIPPED.items.clear()


def shapes(count: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.stack([synth.shape(i)[0].points for i in range(count)]))


def test_synthetic_splits_are_disjoint_and_filtered_by_label() -> None:
    spec = PointData(count=60, points=128)
    train, val = list(examples(spec, "train")), list(examples(spec, "val"))
    assert (len(train), len(val)) == (60, 6)
    assert not {e.source for e in train} & {e.source for e in val}
    assert all(len(e.media) == 128 and e.text for e in train)
    chairs = list(examples(PointData(count=60, points=128, where={"label": ["chair", "stool"]}, limit=7), "train"))
    assert [e.label for e in chairs] == ["chair", "stool"] * 3 + ["chair"]
    assert list(examples(spec, "none")) == []


def test_a_folder_of_files_is_read_with_its_captions_and_bad_files_are_listed(tmp_path: Path) -> None:
    for name in ("a.ply", "b.npz", "c.xyz"):
        synth.shape(1, 64)[0].save(tmp_path / name)
    (tmp_path / "bad.ply").write_bytes(b"nothing")
    rows = ["a.ply,a bed,bed,train", "b.npz,another,bed,train", "c.xyz,a third,bed,val", "bad.ply,x,bed,train"]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text,label,split", *rows]))
    found = list(examples(PointData(root=str(tmp_path)), "train"))
    assert [e.text for e in found] == ["a bed", "another"]
    assert [e.text for e in examples(PointData(root=str(tmp_path)), "val")] == ["a third"]
    assert len(dataset.SKIPPED) == 1
    assert "bad.ply" in dataset.SKIPPED.items[0][0]


def test_shapes_are_normalised_unless_told_not_to(tmp_path: Path) -> None:
    PointCloud(100 + np.random.default_rng(0).normal(size=(64, 3))).save(tmp_path / "a.ply")
    (tmp_path / "metadata.csv").write_text("file_name,split\na.ply,train\n")
    (one,) = examples(PointData(root=str(tmp_path)), "train")
    assert np.linalg.norm(one.media.points, axis=1).max() == pytest.approx(1)
    (raw,) = examples(PointData(root=str(tmp_path), normalise=False), "train")
    assert raw.media.points.mean() > 90


def test_files_with_another_axis_up_are_set_upright(tmp_path: Path) -> None:
    cloud = synth.shape(0, 64)[0]
    cloud.rotated(UP["z"].T).save(tmp_path / "a.ply")
    (tmp_path / "metadata.csv").write_text("file_name,split\na.ply,train\n")
    (one,) = examples(PointData(root=str(tmp_path), up="z"), "train")
    np.testing.assert_allclose(one.media.points, cloud.points, atol=1e-6)


def test_a_pack_is_read_by_its_index_and_a_broken_shape_is_skipped(tmp_path: Path) -> None:
    points = np.stack([synth.shape(i, 64)[0].points for i in range(4)])
    points[2, 5] = np.nan
    np.savez(
        tmp_path / "points.npz", points=points, category=np.array(list("abab")), split=np.array(["train"] * 3 + ["val"])
    )
    found = list(examples(PointData(root=str(tmp_path)), "train"))
    assert [e.label for e in found] == ["a", "b"]
    assert "[2]" in dataset.SKIPPED.items[0][0]
    (tmp_path / "metadata.csv").write_text("index,text,label,split\n3,the last,z,train\n0,the first,z,val\n")
    (last,) = examples(PointData(root=str(tmp_path), normalise=False), "train")
    assert last.text == "the last"
    np.testing.assert_array_equal(last.media.points, points[3])


def test_a_pack_that_is_none_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", points=np.zeros((5, 3)))
    with pytest.raises(InputError, match=r"has \(shapes, points, 3\)"):
        list(examples(PointData(root=str(tmp_path)), "train"))
    (tmp_path / "points.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="no pack of clouds"):
        list(examples(PointData(root=str(tmp_path)), "train"))
    with pytest.raises(InputError, match="no such folder"):
        list(examples(PointData(root=str(tmp_path / "none")), "train"))
