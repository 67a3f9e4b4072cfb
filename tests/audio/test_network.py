"""Both denoisers of audio latents: what they are told matters, any length will do, and a recipe chooses one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from multidiff import recipe
from multidiff.audio.beat import PHASES
from multidiff.audio.network import LatentTransformer, LatentUNet, TransformerSpec, UNetSpec, network
from multidiff.errors import RecipeError

BANDS, CHANNELS = 4, 8
SPECS = {
    "transformer": TransformerSpec(dim=32, depth=1, heads=2, condition_dim=16),
    "unet": UNetSpec(widths=(16, 16, 32), attention=(2,), head_dim=16),
}


def told(frames: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "tokens": torch.randn(2, 5, 384, generator=generator),
        "tokens_mask": torch.tensor([[True] * 3 + [False] * 2, [True] * 5]),
        "mask": torch.zeros(2, 1, frames),
        "degraded": torch.zeros(2, CHANNELS, frames),
        "beat": torch.zeros(2, PHASES, frames),
        "seconds": torch.tensor([[0.0, 4.0]]).expand(2, 2),
    }


@pytest.fixture(params=SPECS)
def net(request: pytest.FixtureRequest) -> LatentTransformer | LatentUNet:
    """As after some training: no layer is zero."""
    made = network(SPECS[request.param], CHANNELS, BANDS)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return made.eval()


@pytest.mark.parametrize("frames", [1, 7, 20])
def test_any_length_will_do_and_nothing_need_be_told(net: LatentTransformer | LatentUNet, frames: int) -> None:
    x = torch.randn(2, CHANNELS, frames)
    assert net(x, torch.zeros(2), {}).shape == x.shape
    assert net(x, torch.zeros(2), told(frames)).shape == x.shape
    assert net.features(x, torch.zeros(2), told(frames)).shape == (2, net.width)


def test_all_that_the_network_is_told_changes_what_it_says(net: LatentTransformer | LatentUNet) -> None:
    x, log_snr, condition = torch.randn(2, CHANNELS, 20), torch.zeros(2), told(20)
    out = net(x, log_snr, condition)
    changes = {
        "tokens": torch.randn(2, 5, 384),
        "tokens_mask": torch.ones(2, 5, dtype=torch.bool),
        "mask": torch.ones(2, 1, 20),
        "degraded": torch.randn(2, CHANNELS, 20),
        "beat": torch.randn(2, PHASES, 20),
        "seconds": torch.tensor([[1.0, 2.0]]).expand(2, 2),
    }
    for key, value in changes.items():
        assert (out - net(x, log_snr, {**condition, key: value})).abs().amax(dim=(1, 2))[0] > 1e-3, key
    assert not torch.allclose(out, net(x, log_snr + 1, condition), atol=1e-3)
    assert not torch.allclose(net.features(x, log_snr, condition), net.features(x, log_snr + 1, condition), atol=1e-3)


def test_nothing_known_degraded_or_beating_is_the_same_as_not_telling(net: LatentTransformer | LatentUNet) -> None:
    x, condition = torch.randn(2, CHANNELS, 20), told(20)
    less = {key: value for key, value in condition.items() if key not in ("mask", "degraded", "beat")}
    torch.testing.assert_close(net(x, torch.zeros(2), condition), net(x, torch.zeros(2), less))


def test_a_sound_does_not_depend_on_its_batch(net: LatentTransformer | LatentUNet) -> None:
    x, log_snr, condition = torch.randn(2, CHANNELS, 20), torch.tensor([-1.0, 2.0]), told(20)
    alone = net(x[:1], log_snr[:1], {key: value[:1] for key, value in condition.items()})
    torch.testing.assert_close(alone, net(x, log_snr, condition)[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", SPECS)
def test_a_new_network_says_zero_and_learns_a_variance_where_asked(kind: str) -> None:
    spec = SPECS[kind].model_copy(update={"learned_variance": True})
    x = torch.randn(2, CHANNELS, 10)
    prediction, v = network(spec, CHANNELS, BANDS)(x, torch.zeros(2), told(10))
    assert torch.equal(prediction, torch.zeros_like(x))
    assert torch.equal(v, torch.zeros_like(x))


@pytest.mark.parametrize(("channels", "bands"), [(8, 4), (16, 4), (6, 1)], ids=["mono", "stereo", "one band"])
def test_what_leaves_the_unet_lies_where_it_entered(channels: int, bands: int) -> None:
    """With the straight path at 1 and the rest at its start, the network hands x on."""
    made = LatentUNet(UNetSpec(widths=(8,), attention=()), channels, bands)
    torch.nn.init.ones_(made.unet.skip.bias)
    x = torch.randn(2, channels, 9)
    torch.testing.assert_close(made(x, torch.zeros(2), {}), x)


def test_the_unet_tells_its_bands_apart() -> None:
    """A constant plane, away from its edges, leaves the first layer otherwise in each band."""
    made = LatentUNet(UNetSpec(widths=(8,), attention=()), 6, 6)
    planes, *_ = made._inputs(torch.ones(1, 6, 9), torch.zeros(1), {})
    rows = made.unet.entry(planes)[0, :, 1:-1, 4]
    assert all(not torch.allclose(rows[:, i], rows[:, j], atol=1e-3) for i in range(4) for j in range(i))


def test_a_recipe_chooses_the_network_and_reads_back_equal(tmp_path: Path) -> None:
    assert isinstance(recipe.load("sfx").network, TransformerSpec)
    loaded = recipe.load("sfx-unet")
    assert isinstance(loaded.network, UNetSpec)
    (tmp_path / "recipe.yaml").write_text(loaded.as_yaml())
    assert recipe.load(tmp_path / "recipe.yaml") == loaded


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("sfx-unet", "network.kind=unett", "network.kind: Input should be 'transformer' or 'unet' (got 'unett')"),
        ("sfx", "network.kind=unet", "network.dim: unknown key"),
        ("sfx-unet", "network.width=[8]", "network.width: unknown key, did you mean 'widths'?"),
        ("sfx-unet", "network.attention=[3]", "network: attention level 3 is none of the 3 levels of widths"),
        ("sfx-unet", "network.widths=[]", "network.widths: "),
        ("sfx", "network.heads=3", "network: dim 128 must be a multiple of twice heads, 6"),
        ("sfx", "network=5", "network: "),
    ],
)
def test_a_wrong_network_is_one_clear_error(name: str, override: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(name, [override])
    assert said in str(caught.value)
