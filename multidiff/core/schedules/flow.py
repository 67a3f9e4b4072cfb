"""Rectified flow: straight paths from data to noise."""

from __future__ import annotations

import torch
from torch import Tensor

from multidiff.core.schedule import NoiseSchedule


class RectifiedFlow(NoiseSchedule):
    """alpha = 1 - t, sigma = t: straight paths. Liu et al. 2022 (2209.03003), Lipman et al. 2022 (2210.02747)."""

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def _inverse(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr)

    def _norm(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return alpha + sigma, torch.ones_like(alpha), torch.ones_like(sigma)
