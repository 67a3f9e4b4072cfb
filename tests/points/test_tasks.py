"""Upsampling, regions and denoising: what is kept, what is made, in the given cloud's own unit and place."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from multidiff import core
from multidiff.errors import InputError, MediaError, Notice
from multidiff.modality import Spec
from multidiff.points import synth
from multidiff.points.augment import PointTraining, training_batch
from multidiff.points.codec import PointCodec, PointCodecSpec
from multidiff.points.distance import nearest
from multidiff.points.media import UP, PointCloud
from multidiff.points.modality import POINTS, PointOptions
from multidiff.points.network import PointNetwork, PointNetworkSpec
from multidiff.points.sampling import noise_level
from multidiff.points.tasks import Denoise, Region, Upsample

NEAR = PointNetworkSpec(dim=16, latent_dim=32, latents=8, blocks=2, layers=1, condition_dim=16, neighbours=5)
CODEC = PointCodec(PointCodecSpec())


def network(spec: PointNetworkSpec = NEAR) -> PointNetwork:
    torch.manual_seed(0)
    net = PointNetwork(spec)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def chair(count: int = 600, scale: float = 40.0) -> PointCloud:
    """A coloured chair in centimetres, far from the origin."""
    points = synth.shape(4, count)[0].points * scale + np.array([100.0, 20.0, -70.0])
    return PointCloud(points, np.random.default_rng(0).integers(256, size=(count, 3)).astype(np.uint8))


def completed(media: PointCloud, task: str, asked: Spec, net: nn.Module, points: int = 256) -> PointCloud:
    given, options = POINTS.given(media, task, asked, CODEC, PointOptions(points=points))
    denoiser = core.NetworkDenoiser(
        net, core.make(core.SCHEDULES, "cosine", {}), core.make(core.PARAMETERIZATIONS, "data", {})
    )
    times = core.make(core.GRIDS, "log-snr", {})(denoiser.schedule, 6)
    noise = core.SeededNoise([3], POINTS.event_shape(CODEC, options), torch.float32, "cpu")
    start = None
    if given.noise:
        times, start = core.noisy_start(denoiser.schedule, times, given.known, given.noise)
    condition = {**given.condition, "known": given.known, "mask": given.mask}
    with torch.no_grad():
        x = core.sample(denoiser, core.make(core.SAMPLERS, "dpm++2m", {}), times, noise, condition, start)
    return POINTS.merge(CODEC.decode(x, options)[0], media, given)


# Upsampling


def test_an_upsampled_cloud_has_as_many_points_as_asked_for_the_given_ones_first_and_as_they_were() -> None:
    media = chair()
    whole = completed(media, "upsample", Upsample(known=200), network(), points=1000)
    assert len(whole) == 1000
    np.testing.assert_array_equal(whole.points[:600], media.points)
    np.testing.assert_array_equal(whole.colors[:600], media.colors)
    nearby = np.linalg.norm(whole.points[600:, None] - media.points[None], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(whole.colors[600:], media.colors[nearby])


def test_what_a_perfect_upsampler_makes_lies_on_the_given_shape() -> None:
    media, dense = chair(400), chair(4096)
    given, options = POINTS.given(media, "upsample", Upsample(known=128), CODEC, PointOptions(points=2000))
    x = given.known.clone()
    x[:, 128:] = given.context.frame.enter(torch.from_numpy(dense.points[:1600].astype(np.float64))[None])
    made = POINTS.merge(CODEC.decode(x, options)[0], media, given)
    np.testing.assert_allclose(made.points[400:], dense.points[:1600], atol=1e-3)


def test_no_fewer_points_can_be_asked_for_than_are_there() -> None:
    with pytest.raises(MediaError, match=r"the cloud has 600 points, and 600 are asked for"):
        completed(chair(), "upsample", Upsample(), network(), points=600)


def test_a_model_that_completes_parts_refuses_to_upsample() -> None:
    with pytest.raises(InputError, match="adds no points to a whole; train one by recipe 'upsampler'"):
        completed(chair(), "upsample", Upsample(), network(NEAR.model_copy(update={"neighbours": 0})), points=700)


def test_points_are_told_the_ways_to_their_nearest_known_ones() -> None:
    torch.manual_seed(1)
    x, mask = torch.randn(2, 50, 3), torch.zeros(2, 50, 1)
    mask[0, :20], mask[1, 30:33] = 1, 1
    level = torch.tensor([20.0, 9.0])  # so little noise that alpha is 1
    found = network().nearby(x, level, mask).unflatten(-1, (5, 3))
    for row, known in ((0, x[0, :20]), (1, x[1, 30:33])):
        ways = known[None] - x[row, :, None]
        order = ways.norm(dim=-1).argsort(dim=1)[:, :5]
        expected = torch.asinh(ways.gather(1, order[..., None].expand(-1, -1, 3)) / 0.003)
        torch.testing.assert_close(found[row, :, : expected.shape[1]], expected, atol=1e-3, rtol=0)
    coarse = network().nearby(x, torch.full((2,), -0.5), mask).unflatten(-1, (5, 3))
    assert coarse[0, :20, 0].abs().max() < 1e-6  # the nearest of a known point is that point
    assert coarse.abs().max() < found.abs().max()
    assert found[1, :, 3:].eq(0).all()
    assert network().nearby(x, torch.zeros(2), torch.zeros(2, 50, 1)).eq(0).all()


def test_a_network_with_neighbours_is_permutation_equivariant() -> None:
    x, order = torch.randn(1, 60, 3), torch.randperm(60)
    mask = (torch.arange(60) < 15).float()[None, :, None]
    y = network()(x, torch.ones(1), {"mask": mask})
    again = network()(x[:, order], torch.ones(1), {"mask": mask[:, order]})
    torch.testing.assert_close(again, y[:, order], atol=1e-5, rtol=0)


def test_in_chunks_each_point_is_made_beside_all_known_ones_and_some_of_the_others() -> None:
    net, x, level = network(), torch.randn(1, 90, 3), torch.zeros(1)
    mask = (torch.arange(90) < 10).float()[None, :, None]
    at_once, wide, narrow = (
        net(x, level, {"mask": mask} | ({"chunk": torch.tensor([size])} if size else {})) for size in (0, 80, 30)
    )
    torch.testing.assert_close(wide, at_once)
    first = net(x[:, :40], level, {"mask": mask[:, :40]})
    last = net(torch.cat([x[:, :10], x[:, 70:]], 1), level, {"mask": torch.cat([mask[:, :10], mask[:, 70:]], 1)})
    torch.testing.assert_close(narrow[:, :40], first)
    torch.testing.assert_close(narrow[:, 70:], last[:, 10:])
    assert narrow.shape == x.shape


def shapes(count: int) -> Tensor:
    return torch.from_numpy(np.stack([synth.shape(i, 1024)[0].points for i in range(count)]))


def test_an_upsampled_training_item_knows_clean_points_of_the_whole_and_asks_for_others() -> None:
    data = PointTraining(drawn=256, known=64, complete=0, upsample=1, jitter=0.1, outliers=0.5, stretch=0)
    batch = training_batch(shapes(12), data, torch.Generator().manual_seed(0))
    count = batch.condition["mask"].sum((1, 2)).int()
    assert 16 <= count.min() < count.max() <= 64
    for row, known in enumerate(count.tolist()):
        assert batch.condition["mask"][row, :known].all()
        part, rest = batch.x0[row, :known], batch.x0[row, known:]
        assert torch.cdist(part, rest).min() > 0
        assert part.mean(0).abs().max() < 1e-5  # the frame is that of the known points
        spacing = torch.cdist(rest, rest).fill_diagonal_(9).amin(1).median()
        assert torch.cdist(part, rest).amin(1).median() < 3 * spacing  # they lie among the others


def test_items_are_completed_upsampled_or_neither_by_their_shares() -> None:
    data = PointTraining(drawn=128, known=64, complete=0.3, upsample=0.3)
    mask = training_batch(shapes(12).repeat(10, 1, 1), data, torch.Generator().manual_seed(0)).condition["mask"]
    assert 0.45 < (mask.sum((1, 2)) > 0).float().mean() < 0.75
    without = data.model_copy(update={"upsample": 0.0})
    old, new = (training_batch(shapes(12), d, torch.Generator().manual_seed(1)) for d in (without, data))
    told = old.condition["mask"].sum((1, 2)) > 0
    torch.testing.assert_close(new.x0[told], old.x0[told])
    with pytest.raises(ValidationError, match="exceed 1"):
        PointTraining(complete=0.6, upsample=0.6)


# Regions

BACK = Region(box=(60, 25, -120, 140, 100, -20), known=64)
"""The upper part of the chair."""


def test_only_what_lies_in_the_box_is_made_anew() -> None:
    media = chair()
    outside = ~BACK.inside(media.points)
    assert 0.2 < outside.mean() < 0.8
    given, options = POINTS.given(media, "region", BACK, CODEC, PointOptions(points=4096))
    dense = torch.from_numpy(chair(4096).points.astype(np.float64))[None]
    x = torch.cat([given.known[:, :64], given.context.frame.enter(dense).float()], 1)
    made = POINTS.merge(CODEC.decode(x, options)[0], media, given)
    np.testing.assert_array_equal(made.points[: outside.sum()], media.points[outside])
    np.testing.assert_array_equal(made.colors[: outside.sum()], media.colors[outside])
    new = made.points[outside.sum() :]
    assert len(new) > 500
    assert BACK.inside(new).all()
    assert nearest(new, dense[0].numpy()).max() < 1e-2
    assert not given.mask[:, 64:].any()


def test_a_box_is_meant_in_the_axes_of_the_file() -> None:
    lying = chair().rotated(UP["z"].T)
    low, high = lying.bounds
    top = Region(box=(*low[:2], (low[2] + high[2]) / 2, *high), up="z", known=64)
    given, _ = POINTS.given(lying, "region", top, CODEC, PointOptions())
    assert given.context.part.points[:, 2].max() < top.box[2]


def test_a_box_in_which_nothing_is_made_is_left_empty_and_it_is_said() -> None:
    media = chair()
    given, options = POINTS.given(media, "region", BACK, CODEC, PointOptions(points=100))
    x = torch.cat([given.known[:, :64], torch.full((1, 100, 3), 9.0) + torch.randn(1, 100, 3)], 1)
    with pytest.warns(Notice, match="nothing lies in the box"):
        made = POINTS.merge(CODEC.decode(x, options)[0], media, given)
    assert len(made) == (~BACK.inside(media.points)).sum()


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d,e,f", "0,0,0,1,1,nan", "1,0,0,0,1,1"])
def test_a_box_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Region(box=text)


def test_a_box_beside_the_cloud_or_round_all_of_it_is_refused() -> None:
    assert Region(box="-1, 0,-1,1,2.5,1").box == (-1, 0, -1, 1, 2.5, 1)
    for box, fault in (("0,0,0,1,1,1", "beside the cloud"), ("-999,-999,-999,999,999,999", "only 0 of 600 points")):
        with pytest.raises(MediaError, match=fault):
            POINTS.given(chair(), "region", Region(box=box), CODEC, PointOptions())


# Denoising


def ball(count: int) -> np.ndarray:
    """Evenly spread points (count, 3) on the unit sphere: Fibonacci's spiral."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)


class Ball(nn.Module):
    """Knows that everything lies on a sphere about the origin: the exact x0 of so small a noise."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, x: Tensor, log_snr: Tensor, condition: dict[str, Tensor]) -> Tensor:
        return self.radius * x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize(("up", "noise"), [("y", 1.0), ("-z", None)])
def test_a_noisy_cloud_is_moved_to_its_surface_in_its_own_unit_and_order(up: str, noise: float | None) -> None:
    rng = np.random.default_rng(0)
    clean = 40 * ball(2000)
    place = np.array([500.0, -30.0, 70.0])
    noisy = clean + rng.normal(size=clean.shape)
    media = PointCloud(noisy + place, rng.integers(256, size=(2000, 3)).astype(np.uint8))
    asked = Denoise(up=up, noise=noise)
    if noise is None:
        with pytest.warns(Notice, match=r"noise is taken for (0\.9\d+|1|1\.0\d*), in the file's unit"):
            made = completed(media, "denoise", asked, Ball(3**0.5))
    else:
        made = completed(media, "denoise", asked, Ball(3**0.5))
    distance = np.linalg.norm(made.points - place, axis=1)
    assert np.abs(distance - 40).mean() < 0.3 < 0.7 < np.abs(np.linalg.norm(noisy, axis=1) - 40).mean()
    assert np.linalg.norm(made.points - media.points, axis=1).mean() < 1.5  # each is where it was, but for the noise
    np.testing.assert_array_equal(made.colors, media.colors)


def test_the_noise_of_a_surface_is_estimated_from_its_points() -> None:
    points, rng = synth.shape(0, 4096)[0].points, np.random.default_rng(0)
    for noise in (0.01, 0.02, 0.04):
        assert noise_level(points + noise * rng.normal(size=points.shape)) == pytest.approx(noise, rel=0.3)


def test_noise_as_large_as_the_shape_is_refused() -> None:
    with pytest.raises(MediaError, match="give a smaller noise"):
        POINTS.given(chair(), "denoise", Denoise(noise=30.0), CODEC, PointOptions())
