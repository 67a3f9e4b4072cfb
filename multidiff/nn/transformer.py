"""The diffusion transformer over a sequence of tokens.

Each block is x <- x + gate * branch(modulated norm(x)) for three branches: self-attention with rotary positions,
cross-attention on a context (the prompt), feed-forward. Scale, shift and gate come from one condition vector that
carries the noise level: adaLN-zero (Peebles and Xie 2023, "Scalable Diffusion Models with Transformers",
section 3.2), so the network starts as the identity and ends in a zero-initialised projection.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multidiff.nn.attention import AdaptiveNorm, Attention, FeedForward


class TransformerBlock(nn.Module):
    """One block: (B, N, D), condition (B, E), context (B, L, C) -> (B, N, D)."""

    def __init__(self, dim: int, heads: int, condition_dim: int, context_dim: int, expansion: int = 4) -> None:
        super().__init__()
        self.attention_norm = AdaptiveNorm(dim, condition_dim)
        self.attention = Attention(dim, heads)
        self.context_norm = AdaptiveNorm(dim, condition_dim)
        self.context_attention = Attention(dim, heads, context_dim)
        self.feed_forward_norm = AdaptiveNorm(dim, condition_dim)
        self.feed_forward = FeedForward(dim, expansion)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        positions: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> Tensor:
        """Without a context the cross-attention is left out. `context_mask` (B, L): True where it may be seen."""
        h, gate = self.attention_norm(x, condition)
        x = x + gate * self.attention(h, positions=positions)
        if context is not None:
            h, gate = self.context_norm(x, condition)
            x = x + gate * self.context_attention(h, context, context_mask)
        h, gate = self.feed_forward_norm(x, condition)
        return x + gate * self.feed_forward(h)


class Transformer(nn.Module):
    """A stack of blocks between a linear embedding and a zero-initialised linear output.

    forward: x (B, N, in_dim), condition (B, condition_dim), context (B, L, context_dim) -> (B, N, out_dim).
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        dim: int,
        depth: int,
        heads: int,
        condition_dim: int,
        context_dim: int,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(in_dim, dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, condition_dim, context_dim, expansion) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = nn.Linear(condition_dim, 2 * dim)
        self.output = nn.Linear(dim, out_dim)
        for layer in (self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, condition: Tensor, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Tensor:
        return self.output(self.hidden(x, condition, context, context_mask))

    def hidden(
        self, x: Tensor, condition: Tensor, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Tensor:
        """What the output layer sees: (B, N, dim)."""
        positions = torch.arange(x.shape[1], device=x.device)
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, condition, positions, context, context_mask)
        scale, shift = self.modulation(F.silu(condition))[:, None, :].chunk(2, dim=-1)
        return self.norm(h) * (1 + scale) + shift
