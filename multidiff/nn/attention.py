"""Attention and feed-forward blocks on token sequences (B, N, D)."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multidiff.nn.embedding import rotate


class Attention(nn.Module):
    """Multi-head attention of x (B, N, D) on itself, or on a context (B, L, C) when `context_dim` is given.

    Queries and keys are RMS-normalised per head (Dehghani et al. 2023, "Scaling Vision Transformers to 22B",
    section 2), which keeps training stable in bf16. `mask` (B, L) bool: True where a key may be looked at.
    `bias` broadcastable to (B, heads, N, L) is added to the logits (relative positions). `positions` (N,) of the
    tokens turn queries and keys in self-attention (rotary positions).
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, zero_output: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(context_dim or dim, 2 * dim, bias=False)
        self.query_norm = nn.RMSNorm(dim // heads)
        self.key_norm = nn.RMSNorm(dim // heads)
        self.output = nn.Linear(dim, dim)
        if zero_output:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        source = x if context is None else context
        q = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        k, v = rearrange(self.key_value(source), "b n (two h d) -> two b h n d", two=2, h=self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if positions is not None:
            q, k = rotate(q, positions), rotate(k, positions)
        if mask is not None:
            allowed = mask[:, None, None, :]
            bias = allowed if bias is None else bias.masked_fill(~allowed, float("-inf"))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.output(rearrange(out, "b h n d -> b n (h d)"))


class FeedForward(nn.Module):
    """Two linear layers with GELU, (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int, expansion: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition vector, with a gate for the branch it feeds.

    adaLN-zero (Peebles and Xie 2023, section 3.2): the gate starts at 0, so each block starts as the identity.
    """

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(condition_dim, 3 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, N, D), condition (B, C) -> the modulated x and the branch's gate (B, 1, D)."""
        scale, shift, gate = self.modulation(F.silu(condition))[:, None, :].chunk(3, dim=-1)
        return self.norm(x) * (1 + scale) + shift, gate
