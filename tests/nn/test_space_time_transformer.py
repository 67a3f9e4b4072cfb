"""The transformer over space and time: relative in time, absolute in space, at first the identity."""

import pytest
import torch

from multidiff.nn.space_time_transformer import SpaceTimeTransformer, SpaceTimeTransformerBlock
from tests.nn.test_unet import prompt, randomised


def transformer(**changes: object) -> SpaceTimeTransformer:
    options = {"dim": 32, "depth": 2, "heads": 2, "patch": 2, "context_dim": 12, "expansion": 2}
    torch.manual_seed(0)
    made = randomised(SpaceTimeTransformer(4, 3, **{**options, **changes}))  # type: ignore[arg-type]
    assert isinstance(made, SpaceTimeTransformer)
    return made


def sharp_block() -> SpaceTimeTransformerBlock:
    """A block that attends to few tokens at a time, not to all alike."""
    block = randomised(SpaceTimeTransformerBlock(16, 2, 12, 2))
    assert isinstance(block, SpaceTimeTransformerBlock)
    for attention in (block.space, block.time, block.prompt):
        torch.nn.init.constant_(attention.query_norm.weight, 2.0)
        torch.nn.init.constant_(attention.key_norm.weight, 2.0)
    return block


def test_a_new_one_says_zero_and_its_blocks_are_the_identity() -> None:
    net = SpaceTimeTransformer(4, 3, dim=16, depth=1, heads=2, patch=2, context_dim=12)
    assert torch.equal(net(torch.randn(2, 4, 3, 4, 4), torch.zeros(2)), torch.zeros(2, 3, 3, 4, 4))
    h = torch.randn(6, 5, 16)
    assert torch.equal(net.blocks[0](h, torch.randn(6, 16), 3, **prompt(2)), h)


@pytest.mark.parametrize("shape", [(1, 4, 4), (5, 2, 6), (7, 8, 4)])
def test_any_length_and_size_will_do(shape: tuple[int, int, int]) -> None:
    net, x = transformer(), torch.randn(2, 4, *shape)
    assert net(x, torch.zeros(2), **prompt(2)).shape == (2, 3, *shape)
    assert net.features(x, torch.zeros(2), **prompt(2)).shape == (2, 32)


def test_only_distances_in_time_count() -> None:
    """The same three frames give the same wherever they stand in a clip of six, the others unseen."""
    block, frames = sharp_block(), torch.randn(4, 3, 16)

    def attended(at: int) -> torch.Tensor:
        x = torch.zeros(4, 6, 16)
        x[:, at : at + 3] = frames
        visible = torch.zeros(4, 6, dtype=torch.bool)
        visible[:, at : at + 3] = True
        return block.time(x, mask=visible, positions=torch.arange(6))[:, at : at + 3]

    torch.testing.assert_close(attended(3), attended(0), atol=1e-5, rtol=1e-4)
    backwards = block.time(frames.flip(1), positions=torch.arange(3)).flip(1)
    assert not torch.allclose(backwards, attended(0), atol=1e-2)


def test_within_a_block_places_of_a_frame_are_interchangeable_and_frames_are_not() -> None:
    block, x = sharp_block(), torch.randn(6, 5, 16)
    condition, order = torch.randn(6, 16), torch.randperm(5, generator=torch.Generator().manual_seed(1))
    out = block(x, condition, 3, **prompt(2))
    torch.testing.assert_close(block(x[:, order], condition, 3, **prompt(2)), out[:, order], atol=1e-4, rtol=1e-3)
    swapped = torch.tensor([0, 2, 1, 3, 4, 5])
    assert not torch.allclose(block(x[swapped], condition[swapped], 3, **prompt(2)), out[swapped], atol=1e-2)


def test_where_a_token_lies_in_its_frame_matters() -> None:
    net, x = transformer(), torch.randn(1, 4, 2, 8, 8)
    rolled = net(x.roll(2, dims=-1), torch.zeros(1))
    assert not torch.allclose(rolled, net(x, torch.zeros(1)).roll(2, dims=-1), atol=1e-2)


def test_a_sample_does_not_depend_on_its_batch_or_on_padding_tokens() -> None:
    net, x, log_snr = transformer(), torch.randn(2, 4, 3, 4, 4), torch.tensor([-1.0, 2.0])
    both, padded = net(x, log_snr, **prompt(2)), prompt(2)
    padded["tokens"] = torch.where(padded["tokens_mask"][..., None], padded["tokens"], 7.0)
    alone = net(x[:1], log_snr[:1], padded["tokens"][:1, :4], padded["tokens_mask"][:1, :4])
    torch.testing.assert_close(alone, both[:1], atol=1e-4, rtol=1e-3)


def test_all_that_it_is_told_matters_frame_by_frame() -> None:
    net, x = transformer(), torch.randn(1, 4, 3, 4, 4)
    plain = net(x, torch.zeros(1), **prompt(1))
    torch.testing.assert_close(net(x, torch.zeros(1, 3), **prompt(1)), plain, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(net(x, torch.tensor([[5.0, 0.0, 0.0]]), **prompt(1)), plain, atol=1e-2)
    assert not torch.allclose(net(x, torch.zeros(1)), plain, atol=1e-2)
    assert not torch.allclose(net(x, torch.zeros(1), **prompt(1), extra=torch.ones(1, 3, 32)), plain, atol=1e-2)


def test_checkpointing_changes_no_gradient_and_every_parameter_learns() -> None:
    plain, saving = transformer(), transformer(checkpointing=True)
    x, log_snr = torch.randn(2, 4, 3, 4, 4), torch.tensor([-1.0, 2.0])
    for net in (plain, saving):
        net(x, log_snr, **prompt(2)).square().mean().backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert a.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_a_learned_share_of_the_input_goes_straight_to_the_output() -> None:
    net = SpaceTimeTransformer(4, 3, dim=16, depth=1, heads=2, patch=2, context_dim=12)
    torch.nn.init.ones_(net.skip.bias)
    x = torch.randn(2, 4, 3, 4, 4)
    torch.testing.assert_close(net(x, torch.zeros(2)), x[:, :3])
