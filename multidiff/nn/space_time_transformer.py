"""The diffusion transformer over space and time: patches of frames as tokens.

Latte (Ma et al. 2024, 2401.03048, section 3.1, variant 3: in every block attention over space, then over time) with the
adaptive norms of DiT (Peebles and Xie 2023, section 3.2, adaLN-zero), whose condition is one vector for each frame, so
that each frame may have a noise level of its own. Where a token lies in its frame is added at the entry, as sines and
cosines of row and column; time enters through rotary positions alone, so that only distances between frames count and
clips may have any length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from multidiff.nn.attention import AdaptiveNorm, Attention, FeedForward
from multidiff.nn.embedding import FrameConditioned, sinusoidal
from multidiff.nn.residual import zeroed


class SpaceTimeTransformerBlock(nn.Module):
    """Attention over the tokens of a frame, over the frames of a place and on the prompt, then a feed-forward.

    x (B T, P, D), condition (B T, D) -> like x; starts as the identity.
    """

    def __init__(self, dim: int, heads: int, context_dim: int, expansion: int) -> None:
        super().__init__()
        self.space_norm, self.space = AdaptiveNorm(dim, dim), Attention(dim, heads)
        self.time_norm, self.time = AdaptiveNorm(dim, dim), Attention(dim, heads)
        self.prompt_norm, self.prompt = AdaptiveNorm(dim, dim), Attention(dim, heads, context_dim)
        self.mix_norm, self.mix = AdaptiveNorm(dim, dim), FeedForward(dim, expansion)

    def forward(
        self, x: Tensor, condition: Tensor, frames: int, tokens: Tensor | None, tokens_mask: Tensor | None
    ) -> Tensor:
        """tokens (B, L, context_dim) and tokens_mask (B, L) bool, or None where there is no prompt."""
        h, gate = self.space_norm(x, condition)
        x = x + gate * self.space(h)
        h, gate = self.time_norm(x, condition)
        h = rearrange(h, "(b t) p d -> (b p) t d", t=frames)
        h = self.time(h, positions=torch.arange(frames, device=x.device))
        x = x + gate * rearrange(h, "(b p) t d -> (b t) p d", p=x.shape[1])
        if tokens is not None:
            h, gate = self.prompt_norm(x, condition)
            h = self.prompt(rearrange(h, "(b t) p d -> b (t p) d", t=frames), tokens, tokens_mask)
            x = x + gate * rearrange(h, "b (t p) d -> (b t) p d", t=frames)
        h, gate = self.mix_norm(x, condition)
        return x + gate * self.mix(h)


class SpaceTimeTransformer(FrameConditioned):
    """x (B, C, T, H, W) to `outputs` channels of the same size, for any T, and H and W that are multiples of `patch`.

    Starts at 0.

    inputs: the first `outputs` of them are x itself, further ones are told (a mask).
    dim: of tokens and of the vector that carries the noise level; a multiple of 4 and of twice `heads`.
    patch: side, in positions of x, of what is one token.
    context_dim: width of prompt tokens.
    checkpointing: recompute activations in the backward pass, for less memory.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        dim: int,
        depth: int,
        heads: int,
        patch: int,
        context_dim: int,
        expansion: int = 4,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(dim, context_dim)
        self.patch, self.checkpointing = patch, checkpointing
        self.entry = nn.Conv2d(inputs, dim, patch, patch)
        self.blocks = nn.ModuleList(SpaceTimeTransformerBlock(dim, heads, context_dim, expansion) for _ in range(depth))
        self.exit_norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.modulation = zeroed(nn.Linear(dim, 2 * dim))
        self.exit = zeroed(nn.Linear(dim, outputs * patch**2))
        # As in the U-Net: a token has hardly more channels than its patch has values, so a share of the input, learned
        # for each noise level, goes straight to the output.
        self.skip = zeroed(nn.Linear(dim, min(inputs, outputs)))

    def forward(
        self,
        x: Tensor,
        log_snr: Tensor,
        tokens: Tensor | None = None,
        tokens_mask: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """log_snr (B,), or (B, T) for a noise level of each frame; tokens (B, L, context_dim) and tokens_mask
        (B, L) bool; `extra` (B, T, dim) is added to the embedding of the noise level."""
        hidden, condition = self._hidden(x, log_snr, tokens, tokens_mask, extra)
        made = rearrange(
            self.exit(hidden),
            "(b t) (h w) (c p q) -> b c t (h p) (w q)",
            **{"b": len(x), "h": x.shape[-2] // self.patch, "p": self.patch, "q": self.patch},
        )
        share = rearrange(self.skip(condition), "(b t) c -> b c t 1 1", b=len(x))
        straight = share * x[:, : self.skip.out_features]
        return made + F.pad(straight, (0, 0, 0, 0, 0, 0, 0, made.shape[1] - straight.shape[1]))

    def features(
        self,
        x: Tensor,
        log_snr: Tensor,
        tokens: Tensor | None = None,
        tokens_mask: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """(B, dim): the mean over space and time of what the output layer sees."""
        hidden, _ = self._hidden(x, log_snr, tokens, tokens_mask, extra)
        return rearrange(hidden, "(b t) p d -> b (t p) d", b=len(x)).mean(dim=1)

    def _hidden(
        self, x: Tensor, log_snr: Tensor, tokens: Tensor | None, tokens_mask: Tensor | None, extra: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(what the output layer sees (B T, P, dim), the activated vector of each frame (B T, dim))."""
        frames = x.shape[2]
        vector = self.embed(log_snr, frames, tokens, tokens_mask, extra)
        grid = self.entry(rearrange(x, "b c t h w -> (b t) c h w"))
        h = (grid + self._places(grid)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                h = checkpoint(block, h, vector, frames, tokens, tokens_mask, use_reentrant=False)
            else:
                h = block(h, vector, frames, tokens, tokens_mask)
        condition = F.silu(vector)
        scale, shift = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return self.exit_norm(h) * (1 + scale) + shift, condition

    def _places(self, grid: Tensor) -> Tensor:
        """(dim, H, W): sines and cosines of row and column."""
        rows, columns = (torch.arange(size, device=grid.device) for size in grid.shape[-2:])
        of_row = sinusoidal(rows, self.dim // 2).T[:, :, None].expand(-1, -1, len(columns))
        of_column = sinusoidal(columns, self.dim // 2).T[:, None].expand(-1, len(rows), -1)
        return torch.cat([of_row, of_column]).to(grid.dtype)
