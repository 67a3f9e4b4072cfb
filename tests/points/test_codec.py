"""Frames: a cloud's own, and the one a part of a shape gives."""

import math

import numpy as np
import pytest
import torch

from multidiff.errors import InputError
from multidiff.points.codec import PointCodec, PointCodecSpec, frame_of_part, frame_of_whole, turn
from multidiff.points.media import PointCloud
from multidiff.points.modality import PointOptions


def box(batch: int = 2, count: int = 400) -> torch.Tensor:
    """Points (B, N, 3) of a box twice as wide as it is deep, off the origin."""
    generator = torch.Generator().manual_seed(0)
    cube = torch.rand(batch, count, 3, generator=generator, dtype=torch.float64) - 0.5
    return cube * torch.tensor([4.0, 1.0, 2.0]) + torch.tensor([5.0, -3.0, 1.0])


def test_a_whole_shape_has_mean_zero_and_unit_variance_in_its_frame() -> None:
    x = frame_of_whole(box()).enter(box())
    torch.testing.assert_close(x.mean(1), torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(x.square().mean((1, 2)), torch.ones(2, dtype=torch.float64))


def test_leaving_a_frame_undoes_entering_it() -> None:
    points = turn(box(), torch.tensor([0.3, 2.0], dtype=torch.float64))
    frame = frame_of_part(points, torch.ones(2, 400, dtype=torch.bool))
    torch.testing.assert_close(frame.leave(frame.enter(points)), points)


def test_a_parts_frame_depends_on_the_part_alone() -> None:
    points, seen = box(), torch.zeros(2, 400, dtype=torch.bool)
    seen[:, :150] = True
    other = torch.where(seen[..., None], points, points * 7 + 2)
    for a, b in zip(frame_of_part(points, seen), frame_of_part(other, seen), strict=True):
        torch.testing.assert_close(a, b)


def test_a_part_is_seen_the_same_wherever_it_stands_and_whatever_its_unit() -> None:
    points, seen = box(), torch.ones(2, 400, dtype=torch.bool)
    moved = 1000 * points + torch.tensor([10.0, -20.0, 30.0])
    torch.testing.assert_close(frame_of_part(moved, seen).enter(moved), frame_of_part(points, seen).enter(points))


@pytest.mark.parametrize("degrees", [3.0, 30.0, 87.0, 150.0])
def test_a_turned_part_is_seen_the_same_up_to_quarter_turns(degrees: float) -> None:
    points, seen = box(), torch.ones(2, 400, dtype=torch.bool)
    turned = turn(points, torch.full((2,), math.radians(degrees), dtype=torch.float64))
    x, y = frame_of_part(points, seen).enter(points), frame_of_part(turned, seen).enter(turned)
    quarters = [turn(y, torch.full((2,), k * math.pi / 2, dtype=torch.float64)) for k in range(4)]
    assert min((q - x).abs().max() for q in quarters) < 1e-6


def test_a_box_is_seen_upright() -> None:
    turned = turn(box(), torch.full((2,), math.radians(24.0), dtype=torch.float64))
    x = frame_of_part(turned, torch.ones(2, 400, dtype=torch.bool)).enter(turned)
    extent = (x.amax(1) - x.amin(1))[:, [0, 2]].sort(dim=1).values
    torch.testing.assert_close(
        extent[:, 1] / extent[:, 0], torch.full((2,), 2.0, dtype=torch.float64), rtol=0.03, atol=0
    )


def test_decode_undoes_encode_up_to_position_and_size() -> None:
    codec = PointCodec(PointCodecSpec(spread=0.5))
    cloud = PointCloud(box(1)[0].numpy())
    made = codec.decode(codec.encode([cloud]), PointOptions())[0]
    ratio = (made.points - made.points[0])[1:] / (cloud.points - cloud.points[0])[1:]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-2)
    assert np.sqrt(np.square(made.points).mean()) == pytest.approx(0.5, rel=1e-4)


def test_clouds_of_different_sizes_make_no_batch() -> None:
    clouds = [PointCloud(box(1, n)[0].numpy()) for n in (50, 60)]
    with pytest.raises(InputError, match="50 and 60 points"):
        PointCodec(PointCodecSpec()).encode(clouds)
