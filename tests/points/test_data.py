from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import dataset
from multidiff.errors import InputError
from multidiff.points import data, synth
from multidiff.points.data import PointData, examples
from multidiff.points.media import PointCloud


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


def test_hidden_points_of_a_ball_are_its_far_side() -> None:
    ball = torch.nn.functional.normalize(torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    camera = torch.tensor([[0.0, 1.0, 3.0]])
    truth = ball @ camera[0] > 1
    for seen in (
        torch.from_numpy(data.visible(ball.numpy(), camera[0].numpy())),
        data.depth_visible(ball[None], camera)[0],
    ):
        clear = (ball @ camera[0] - 1.2).abs() > 0.6  # not grazing
        assert (seen == truth)[clear].float().mean() > 0.97


def test_the_z_buffer_agrees_with_hidden_point_removal() -> None:
    clouds = shapes(12)
    cameras = 2.5 * data.directions(12, torch.Generator().manual_seed(0))
    exact = torch.stack(
        [torch.from_numpy(data.visible(p.numpy(), c.numpy())) for p, c in zip(clouds, cameras, strict=True)]
    )
    assert (data.depth_visible(clouds, cameras) == exact).float().mean() > 0.75


def test_crops_keep_their_share_on_the_right_side() -> None:
    clouds, share = shapes(4), torch.tensor([0.25, 0.5, 0.5, 0.75])
    up = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)
    kept = data.half_space(clouds, up, share)
    torch.testing.assert_close(kept.float().mean(1), share)
    for cloud, keep in zip(clouds, kept, strict=True):
        assert cloud[keep, 1].min() >= cloud[~keep, 1].max()
    centre = clouds[:, 0]
    kept = data.without_blob(clouds, centre, share)
    reach = (clouds - centre[:, None]).norm(dim=2)
    assert all(r[k].min() >= r[~k].max() for r, k in zip(reach, kept, strict=True))


def test_a_partial_view_is_the_same_for_the_same_seed_and_moves_with_the_shape() -> None:
    clouds = shapes(8)
    first, again = (data.partial(clouds, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, data.partial(clouds, torch.Generator().manual_seed(4)))
    assert (first.float().mean(1) > 0.05).all()
    assert (first.float().mean(1) < 0.95).all()


def test_drawn_points_are_kept_ones_and_repeat_only_when_they_must() -> None:
    keep = torch.rand(3, 100, generator=torch.Generator().manual_seed(0)) < torch.tensor([[0.2], [0.5], [1.0]])
    index = data.draw(keep, 40, torch.Generator().manual_seed(1))
    assert keep.gather(1, index).all()
    for row, kept in zip(index, keep.sum(1), strict=True):
        assert len(row.unique()) == min(40, int(kept))
