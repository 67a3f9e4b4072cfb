"""The n-dimensional U-Net: 2-D for pictures and spectrogram latents, 2-D plus time for video.

Ho et al. 2020 (appendix B) with Dhariwal and Nichol 2021 (adaptive group norm) and Ho et al. 2022, "Video
Diffusion Models", section 3 (each spatial layer followed by one over time). With temporal=False it is the
ordinary 2-D network; on T = 1 a temporal one sees a still picture, so both can be trained on pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from multidiff.nn.detail import Detail
from multidiff.nn.embedding import FrameConditioned
from multidiff.nn.residual import Downsample, ResidualBlock, TemporalConvolution, Upsample, group_norm, zeroed
from multidiff.nn.space_time import SpaceTimeBlock


class Stage(nn.Module):
    """A residual block, its temporal convolution and, at coarse levels, attention."""

    def __init__(
        self, inputs: int, outputs: int, condition_dim: int, heads: int, context_dim: int, temporal: bool
    ) -> None:
        """heads: 0 for no attention."""
        super().__init__()
        self.space = ResidualBlock(inputs, outputs, condition_dim)
        self.time = TemporalConvolution(outputs) if temporal else None
        self.attention = SpaceTimeBlock(outputs, heads, context_dim, temporal) if heads else None

    def forward(
        self, x: Tensor, condition: Tensor, frames: int, tokens: Tensor | None, tokens_mask: Tensor | None
    ) -> Tensor:
        x = self.space(x, condition)
        if self.time is not None:
            x = self.time(x, frames)
        if self.attention is not None:
            x = self.attention(x, frames, tokens, tokens_mask)
        return x


class UNet(FrameConditioned):
    """x (B, C, H, W), or (B, C, T, H, W) when temporal, to `outputs` channels of the same size; starts at 0.

    inputs: the first `outputs` of them are x itself, further ones are told (a mask).
    widths: channels of each level, finest first; each level halves height and width.
    blocks: stages of a level on the way down (one more on the way up).
    attention: levels (0 = finest) with attention over space, time and prompt.
    head_dim: channels per attention head; context_dim: width of prompt tokens, 0 for none.
    detail: channels of a branch at the resolution of single pixels, 0 for none; patch: the side, in pixels, of the
        patch that a position of x is (pixel-unshuffle).
    checkpointing: recompute activations in the backward pass, for less memory.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        widths: Sequence[int],
        blocks: int = 1,
        attention: Sequence[int] = (),
        head_dim: int = 32,
        context_dim: int = 0,
        temporal: bool = False,
        detail: int = 0,
        patch: int = 1,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(dim := 4 * widths[0], context_dim)
        self.temporal, self.checkpointing = temporal, checkpointing

        def stage(level: int, extra: int = 0) -> Stage:
            width = widths[level]
            heads = max(1, width // head_dim) if level in attention else 0
            return Stage(width + extra, width, dim, heads, context_dim, temporal)

        self.entry = nn.Conv2d(inputs, widths[0], 3, padding=1)
        skips = [widths[0]]
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            if level:
                self.down.append(Downsample(widths[level - 1], width))
                skips.append(width)
            self.down.extend(stage(level) for _ in range(blocks))
            skips += [width] * blocks
        self.middle = stage(len(widths) - 1)
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths))):
            self.up.extend(stage(level, extra=skips.pop()) for _ in range(blocks + 1))
            if level:
                self.up.append(Upsample(widths[level], widths[level - 1]))
        self.exit_norm = group_norm(widths[0])
        self.exit = zeroed(nn.Conv2d(widths[0], outputs, 3, padding=1))
        # A patch of pixels has nearly as many values as the finest level has channels: what is clean already must
        # not have to squeeze through. A share of the input, learned for each noise level, goes straight to the output.
        self.skip = zeroed(nn.Linear(dim, direct := min(inputs, outputs)))
        self.detail = Detail(detail, direct // patch**2, patch, widths[0], dim, temporal) if detail else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

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
        frames = x.shape[2] if self.temporal else 1
        pictures = rearrange(x, "b c t h w -> (b t) c h w") if self.temporal else x
        hidden, condition = self._hidden(pictures, frames, log_snr, tokens, tokens_mask, extra)
        h = self.exit(hidden)
        straight = self.skip(condition)[:, :, None, None] * pictures[:, : self.skip.out_features]
        h = _added(h, straight)
        if self.detail is not None:
            x, levels = pictures[:, : self.detail.channels], log_snr.reshape(len(log_snr), -1).expand(-1, frames)
            h = _added(h, self.detail(x, hidden, condition, levels.flatten(), frames))
        return rearrange(h, "(b t) c h w -> b c t h w", t=frames) if self.temporal else h

    def features(
        self,
        x: Tensor,
        log_snr: Tensor,
        tokens: Tensor | None = None,
        tokens_mask: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """(B, widths[0]): the mean over space and time of what the last convolution sees."""
        frames = x.shape[2] if self.temporal else 1
        pictures = rearrange(x, "b c t h w -> (b t) c h w") if self.temporal else x
        hidden, _ = self._hidden(pictures, frames, log_snr, tokens, tokens_mask, extra)
        return hidden.mean(dim=(2, 3)).unflatten(0, (-1, frames)).mean(dim=1)

    def _hidden(
        self,
        h: Tensor,
        frames: int,
        log_snr: Tensor,
        tokens: Tensor | None,
        tokens_mask: Tensor | None,
        extra: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """(what the last convolution sees (B T, C, H, W), the vector of each frame (B T, dim))."""
        h = self.entry(h.contiguous(memory_format=torch.channels_last))
        condition = F.silu(self.embed(log_snr, frames, tokens, tokens_mask, extra))

        def run(stage: Callable[..., Tensor], h: Tensor) -> Tensor:
            if self.checkpointing and torch.is_grad_enabled():
                return checkpoint(stage, h, condition, frames, tokens, tokens_mask, use_reentrant=False)
            return stage(h, condition, frames, tokens, tokens_mask)

        skips = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, Downsample) else run(layer, h)
            skips.append(h)
        h = run(self.middle, h)
        for layer in self.up:
            if isinstance(layer, Upsample):
                h = layer(h, (skips[-1].shape[-2], skips[-1].shape[-1]))
            else:
                h = run(layer, torch.cat([h, skips.pop()], dim=1))
        return F.silu(self.exit_norm(h)), condition


def check_levels(widths: Sequence[int], attention: Sequence[int], head_dim: int) -> None:
    """Raises ValueError where `attention` names no level of `widths`, or its heads do not divide the level's width."""
    for level in attention:
        if not 0 <= level < len(widths):
            raise ValueError(f"attention level {level} is none of the {len(widths)} levels of widths")
        if widths[level] % max(1, widths[level] // head_dim):
            raise ValueError(f"width {widths[level]} is not a multiple of head_dim {head_dim}")


def _added(h: Tensor, first: Tensor) -> Tensor:
    """h (N, C, H, W) with `first` added to as many of its channels, the first ones, as that has."""
    return h + F.pad(first, (0, 0, 0, 0, 0, h.shape[1] - first.shape[1]))
