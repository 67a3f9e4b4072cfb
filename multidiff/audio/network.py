"""The denoiser of audio latents: a diffusion transformer over time, one token per latent frame.

Conditioned on log-SNR, on the prompt's tokens (cross-attention, and their mean beside the noise level), on the
excerpt's place in its source (`seconds`: start and total, as in Evans et al. 2024, "Fast Timing-Conditioned Latent
Audio Diffusion", section 2.2), on which frames are known (a channel concatenated to the latent) and on the latent of a
degraded version of the whole, noisy or muffled, where one is to be restored (concatenated too; zeros where none is).
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from multidiff.modality import Condition, Spec
from multidiff.nn.embedding import LogSNREmbedding, masked_mean, sinusoidal
from multidiff.nn.transformer import Transformer

TOKEN_DIM = 384


class NetworkSpec(Spec):
    """Size of the diffusion transformer."""

    dim: int = Field(192, gt=0)
    depth: int = Field(6, gt=0)
    heads: int = Field(4, gt=0)
    condition_dim: int = Field(64, gt=0, description="width of the vector that carries noise level and seconds")
    expansion: int = Field(4, gt=0, description="of the feed-forward")
    learned_variance: bool = Field(False, description="also predict the reverse step's variance, for the hybrid loss")

    @model_validator(mode="after")
    def _divides(self) -> NetworkSpec:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} must be a multiple of twice heads, {2 * self.heads}")
        return self


class SecondsEmbedding(nn.Module):
    """Durations in seconds (B, K) -> (B, dim): sinusoids of each, then two layers."""

    def __init__(self, count: int, dim: int, features: int = 64) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(count * features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, seconds: Tensor) -> Tensor:
        # 20 radians per second at the highest frequency tell durations 0.05 s apart.
        return self.mlp(sinusoidal(20.0 * seconds, self.features).flatten(1).to(seconds))


class LatentTransformer(nn.Module):
    """x (B, C, T), log_snr (B,), condition (tokens, tokens_mask, mask, degraded, seconds; each may be absent) -> (B, C, T).

    With spec.learned_variance two of these: the prediction and the variance's v.
    """

    def __init__(self, channels: int, spec: NetworkSpec) -> None:
        super().__init__()
        self.width = spec.dim
        self.log_snr = LogSNREmbedding(spec.condition_dim)
        self.seconds = SecondsEmbedding(2, spec.condition_dim)
        self.prompt = nn.Linear(TOKEN_DIM, spec.condition_dim)
        outputs = 2 * channels if spec.learned_variance else channels
        self.transformer = Transformer(
            2 * channels + 1, outputs, spec.dim, spec.depth, spec.heads, spec.condition_dim, TOKEN_DIM, spec.expansion
        )

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor | tuple[Tensor, Tensor]:
        out, channels = self.transformer.output(self._hidden(x, log_snr, condition)).transpose(1, 2), x.shape[1]
        return out if out.shape[1] == channels else (out[:, :channels], out[:, channels:])

    def features(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        """(B, dim): the mean over time of what the output layer sees."""
        return self._hidden(x, log_snr, condition).mean(dim=1)

    def _hidden(self, x: Tensor, log_snr: Tensor, condition: Condition) -> Tensor:
        vector = self.log_snr(log_snr)
        if "seconds" in condition:
            vector = vector + self.seconds(condition["seconds"])
        tokens, tokens_mask = condition.get("tokens"), condition.get("tokens_mask")
        if tokens is not None:
            vector = vector + self.prompt(masked_mean(tokens, tokens_mask))
        # One channel: a latent frame is known as a whole or not at all.
        mask = condition["mask"][:, :1].to(x) if "mask" in condition else x.new_zeros(1, 1, 1)
        known = mask.expand(x.shape[0], 1, x.shape[2])
        degraded = condition["degraded"].to(x) if "degraded" in condition else torch.zeros_like(x)
        inputs = torch.cat([x, known, degraded], dim=1).transpose(1, 2)
        return self.transformer.hidden(inputs, vector, tokens, tokens_mask)
