"""The denoiser of video: the space-time U-Net, told which frames are known.

Known frames are clean whatever the noise level of the others, so their own log-SNR is the highest one
(Open-Sora 1.1 report, "masking": timestep 0 for unmasked frames), beside the mask as an input channel.
"""

from __future__ import annotations

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.errors import RecipeError
from multidiff.modality import Condition, Spec
from multidiff.nn.embedding import LOG_SNR_BOUND, sinusoidal
from multidiff.nn.unet import UNet, check_levels

TEXT_DIM = 384
POSITION_FEATURES = 64


class VideoNetworkSpec(Spec):
    """Size of the space-time U-Net."""

    widths: tuple[int, ...] = Field((64, 96, 128), min_length=1, description="channels of each level, finest first")
    blocks: int = Field(1, gt=0, description="stages of a level on the way down; one more on the way up")
    attention: tuple[int, ...] = Field((1, 2), description="levels, 0 the finest, with attention")
    head_dim: int = Field(32, gt=0, description="channels of an attention head")
    positions: bool = Field(False, description="tell each frame its place: for clips that all begin alike")
    cycle: int = Field(
        0, ge=0, description="so many frames on, places are the same again: of clips that repeat; 0: never"
    )
    learned_variance: bool = Field(False, description="also predict the reverse step's variance, for the hybrid loss")
    detail: int = Field(0, ge=0, description="channels of a branch that sees single pixels, not patches; 0 for none")
    checkpointing: bool = Field(False, description="recompute activations to save memory")

    @model_validator(mode="after")
    def _consistent(self) -> VideoNetworkSpec:
        check_levels(self.widths, self.attention, self.head_dim)
        return self


class VideoNetwork(nn.Module):
    """forward(x (B, C, T, H, W), log_snr (B,), condition) -> (B, C, T, H, W), for any T.

    With spec.learned_variance two of these: the prediction and the variance's v.

    condition: `mask` (B, 1, T, H, W), or 1 for H and W, 1 where x is known and clean; `tokens` (B, L, 384) and
    `tokens_mask` (B, L), the prompt; `position` (B, T) or (B, 1, T, 1, 1), each frame's place in its clip or
    between two of them, looked at only with spec.positions. Each may be absent; positions then count from 0.
    """

    def __init__(self, spec: VideoNetworkSpec, channels: int, patch: int = 1) -> None:
        """`channels` of x hold patches of `patch` x `patch` pixels. Raises RecipeError for detail of single pixels."""
        super().__init__()
        if spec.detail and patch == 1:
            raise RecipeError("network.detail is finer than a patch of pixels: take codec.unshuffle of 2 or more")
        self.width = spec.widths[0]
        self.unet = UNet(
            channels + 1,
            2 * channels if spec.learned_variance else channels,
            widths=spec.widths,
            blocks=spec.blocks,
            attention=spec.attention,
            head_dim=spec.head_dim,
            context_dim=TEXT_DIM,
            temporal=True,
            detail=spec.detail,
            patch=patch,
            checkpointing=spec.checkpointing,
        )
        self.cycle = spec.cycle
        self.place = nn.Linear(POSITION_FEATURES, self.unet.dim) if spec.positions else None

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out, channels = self.unet(*self._told(x, log_snr, condition)), x.shape[1]
        return out if out.shape[1] == channels else (out[:, :channels], out[:, channels:])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, widths[0]): the mean over space and time of what the last convolution sees."""
        return self.unet.features(*self._told(x, log_snr, condition))

    def _told(
        self, x: Tensor, log_snr: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What the U-Net takes: x with its mask, the level of each frame, tokens and their mask, the frames' places."""
        B, _, T, H, W = x.shape
        mask = condition.get("mask", x.new_zeros(1)).to(x.dtype).expand(B, 1, T, H, W)
        is_known = rearrange(mask.amin(dim=(3, 4)), "b 1 t -> b t") > 0
        levels = torch.where(is_known, LOG_SNR_BOUND, log_snr[:, None])
        tokens = condition.get("tokens")
        tokens = None if tokens is None else tokens.to(x.dtype)
        extra = None
        if self.place is not None:
            position = condition.get("position", torch.arange(T, device=x.device).expand(B, T))
            position = position.reshape(B, T)
            position = position % self.cycle if self.cycle else position
            extra = self.place(sinusoidal(position, POSITION_FEATURES).to(x.dtype))
        return torch.cat([x, mask], dim=1), levels, tokens, condition.get("tokens_mask"), extra
