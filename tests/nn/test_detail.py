"""The branch at full resolution: where it looks, how loud it is, and that it tells grain from drawing."""

import math
from typing import Any

import pytest
import torch

from multidiff.errors import RecipeError
from multidiff.nn.detail import Detail
from multidiff.nn.unet import UNet
from multidiff.video.network import VideoNetwork, VideoNetworkSpec
from tests.nn.test_unet import randomised

FRAMES, PATCH = 5, 2


def branch(temporal: bool = True) -> Detail:
    """One colour, patches of 2 x 2."""
    return randomised(Detail(4, 1, PATCH, hidden=6, condition_dim=3, temporal=temporal))  # type: ignore[return-value]


def told(log_snr: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(FRAMES, *shape, generator=generator)

    return draw(PATCH**2, 8, 8), draw(6, 8, 8), draw(3), torch.full((FRAMES,), log_snr), FRAMES


@pytest.mark.parametrize("temporal", [True, False])
def test_a_pixel_is_seen_three_pixels_around_and_one_frame_away(temporal: bool) -> None:
    layer, (x, *rest) = branch(temporal), told()
    pixels = torch.nn.functional.pixel_shuffle(x, PATCH)
    pixels[2, 0, 7, 8] += 1
    changed = layer(torch.nn.functional.pixel_unshuffle(pixels, PATCH), *rest) - layer(x, *rest)
    frames, _, rows, columns = torch.nn.functional.pixel_shuffle(changed, PATCH).abs().gt(1e-6).nonzero(as_tuple=True)
    assert sorted(set(frames.tolist())) == ([1, 2, 3] if temporal else [2])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 10, 5, 11)


@pytest.mark.parametrize("log_snr", [-math.inf, -1.0, 0.0, 2.0])
def test_it_is_as_loud_as_one_over_sigma(log_snr: float) -> None:
    layer, level = branch(), torch.tensor(log_snr)
    sigma = torch.sigmoid(-2 * level).sqrt()
    torch.testing.assert_close(sigma * layer(*told(log_snr)), layer(*told(-math.inf)), atol=1e-5, rtol=1e-4)


def test_it_is_no_louder_beyond_its_bound() -> None:
    torch.testing.assert_close(branch()(*told(4.0)), branch()(*told(math.inf)))


@pytest.mark.parametrize("temporal", [True, False])
def test_a_network_without_it_in_its_weights_starts_as_the_same(temporal: bool) -> None:
    """The branch ends in zeros, so that a trained network can be given one."""
    options: dict[str, Any] = {"widths": (16, 32), "attention": (1,), "head_dim": 16, "temporal": temporal}
    plain = randomised(UNet(13, 12, **options))
    grown = UNet(13, 12, detail=4, patch=2, **options)
    grown.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 13, 3, 8, 8) if temporal else torch.randn(2, 13, 8, 8)
    levels = torch.tensor([[0.5, 2.0, 9.0], [1.0, 1.0, 1.0]]) if temporal else torch.tensor([0.5, 2.0])
    torch.testing.assert_close(grown.eval()(x, levels), plain(x, levels))


def test_each_frame_is_amplified_by_its_own_level() -> None:
    net = UNet(4, 4, widths=(8,), temporal=True, detail=4, patch=2)
    torch.nn.init.ones_(net.detail.exit.bias)  # type: ignore[union-attr]
    torch.nn.init.zeros_(net.detail.middle.weight)  # type: ignore[union-attr]
    with torch.no_grad():
        quiet, loud = net(torch.zeros(1, 4, 2, 4, 4), torch.tensor([[-9.0, 3.0]])).mean(dim=(0, 1, 3, 4))
    assert loud / quiet == pytest.approx(math.sqrt(1 + math.exp(6)), rel=1e-3)


def test_with_it_a_network_learns_to_take_faint_grain_from_flat_pictures() -> None:
    def left(detail: int) -> float:
        """The share of the grain's variance that is left after a hundred steps of learning to predict it."""
        torch.manual_seed(0)
        net = UNet(48, 48, widths=(32,), temporal=False, detail=detail, patch=4)
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        generator = torch.Generator().manual_seed(2)
        losses = []
        for _ in range(100):
            colour = torch.randn(8, 3, 1, 1, generator=generator).repeat_interleave(16, dim=1)
            grain = torch.randn(8, 48, 4, 4, generator=generator)
            level = torch.full((8,), 2.5)
            loss = (net(colour + math.exp(-2.5) * grain, level) - grain).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return sum(losses[-20:]) / 20

    assert left(detail=8) < 0.7 * left(detail=0)


def test_it_leaves_the_variance_alone_that_a_network_learns_beside_the_prediction() -> None:
    torch.manual_seed(0)
    network = VideoNetwork(VideoNetworkSpec(widths=(16,), attention=(), learned_variance=True, detail=4), 12, patch=2)
    randomised(network)
    x, level = torch.randn(1, 12, 2, 4, 4), torch.tensor([2.0])
    prediction, v = network(x, level, {})
    torch.nn.init.zeros_(network.unet.detail.exit.weight)  # type: ignore[union-attr, arg-type]
    silenced, same = network(x, level, {})
    assert not torch.allclose(prediction, silenced)
    torch.testing.assert_close(v, same)


def test_nothing_is_finer_than_a_pixel() -> None:
    with pytest.raises(RecipeError, match=r"network\.detail .* codec\.unshuffle"):
        VideoNetwork(VideoNetworkSpec(detail=4), 3)
