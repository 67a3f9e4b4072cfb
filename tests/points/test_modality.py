"""The point modality: training batches, completion in the scan's own frame, any number of points."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from multidiff import core
from multidiff.errors import MediaError, Notice
from multidiff.modality import Example
from multidiff.points.augment import PointTraining
from multidiff.points.codec import PointCodec, PointCodecSpec
from multidiff.points.distance import nearest
from multidiff.points.media import UP, PointCloud
from multidiff.points.modality import POINTS, PointOptions
from multidiff.points.network import PointNetwork, PointNetworkSpec
from multidiff.points.tasks import CompletePart

TINY = PointNetworkSpec(dim=16, latent_dim=32, latents=8, blocks=2, layers=1, condition_dim=16)


@pytest.fixture
def network() -> PointNetwork:
    torch.manual_seed(0)
    net = PointNetwork(TINY)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


@pytest.fixture
def codec() -> PointCodec:
    return PointCodec(PointCodecSpec())


def rows(count: int = 6) -> dict[str, Tensor]:
    """Boxes of different proportions, (B, 1024, 3) float16, on their surface."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 1024, 3, generator=generator) * 2 - 1
    side = torch.randint(3, (count, 1024, 1), generator=generator)
    points.scatter_(2, side, points.gather(2, side).sign())
    size = 0.2 + 0.3 * torch.rand(count, 1, 3, generator=generator)
    return {"points": (points * size).half()}


def scan(count: int = 300) -> PointCloud:
    """Two walls of a box in the scanner's unit, coloured."""
    rng = np.random.default_rng(0)
    points = rng.random((count, 3)) * [4.0, 2.0, 0.0]
    points[::2] = rng.random((len(points[::2]), 3)) * [0.0, 2.0, 3.0]
    return PointCloud(points, rng.integers(256, size=(count, 3)).astype(np.uint8))


def completed(
    media: PointCloud, network: PointNetwork, codec: PointCodec, points: int = 256, **task: str
) -> PointCloud:
    asked = CompletePart(known=64, **task)
    given, options = POINTS.given(media, "complete", asked, codec, PointOptions(points=points))
    denoiser = core.NetworkDenoiser(
        network, core.make(core.SCHEDULES, "cosine", {}), core.make(core.PARAMETERIZATIONS, "velocity", {})
    )
    times = core.make(core.GRIDS, "log-snr", {})(denoiser.schedule, 4)
    noise = core.SeededNoise([3], POINTS.event_shape(codec, options), torch.float32, "cpu")
    condition = {**given.condition, "known": given.known, "mask": given.mask}
    with torch.no_grad():
        x = core.sample(denoiser, core.make(core.SAMPLERS, "dpm++2m", {}), times, noise, condition)
    return POINTS.merge(codec.decode(x, options)[0], media, given)


def test_importing_the_modality_loads_no_media_library() -> None:
    heavy = "soundfile librosa av trimesh matplotlib scipy skimage torchaudio"
    code = f"import sys, multidiff.points.modality; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_permuted_points_give_permuted_points(network: PointNetwork) -> None:
    x, log_snr, order = torch.randn(2, 40, 3), torch.tensor([-1.0, 2.0]), torch.randperm(40)
    mask = (torch.arange(40) < 10).float()[None, :, None].expand(2, -1, -1)
    y = network(x, log_snr, {"mask": mask})
    torch.testing.assert_close(network(x[:, order], log_snr, {"mask": mask[:, order]}), y[:, order], atol=1e-5, rtol=0)


def test_a_new_network_predicts_zero() -> None:
    assert PointNetwork(TINY)(torch.randn(2, 30, 3), torch.zeros(2), {}).eq(0).all()


@pytest.mark.parametrize("points", [16, 100, 5000])
def test_any_number_of_points_can_be_sampled(network: PointNetwork, codec: PointCodec, points: int) -> None:
    options = PointOptions(points=points)
    with torch.no_grad():
        x = network(torch.randn(1, *POINTS.event_shape(codec, options)), torch.zeros(1), {})
    assert len(codec.decode(x, options)[0]) == points


def test_the_network_hears_noise_level_prompt_and_mask(network: PointNetwork) -> None:
    x, level = torch.randn(1, 30, 3), torch.zeros(1)
    plain = network(x, level, {})
    words = {"tokens": torch.randn(1, 4, 384), "tokens_mask": torch.ones(1, 4, dtype=torch.bool)}
    for other in (
        network(x, level + 1, {}),
        network(x, level, words),
        network(x, level, {"mask": torch.ones(1, 30, 1)}),
    ):
        assert not torch.allclose(other, plain, atol=1e-4)


def test_a_batch_has_unit_variance_and_the_size_asked_for(codec: PointCodec) -> None:
    batch = POINTS.batch(rows(64), codec, PointTraining(drawn=256, known=64), torch.Generator().manual_seed(1))
    assert batch.x0.shape == (64, 256, 3)
    assert batch.x0.dtype == torch.float32
    assert batch.x0.square().mean() == pytest.approx(1, abs=0.25)
    assert batch.x0.isfinite().all()


def test_a_batch_is_determined_by_its_generator(codec: PointCodec) -> None:
    def made(seed: int) -> Tensor:
        return POINTS.batch(rows(), codec, PointTraining(), torch.Generator().manual_seed(seed)).x0

    assert made(5).equal(made(5))
    assert not made(5).equal(made(6))


def test_known_points_come_first_and_only_where_a_part_is_completed(codec: PointCodec) -> None:
    data = PointTraining(drawn=256, known=64, complete=0.5)
    batch = POINTS.batch(rows(40), codec, data, torch.Generator().manual_seed(2))
    count = batch.condition["mask"].sum((1, 2))
    assert 5 < (count > 0).sum() < 35
    assert count[count > 0].min() >= 16
    assert count.max() <= 64
    assert batch.condition["mask"].diff(dim=1).max() <= 0
    known = batch.condition["mask"].bool().expand_as(batch.x0)
    assert batch.condition["known"][known].equal(batch.x0[known])
    assert batch.condition["known"][~known].eq(0).all()


@pytest.mark.parametrize(("key", "value"), [("complete", 0.0), ("known", 0)])
def test_without_completion_nothing_is_known(codec: PointCodec, key: str, value: float) -> None:
    data = PointTraining(drawn=128).model_copy(update={key: value})
    batch = POINTS.batch(rows(), codec, data, torch.Generator().manual_seed(3))
    assert batch.condition["mask"].eq(0).all()
    torch.testing.assert_close(batch.x0.square().mean((1, 2)), torch.ones(6), atol=0.2, rtol=0)


def test_a_parts_frame_is_that_of_its_own_points_in_training_too(codec: PointCodec) -> None:
    data = PointTraining(drawn=256, known=64, complete=1.0, jitter=0.0)
    batch = POINTS.batch(rows(), codec, data, torch.Generator().manual_seed(4))
    mask = batch.condition["mask"]
    mean = (batch.x0 * mask).sum(1) / mask.sum(1)
    variance = ((batch.x0 * mask).square().sum((1, 2))) / (3 * mask.sum((1, 2)))
    torch.testing.assert_close(mean, torch.zeros(6, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(variance, variance[:1].expand(6))


def test_given_points_are_kept_exactly_with_their_colours(network: PointNetwork, codec: PointCodec) -> None:
    media = scan()
    whole = completed(media, network, codec)
    assert len(media) < len(whole) <= len(media) + 256
    np.testing.assert_array_equal(whole.points[: len(media)], media.points)
    np.testing.assert_array_equal(whole.colors[: len(media)], media.colors)


def test_map_coordinates_far_from_the_origin_are_kept_exactly(network: PointNetwork, codec: PointCodec) -> None:
    media = PointCloud(scan().points.astype(np.float64) + np.array([4.5e5, 120.0, 5.2e6]))
    whole = completed(media, network, codec)
    np.testing.assert_array_equal(whole.points[: len(media)], media.points)
    assert np.abs(whole.points - whole.points[0]).max() < 100


@pytest.mark.parametrize(("scale", "shift"), [(8.0, (0, 0, 0)), (0.25, (2, -4, 8)), (1.0, (100, 0, -50))])
def test_a_similarity_of_the_scan_carries_through(
    network: PointNetwork, codec: PointCodec, scale: float, shift: tuple[float, float, float]
) -> None:
    media = PointCloud(scan().points.astype(np.float64))
    moved = PointCloud(media.points.astype(np.float64) * scale + shift)
    expected = completed(media, network, codec).points.astype(np.float64) * scale + shift
    np.testing.assert_allclose(completed(moved, network, codec).points, expected, atol=2e-3 * scale)


def test_a_quarter_turn_of_the_scan_carries_through(network: PointNetwork, codec: PointCodec) -> None:
    media = scan()
    turned = PointCloud(media.points @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32))
    context = [
        POINTS.given(m, "complete", CompletePart(known=64), codec, PointOptions())[0].context for m in (media, turned)
    ]
    assert context[0].frame.scale.item() == pytest.approx(context[1].frame.scale.item())
    assert context[0].frame.heading.item() == pytest.approx(context[1].frame.heading.item())


def test_generated_points_on_the_given_surface_are_left_out(codec: PointCodec) -> None:
    media = scan(2000)
    given, options = POINTS.given(media, "complete", CompletePart(known=64), codec, PointOptions(points=500))
    x = given.known.clone()
    again = torch.from_numpy(media.points[:250].astype(np.float64))[None]
    x[:, 64:314] = given.context.frame.enter(again)
    x[:, 314:] = torch.randn(1, 250, 3) * 0.1 + 5
    whole = POINTS.merge(codec.decode(x, options)[0], media, given)
    assert len(whole) == len(media) + 250


def test_a_part_of_few_points_is_all_known(codec: PointCodec) -> None:
    given, options = POINTS.given(scan(20), "complete", CompletePart(), codec, PointOptions(points=100))
    assert given.mask.sum() == 20
    assert options.points == 120
    assert given.known.shape == (1, 120, 3)


def test_prepared_points_fit_the_unit_sphere_whatever_the_unit(codec: PointCodec) -> None:
    example = Example(PointCloud(scan().points * 1e6))
    points = POINTS.prepare(example, PointTraining(points=512), codec)["points"]
    assert points.shape == (512, 3)
    assert points.dtype == torch.float16
    assert points.float().norm(dim=1).max() == pytest.approx(1, abs=1e-3)


def test_a_cloud_too_large_to_edit_is_refused() -> None:
    media = PointCloud(np.random.default_rng(0).random((131_073, 3)))
    with pytest.raises(MediaError, match="131073 points are too many to edit"):
        POINTS.options_of(media, PointOptions())


def test_a_completion_overlays_its_scan_wherever_that_stands(codec: PointCodec) -> None:
    """What the model makes in the part's frame lies, in the scan's own unit and place, where the shape is."""
    truth = PointCloud(rows(1)["points"][0].double().numpy())
    angle = np.radians(33.0)
    spin = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    for scale, shift in ((1.0, (0, 0, 0)), (1000.0, (4.5e5, -20, 5e6)), (0.001, (1, 2, 3))):
        whole = PointCloud(truth.points.astype(np.float64) @ spin.T * scale + shift)
        part = whole.select(truth.points[:, 0] > 0)
        given, options = POINTS.given(part, "complete", CompletePart(known=64), codec, PointOptions(points=1024))
        perfect = given.context.frame.enter(torch.from_numpy(whole.points.astype(np.float64))[None]).float()
        made = POINTS.merge(codec.decode(torch.cat([given.known[:, :64], perfect], 1), options)[0], part, given)
        np.testing.assert_array_equal(made.points[: len(part)], part.points)
        # float32 in the part's frame, and in a cloud that is near the origin
        reach = nearest(made.points, whole.points).max()
        assert reach < 1e-5 * scale + 1e-7 * np.abs(shift).max() * (scale < 1)
        assert nearest(whole.points, made.points).mean() < 0.02 * scale


def test_a_turn_about_the_upright_axis_carries_through(network: PointNetwork, codec: PointCodec) -> None:
    media = PointCloud(scan().points.astype(np.float64))
    angle = np.radians(-30.0)
    spin = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    expected = completed(media, network, codec).points @ spin.T
    turned = PointCloud(media.points.astype(np.float64) @ spin.T)
    np.testing.assert_allclose(completed(turned, network, codec).points, expected, atol=5e-3)


def test_a_scan_with_another_axis_up_is_completed_as_if_it_stood(network: PointNetwork, codec: PointCodec) -> None:
    media = PointCloud(scan().points.astype(np.float64))
    expected = completed(media, network, codec)
    for up in ("z", "-x"):
        lying = media.rotated(UP[up].T)
        whole = completed(lying, network, codec, up=up)
        np.testing.assert_array_equal(whole.points[: len(lying)], lying.points)
        np.testing.assert_allclose(whole.rotated(UP[up]).points, expected.points, atol=1e-3)
    with pytest.raises(ValueError, match="up"):
        CompletePart(up="w")


def test_stray_points_are_dropped_when_asked_and_it_is_said_how_many(network: PointNetwork, codec: PointCodec) -> None:
    wall = scan(600)
    dirty = PointCloud(
        np.concatenate([wall.points, [[9.0, 9, 9], [-5, 1, 1]]]), np.concatenate([wall.colors, [[1, 2, 3]] * 2])
    )
    with pytest.warns(Notice, match=r"\d+ of 602 given points lie apart") as told:
        whole = completed(dirty, network, codec, outliers="drop")
    dropped = int(str(told[0].message).split()[0])
    assert 2 <= dropped < 20
    assert not (whole.points[: 602 - dropped] == [9, 9, 9]).all(1).any()
    kept = {tuple(p) for p in whole.points[: 602 - dropped].tolist()}
    assert kept < {tuple(p) for p in wall.points.tolist()}
    assert (completed(dirty, network, codec).points[600] == [9, 9, 9]).all()
