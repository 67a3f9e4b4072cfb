"""Partial views, crops, holes, noise, density and stray points: what completion trains on."""

import numpy as np
import pytest
import torch

from multidiff.points import corrupt, synth
from multidiff.points.augment import PointTraining, training_batch
from multidiff.points.corrupt import PARTS

ALL = dict.fromkeys(PARTS, 1.0)


def shapes(count: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.stack([synth.shape(i)[0].points for i in range(count)]))


def test_hidden_points_of_a_ball_are_its_far_side() -> None:
    ball = torch.nn.functional.normalize(torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    camera = torch.tensor([[0.0, 1.0, 3.0]])
    truth = ball @ camera[0] > 1
    for seen in (
        torch.from_numpy(corrupt.visible(ball.numpy(), camera[0].numpy())),
        corrupt.seen_by_depth(ball[None], camera)[0],
    ):
        clear = (ball @ camera[0] - 1.2).abs() > 0.6  # not grazing
        assert (seen == truth)[clear].float().mean() > 0.97


def test_the_z_buffer_agrees_with_hidden_point_removal() -> None:
    clouds = shapes(12)
    cameras = 2.5 * corrupt.directions(12, torch.Generator().manual_seed(0))
    exact = torch.stack(
        [torch.from_numpy(corrupt.visible(p.numpy(), c.numpy())) for p, c in zip(clouds, cameras, strict=True)]
    )
    assert (corrupt.seen_by_depth(clouds, cameras) == exact).float().mean() > 0.75


def test_crops_keep_their_share_on_the_right_side() -> None:
    clouds, share = shapes(4), torch.tensor([0.25, 0.5, 0.5, 0.75])
    up = torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)
    kept = corrupt.half_space(clouds, up, share)
    torch.testing.assert_close(kept.float().mean(1), share)
    for cloud, keep in zip(clouds, kept, strict=True):
        assert cloud[keep, 1].min() >= cloud[~keep, 1].max()
    centres = clouds[:, :3]
    kept = corrupt.without_blobs(clouds, centres, share)
    torch.testing.assert_close(kept.float().mean(1), share)
    reach = (clouds[:, :, None] - centres[:, None]).norm(dim=3).amin(2)
    assert all(r[k].min() >= r[~k].max() for r, k in zip(reach, kept, strict=True))


def test_a_partial_view_is_the_same_for_the_same_seed_and_moves_with_the_shape() -> None:
    clouds = shapes(8)
    first, again = (corrupt.partial(clouds, ALL, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, corrupt.partial(clouds, ALL, torch.Generator().manual_seed(4)))
    assert (first.float().mean(1) > 0.05).all()
    assert (first.float().mean(1) < 0.95).all()


def test_drawn_points_are_kept_ones_and_repeat_only_when_they_must() -> None:
    keep = torch.rand(3, 100, generator=torch.Generator().manual_seed(0)) < torch.tensor([[0.2], [0.5], [1.0]])
    index = corrupt.draw(keep, 40, torch.Generator().manual_seed(1))
    assert keep.gather(1, index).all()
    for row, kept in zip(index, keep.sum(1), strict=True):
        assert len(row.unique()) == min(40, int(kept))


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_a_part_and_can_be_chosen_alone(name: str) -> None:
    clouds = shapes(6)
    kept = corrupt.partial(clouds, {name: 2.0}, torch.Generator().manual_seed(0))
    share = kept.float().mean(1)
    assert (share > 0.05).all()
    assert (share < 0.95).all()
    every = corrupt.partial(clouds, {"blobs": 0.0, name: 1.0}, torch.Generator().manual_seed(0))
    assert torch.equal(every, kept)


def test_parts_come_as_often_as_their_weights_say() -> None:
    clouds = torch.randn(1, 64, 3, generator=torch.Generator().manual_seed(0)).expand(4000, 64, 3)
    kept = corrupt.partial(clouds, {"crop": 0.25, "blob": 0.75}, torch.Generator().manual_seed(0))
    one = corrupt.partial(clouds, {"crop": 1.0}, torch.Generator().manual_seed(0))
    assert (kept == one).all(1).float().mean() == pytest.approx(0.25, abs=0.03)


def test_views_by_hidden_point_removal_are_those_of_each_shape() -> None:
    clouds, cameras = shapes(3), 2.5 * corrupt.directions(3, torch.Generator().manual_seed(0))
    seen = corrupt.seen(clouds, cameras)
    for cloud, camera, row in zip(clouds, cameras, seen, strict=True):
        np.testing.assert_array_equal(row.numpy(), corrupt.visible(cloud.numpy(), camera.numpy()))


def test_points_are_drawn_as_often_as_their_weights_say() -> None:
    keep, weight = torch.ones(20_000, 4, dtype=torch.bool), torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(20_000, 4)
    first = corrupt.draw(keep, 1, torch.Generator().manual_seed(0), weight)[:, 0]
    np.testing.assert_allclose(first.bincount() / 20_000, [0.1, 0.2, 0.3, 0.4], atol=0.01)
    even = [corrupt.draw(keep, 2, torch.Generator().manual_seed(0), w) for w in (None, torch.ones(20_000, 4))]
    assert (even[0] == even[1]).float().mean() > 0.999


def test_density_falls_across_a_shape_by_at_most_the_ratio() -> None:
    line = torch.linspace(-1, 1, 101)[None, :, None] * torch.tensor([1.0, 0, 0])
    weight = corrupt.uneven(line.expand(200, -1, -1), 5.0, torch.Generator().manual_seed(0))
    fall = weight.amax(1) / weight.amin(1)
    assert fall.min() >= 1
    assert fall.max() <= 5
    assert fall.max() > 4
    assert (weight.log().diff(dim=1).diff(dim=1).abs() < 1e-3).all()  # exponential along the direction


def test_stray_points_are_few_and_around_the_part() -> None:
    clouds = shapes(40)[:, :500]
    moved = corrupt.stray(clouds, 0.2, torch.Generator().manual_seed(0))
    share = (moved != clouds).any(2).float().mean(1)
    assert share.max() < 0.27
    assert share.mean() == pytest.approx(0.1, abs=0.03)
    low, high = clouds.amin(1, keepdim=True), clouds.amax(1, keepdim=True)
    assert (((moved - (low + high) / 2).abs() / (high - low)) <= 0.75 + 1e-5).all()


@pytest.mark.parametrize(
    ("key", "value"), [("parts", {"hpr": 1.0}), ("uneven", 8.0), ("outliers", 0.3), ("jitter", 0.2)]
)
def test_a_recipe_chooses_what_its_parts_are_like(key: str, value: object) -> None:
    def known(data: PointTraining) -> torch.Tensor:
        batch = training_batch(shapes(4), data, torch.Generator().manual_seed(1))
        assert batch.x0.isfinite().all()
        assert 0 < batch.condition["mask"].sum() < batch.x0[..., 0].numel()
        return batch.condition["known"]

    plain = PointTraining(drawn=128, known=32, complete=1.0)
    assert not torch.equal(known(plain), known(PointTraining(**{**plain.model_dump(), key: value})))


@pytest.mark.parametrize(
    ("parts", "fault"),
    [({"crops": 1}, "did you mean 'crop'"), ({"crop": -1}, "negative"), ({"crop": 0}, "above 0"), ({}, "above 0")],
)
def test_parts_that_cannot_be_are_refused(parts: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        PointTraining(parts=parts)
