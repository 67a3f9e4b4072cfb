"""The two-stream transformer: a map of sets whose cost is linear in their size."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from multidiff.nn.latent_transformer import LatentTransformer


@pytest.fixture
def transformer() -> LatentTransformer:
    torch.manual_seed(0)
    net = LatentTransformer(
        dim=16, latent_dim=32, latents=8, blocks=2, layers=1, heads=4, condition_dim=12, context_dim=20
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net.double()


def inputs(count: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = (batch, count, 16), (batch, 12), (batch, 5, 20)
    tokens, condition, context = (torch.randn(s, generator=generator, dtype=torch.float64) for s in sizes)
    return tokens, condition, context


def flops(net: nn.Module, count: int) -> int:
    net.requires_grad_(False)
    # The plain attention's products are ones that the counter knows.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(*inputs(count))
    return counter.get_total_flops()


def test_permuted_tokens_give_permuted_tokens(transformer: LatentTransformer) -> None:
    tokens, condition, context = inputs(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    permuted = transformer(tokens[:, order], condition, context)
    torch.testing.assert_close(permuted, transformer(tokens, condition, context)[:, order])


def test_cost_is_linear_in_the_number_of_tokens(transformer: LatentTransformer) -> None:
    one, two, three = (flops(transformer, n) for n in (100, 200, 300))
    assert three - two == two - one > 0


def test_no_intermediate_grows_faster_than_the_tokens(transformer: LatentTransformer) -> None:
    def largest(count: int) -> int:
        found = []
        hooks = [
            module.register_forward_hook(lambda _m, _i, out: found.append(out.numel() if torch.is_tensor(out) else 0))
            for module in transformer.modules()
        ]
        transformer(*inputs(count))
        for hook in hooks:
            hook.remove()
        return max(found)

    assert largest(2000) == 2 * largest(1000)


def test_tokens_hear_of_each_other_through_the_latents(transformer: LatentTransformer) -> None:
    tokens, condition, context = inputs(10)
    moved = tokens.clone()
    moved[:, 0, 0] += 1
    change = transformer(moved, condition, context) - transformer(tokens, condition, context)
    assert change[:, 1:].abs().amax(-1).min() > 1e-6


def test_masked_context_is_not_seen(transformer: LatentTransformer) -> None:
    tokens, condition, context = inputs(10)
    mask = torch.tensor([[True, True, False, False, False]]).expand(2, -1)
    other = torch.where(mask[..., None], context, context + 3)
    torch.testing.assert_close(
        transformer(tokens, condition, context, mask), transformer(tokens, condition, other, mask)
    )
    assert not torch.allclose(transformer(tokens, condition, context, mask), transformer(tokens, condition, context))


def test_items_of_a_batch_do_not_mix(transformer: LatentTransformer) -> None:
    tokens, condition, context = inputs(10)
    together = transformer(tokens, condition, context)
    alone = transformer(tokens[1:], condition[1:], context[1:])
    torch.testing.assert_close(together[1:], alone)


def test_a_new_one_is_the_identity() -> None:
    net = LatentTransformer(16, 32, 8, 2, 1, 4, 12, 20)
    tokens, condition, context = (v.float() for v in inputs(10))
    torch.testing.assert_close(net(tokens, condition, context), tokens)
