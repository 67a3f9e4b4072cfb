import pytest
import torch

from multidiff.nn.attention import Attention
from multidiff.nn.embedding import rotate
from multidiff.nn.transformer import Transformer


def transformer() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(in_dim=3, out_dim=2, dim=16, depth=2, heads=2, condition_dim=8, context_dim=5)
    for parameter in model.parameters():  # away from the zero initialisation
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_a_new_transformer_returns_zeros_and_its_blocks_are_the_identity():
    model = Transformer(in_dim=3, out_dim=2, dim=16, depth=2, heads=2, condition_dim=8, context_dim=5)
    x, condition = torch.randn(2, 7, 3), torch.randn(2, 8)
    assert torch.equal(model(x, condition), torch.zeros(2, 7, 2))
    h = torch.randn(2, 7, 16)
    assert torch.equal(model.blocks[0](h, condition, torch.arange(7), torch.randn(2, 4, 5)), h)


def test_rotary_products_depend_on_distance_only():
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    for distance in (0, 3, 11):
        near = rotate(q[None], torch.tensor([2])) @ rotate(k[None], torch.tensor([2 + distance])).T
        far = rotate(q[None], torch.tensor([40])) @ rotate(k[None], torch.tensor([40 + distance])).T
        assert near.item() == pytest.approx(far.item(), abs=1e-4)
    assert torch.allclose(rotate(q[None], torch.tensor([5])).norm(), q.norm(), atol=1e-5)


def test_self_attention_without_positions_is_blind_to_order_and_with_them_is_not():
    torch.manual_seed(0)
    attention, x = Attention(16, 2), torch.randn(1, 6, 16)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert torch.allclose(attention(x[:, order]), attention(x)[:, order], atol=1e-6)
    positions = torch.arange(6)
    assert not torch.allclose(
        attention(x[:, order], positions=positions), attention(x, positions=positions)[:, order], atol=1e-3
    )


def test_masked_context_tokens_change_nothing():
    model = transformer()
    x, condition, context = torch.randn(2, 7, 3), torch.randn(2, 8), torch.randn(2, 4, 5)
    mask = torch.tensor([[True, True, False, False], [True, True, True, False]])
    changed = torch.where(mask[..., None], context, torch.randn(2, 4, 5))
    assert torch.allclose(model(x, condition, context, mask), model(x, condition, changed, mask), atol=1e-6)
    assert not torch.allclose(model(x, condition, context), model(x, condition, changed), atol=1e-3)


def test_a_sample_does_not_depend_on_its_batch_and_any_length_will_do():
    model = transformer()
    x, condition, context = torch.randn(3, 9, 3), torch.randn(3, 8), torch.randn(3, 4, 5)
    order = torch.tensor([2, 0, 1])
    whole = model(x, condition, context)
    assert torch.allclose(model(x[order], condition[order], context[order]), whole[order], atol=1e-5)
    assert model(torch.randn(3, 50, 3), condition, context).shape == (3, 50, 2)
