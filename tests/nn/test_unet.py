"""The U-Net is what its docstring says: factorised, shift-equivariant in time, the same in 2-D."""

import pytest
import torch
import torch.nn.functional as F

from multidiff.nn.residual import ResidualBlock, TemporalConvolution
from multidiff.nn.space_time import RelativeBias, SpaceTimeBlock
from multidiff.nn.unet import UNet


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter drawn anew, because zero-initialised branches would make tests pass by saying nothing."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def unet(**changes: object) -> UNet:
    options = {"widths": (16, 32), "attention": (1,), "head_dim": 16, "context_dim": 12, "temporal": True}
    return randomised(UNet(3, 3, **{**options, **changes}))


def prompt(count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(5) < torch.tensor([[3], [5]])[:count]
    return {"tokens": torch.randn(count, 5, 12, generator=generator), "tokens_mask": mask}


def folded(x: torch.Tensor) -> torch.Tensor:
    """(B, C, T, H, W) -> (B*T, C, H, W) in channels_last, as inside the network."""
    return x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def test_the_temporal_convolution_equals_a_conv3d() -> None:
    layer = randomised(TemporalConvolution(8))
    x = torch.randn(2, 8, 5, 4, 6)
    h = F.silu(layer.norm(folded(x))).unflatten(0, (2, 5)).transpose(1, 2)
    reference = x + F.conv3d(h, layer.conv.weight[..., None], layer.conv.bias, padding=(1, 0, 0))
    torch.testing.assert_close(layer(folded(x), 5), folded(reference), atol=1e-5, rtol=1e-5)


def test_the_spatial_convolution_of_folded_frames_equals_a_conv3d() -> None:
    block = randomised(ResidualBlock(8, 8, 4))
    x = torch.randn(2, 8, 5, 4, 6)
    reference = F.conv3d(x, block.conv_in.weight[:, :, None], block.conv_in.bias, padding=(0, 1, 1))
    torch.testing.assert_close(block.conv_in(folded(x)), folded(reference), atol=1e-5, rtol=1e-5)


def test_folding_time_out_of_channels_last_copies_nothing() -> None:
    x = folded(torch.randn(2, 8, 5, 4, 6))
    seen = []
    layer = TemporalConvolution(8)
    layer.norm = torch.nn.Identity()
    layer.conv.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    layer(x, 5)
    assert seen[0].shape == (2, 8, 5, 24)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_the_bias_of_time_depends_on_distance_alone() -> None:
    bias = randomised(RelativeBias(2, max_distance=4))(7)
    assert torch.equal(bias[:, 1:, 1:], bias[:, :-1, :-1])
    assert torch.equal(bias[:, 0, 4], bias[:, 0, 6])
    assert not torch.equal(bias[:, 0, 1], bias[:, 1, 0])


def test_attention_over_frames_commutes_with_a_shift_in_time() -> None:
    """Frames outside are masked out, so the same three frames give the same result wherever they stand."""
    block = randomised(SpaceTimeBlock(16, 2, context_dim=0, temporal=True))
    frames, place = torch.randn(1, 3, 16), block.time_bias(6)

    def attended(at: int) -> torch.Tensor:
        x = torch.zeros(1, 6, 16)
        x[:, at : at + 3] = frames
        visible = torch.zeros(1, 6, dtype=torch.bool)
        visible[:, at : at + 3] = True
        return block.time(x, mask=visible, bias=place[None])[:, at : at + 3]

    torch.testing.assert_close(attended(0), attended(3))


def test_attention_over_space_commutes_with_a_permutation_of_positions() -> None:
    block = randomised(SpaceTimeBlock(16, 2, context_dim=12, temporal=True))
    x, order = torch.randn(6, 16, 3, 4), torch.randperm(12)
    tokens = prompt(2)

    def shuffled(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)[..., order].unflatten(2, (3, 4))

    torch.testing.assert_close(block(shuffled(x), 3, **tokens), shuffled(block(x, 3, **tokens)), atol=1e-5, rtol=1e-4)


def test_a_sample_does_not_depend_on_its_batch_or_on_padding_tokens() -> None:
    net, x, log_snr = unet(), torch.randn(2, 3, 4, 8, 8), torch.tensor([-1.0, 2.0])
    both = net(x, log_snr, **prompt(2))
    padded = prompt(2)
    padded["tokens"] = torch.where(padded["tokens_mask"][..., None], padded["tokens"], 7.0)
    alone = net(x[:1], log_snr[:1], padded["tokens"][:1, :4], padded["tokens_mask"][:1, :4])
    torch.testing.assert_close(alone, both[:1], atol=1e-4, rtol=1e-4)


def test_frames_may_have_noise_levels_of_their_own() -> None:
    net, x = unet(), torch.randn(1, 3, 4, 8, 8)
    same = net(x, torch.full((1, 4), 0.5))
    torch.testing.assert_close(same, net(x, torch.tensor([0.5])), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(same, net(x, torch.tensor([[9.0, 0.5, 0.5, 0.5]])), atol=1e-2)


def test_a_new_network_predicts_zero() -> None:
    net = UNet(3, 5, widths=(16, 32), attention=(1,), temporal=True)
    assert torch.equal(net(torch.randn(1, 3, 2, 8, 8), torch.zeros(1)), torch.zeros(1, 5, 2, 8, 8))


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 20)])
def test_the_same_network_takes_pictures_of_any_size(size: tuple[int, int]) -> None:
    net = unet(temporal=False)
    assert net(torch.randn(2, 3, *size), torch.zeros(2), **prompt(2)).shape == (2, 3, *size)


def test_a_network_with_neutral_time_layers_treats_each_frame_as_a_picture() -> None:
    pictures = unet(temporal=False)
    clips = UNet(3, 3, widths=(16, 32), attention=(1,), head_dim=16, context_dim=12, temporal=True)
    missing = clips.load_state_dict(pictures.state_dict(), strict=False).missing_keys
    assert missing
    assert all(".time" in key for key in missing)
    x, log_snr = torch.randn(2, 3, 4, 8, 8), torch.tensor([-1.0, 2.0])
    frames = [pictures(x[:, :, t], log_snr, **prompt(2)) for t in range(4)]
    torch.testing.assert_close(clips(x, log_snr, **prompt(2)), torch.stack(frames, dim=2), atol=1e-4, rtol=1e-4)


def test_checkpointing_changes_no_gradient() -> None:
    plain, saving = unet(), unet(checkpointing=True)
    x, log_snr = torch.randn(2, 3, 4, 8, 8), torch.tensor([-1.0, 2.0])
    for net in (plain, saving):
        net(x, log_snr, **prompt(2)).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-5, msg=name)


def test_every_parameter_learns() -> None:
    net = unet()
    net(torch.randn(2, 3, 4, 8, 8), torch.zeros(2), **prompt(2)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_a_learned_share_of_the_input_goes_straight_to_the_output() -> None:
    """With the straight path at 1 and the rest at its start, the network hands x on, whatever its width."""
    network = UNet(4, 3, widths=(8,), attention=())
    torch.nn.init.ones_(network.skip.bias)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(network(x, torch.zeros(2)), x[:, :3])
