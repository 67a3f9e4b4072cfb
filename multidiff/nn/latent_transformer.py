"""A two-stream transformer on sets: many tokens, few latents, cost linear in the number of tokens.

A stream of N tokens is only ever compared with a fixed set of M latents, never with itself:

    read    z <- z + CrossAttention(z, h)       latents collect from the tokens      O(N M)
    think   z <- z + SelfAttention(z) ...       all of the depth lies here           O(M^2)
    write   h <- h + CrossAttention(h, z)       tokens fetch what they need          O(N M)

The block is repeated (RIN: Jabri et al. 2023, "Scalable Adaptive Computation for Iterative Generation", section 3;
PointInfinity: Huang et al. 2024, section 3.2; Perceiver: Jaegle et al. 2021). Nothing depends on the tokens'
order or number, so the map is permutation-equivariant and may be used at another N than it was trained at.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multidiff.nn.attention import AdaptiveNorm, Attention, FeedForward


class LatentLayer(nn.Module):
    """Self-attention and feed-forward on latents z (B, M, D), both gated by the condition vector."""

    def __init__(self, dim: int, heads: int, condition_dim: int) -> None:
        super().__init__()
        self.attention_norm = AdaptiveNorm(dim, condition_dim)
        self.attention = Attention(dim, heads)
        self.forward_norm = AdaptiveNorm(dim, condition_dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        normed, gate = self.attention_norm(z, condition)
        z = z + gate * self.attention(normed)
        normed, gate = self.forward_norm(z, condition)
        return z + gate * self.feed_forward(normed)


class ReadThinkWrite(nn.Module):
    """One block: read tokens into latents, look at the context, think, write back to the tokens."""

    def __init__(
        self, dim: int, latent_dim: int, heads: int, layers: int, condition_dim: int, context_dim: int
    ) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(dim)
        self.read_norm = AdaptiveNorm(latent_dim, condition_dim)
        self.read = Attention(latent_dim, heads, context_dim=dim)
        self.context_norm = AdaptiveNorm(latent_dim, condition_dim)
        self.context = Attention(latent_dim, heads, context_dim=context_dim)
        self.layers = nn.ModuleList(LatentLayer(latent_dim, heads, condition_dim) for _ in range(layers))
        self.latent_norm = nn.LayerNorm(latent_dim)
        self.write_norm = AdaptiveNorm(dim, condition_dim)
        self.write = Attention(dim, heads, context_dim=latent_dim)
        self.forward_norm = AdaptiveNorm(dim, condition_dim)
        self.feed_forward = FeedForward(dim, expansion=2)

    def forward(
        self, h: Tensor, z: Tensor, condition: Tensor, context: Tensor | None, context_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens h (B, N, dim) and latents z (B, M, latent_dim) -> the same, updated."""
        normed, gate = self.read_norm(z, condition)
        z = z + gate * self.read(normed, self.token_norm(h))
        if context is not None:
            normed, gate = self.context_norm(z, condition)
            z = z + gate * self.context(normed, context, context_mask)
        for layer in self.layers:
            z = layer(z, condition)
        normed, gate = self.write_norm(h, condition)
        h = h + gate * self.write(normed, self.latent_norm(z))
        normed, gate = self.forward_norm(h, condition)
        return h + gate * self.feed_forward(normed), z


class LatentTransformer(nn.Module):
    """`blocks` times read, think, write: tokens (B, N, dim) -> tokens (B, N, dim).

    latents, latent_dim: the fixed set M and its width; layers: self-attention layers on them in each block;
    context_dim: width of an optional sequence (a prompt) that the latents look at once per block.
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int,
        latents: int,
        blocks: int,
        layers: int,
        heads: int,
        condition_dim: int,
        context_dim: int,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, latent_dim))
        self.context_norm = nn.LayerNorm(context_dim)
        self.blocks = nn.ModuleList(
            ReadThinkWrite(dim, latent_dim, heads, layers, condition_dim, context_dim) for _ in range(blocks)
        )

    def forward(
        self, h: Tensor, condition: Tensor, context: Tensor | None = None, context_mask: Tensor | None = None
    ) -> Tensor:
        """h (B, N, dim), condition (B, condition_dim), context (B, L, context_dim), context_mask (B, L) bool."""
        z = self.latents.expand(len(h), -1, -1).to(h.dtype)
        context = None if context is None else self.context_norm(context)
        for block in self.blocks:
            h, z = block(h, z, condition, context, context_mask)
        return h
