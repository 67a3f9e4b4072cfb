"""The prompt encoder against independent figures and an independent implementation."""

import pytest
import torch

from multidiff import text
from multidiff.errors import InputError, ModelError


def sentence(prompts: list[str], length: int = 24) -> torch.Tensor:
    tokens, mask = text.load("minilm", length).encode(prompts)
    mean = tokens.sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)


def test_like_prompts_lie_nearer_than_unlike_ones() -> None:
    a, b, c = sentence(["a dog barking", "a hound woofs loudly", "heavy rain on a roof"])
    assert a @ b > 0.4 > a @ c + 0.1


def test_a_label_is_read_as_words() -> None:
    assert torch.equal(sentence(["dog_bark"]), sentence(["dog bark"]))


def test_states_match_an_independent_bert_layer_by_layer() -> None:
    """torch's own TransformerEncoder, given the same weights, in float64."""
    encoder = text.MiniLM(16)
    encoder.weights = {k: v.double() if v.is_floating_point() else v for k, v in encoder.weights.items()}
    w = encoder.weights
    layer = torch.nn.TransformerEncoderLayer(
        384, 12, 1536, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
    )
    reference = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()
    for i, block in enumerate(reference.layers):
        at = f"encoder.layer.{i}"
        for kind in ("weight", "bias"):
            qkv = torch.cat([w[f"{at}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")])
            getattr(block.self_attn, f"in_proj_{kind}").data = qkv
            getattr(block.self_attn.out_proj, kind).data = w[f"{at}.attention.output.dense.{kind}"]
            getattr(block.linear1, kind).data = w[f"{at}.intermediate.dense.{kind}"]
            getattr(block.linear2, kind).data = w[f"{at}.output.dense.{kind}"]
            getattr(block.norm1, kind).data = w[f"{at}.attention.output.LayerNorm.{kind}"]
            getattr(block.norm2, kind).data = w[f"{at}.output.LayerNorm.{kind}"]
    prompts = ["a man in leather armour walking left", "rain"]
    batch = encoder.tokenizer.encode_batch(prompts)
    ids = torch.tensor([b.ids for b in batch])
    mask = torch.tensor([b.attention_mask for b in batch], dtype=torch.bool)
    x = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][:16]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = torch.nn.functional.layer_norm(
        x, (384,), w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"], 1e-12
    )
    with torch.no_grad():
        expected = reference(x, src_key_padding_mask=~mask) * mask[..., None]
    states, found = encoder.encode(prompts)
    assert torch.equal(found, mask)
    torch.testing.assert_close(states, expected, atol=1e-9, rtol=0)


def test_a_prompt_does_not_change_with_its_neighbours() -> None:
    alone = text.load("minilm", 16).encode(["a bird"])[0]
    among = text.load("minilm", 16).encode(["a very long prompt about many different things", "a bird"])[0][1:]
    torch.testing.assert_close(alone, among, atol=1e-5, rtol=0)


def test_the_null_prompt_is_the_empty_string_with_two_tokens() -> None:
    states, mask = text.load("minilm", 8).encode([""])
    assert mask.sum() == 2
    assert states[0, 2:].abs().max() == 0


def test_a_model_without_captions_refuses_a_prompt() -> None:
    assert text.load("none", 8).encode([""])[0].shape == (1, 0, 0)
    with pytest.raises(InputError, match="takes no prompt"):
        text.load("none", 8).encode(["a dog"])


def test_a_missing_hub_encoder_says_what_to_install_or_that_it_cannot_be_loaded() -> None:
    with pytest.raises(ModelError, match="no-such/encoder"):
        text.load("no-such/encoder", 8)
