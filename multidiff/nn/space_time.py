"""A transformer block over folded frames: space, time, prompt, feed-forward, each a residual branch.

x (B*T, C, H, W) in channels_last, where b t h w c is the order in memory: every token sequence below is made
from it without moving the channels. A picture (temporal=False) has no time branch.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from multidiff.nn.attention import Attention, FeedForward


class RelativeBias(nn.Module):
    """Learned bias for each head and each distance j - i between frames, (heads, T, T).

    Distances beyond `max_distance` share its bias (Shaw et al. 2018, section 3.2). Since only distances enter,
    attention with it commutes with shifts in time.
    """

    def __init__(self, heads: int, max_distance: int = 32) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.table = nn.Parameter(torch.zeros(heads, 2 * max_distance + 1))

    def forward(self, frames: int) -> Tensor:
        position = torch.arange(frames, device=self.table.device)
        distance = (position[None, :] - position[:, None]).clamp(-self.max_distance, self.max_distance)
        return self.table[:, distance + self.max_distance]


class SpaceTimeBlock(nn.Module):
    """Attention over the positions of a frame, over the frames of a position, and over the prompt's tokens.

    Every branch ends in zeros, so the block starts as the identity.
    """

    def __init__(self, dim: int, heads: int, context_dim: int, temporal: bool, expansion: int = 2) -> None:
        super().__init__()
        self.space_norm = nn.LayerNorm(dim)
        self.space = Attention(dim, heads, zero_output=True)
        if temporal:
            self.time_norm = nn.LayerNorm(dim)
            self.time = Attention(dim, heads, zero_output=True)
            self.time_bias = RelativeBias(heads)
        if context_dim:
            self.prompt_norm = nn.LayerNorm(dim)
            self.context_norm = nn.LayerNorm(context_dim)
            self.prompt = Attention(dim, heads, context_dim=context_dim, zero_output=True)
        self.mix_norm = nn.LayerNorm(dim)
        self.mix = FeedForward(dim, expansion)
        for parameter in self.mix.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.temporal = temporal
        self.reads_prompt = context_dim > 0

    def forward(self, x: Tensor, frames: int, tokens: Tensor | None, tokens_mask: Tensor | None) -> Tensor:
        """tokens (B, L, context_dim) and tokens_mask (B, L) bool, or None where there is no prompt."""
        height = x.shape[-2]
        s = rearrange(x, "n c h w -> n (h w) c")
        s = s + self.space(self.space_norm(s))
        if self.temporal:
            s = rearrange(s, "(b t) p c -> (b p) t c", t=frames)
            s = s + self.time(self.time_norm(s), bias=self.time_bias(frames).to(s.dtype))
            s = rearrange(s, "(b p) t c -> b (t p) c", p=x[0, 0].numel())
        else:
            s = rearrange(s, "(b t) p c -> b (t p) c", t=frames)
        if self.reads_prompt and tokens is not None:
            s = s + self.prompt(self.prompt_norm(s), self.context_norm(tokens), mask=tokens_mask)
        s = s + self.mix(self.mix_norm(s))
        return rearrange(s, "b (t h w) c -> (b t) c h w", t=frames, h=height)
