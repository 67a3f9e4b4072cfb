"""Per-sample seeded noise: a sample does not change with its batch, its device or what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """noise(step, stream) -> standard normal (B, *event); equal arguments give equal noise.

    Step 0 is the noise that sampling starts from, step k that of the k-th step. `stream` tells draws of one
    step apart.
    """

    def __call__(self, step: int, stream: int = 0) -> Tensor: ...


class SeededNoise:
    """Noise of a batch whose sample i depends on seeds[i] alone.

    Drawn in float32 on the CPU, so that a seed means the same on every device and in every precision, then
    cast to `dtype` and moved to `device`.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        event_shape: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if not seeds:
            raise ValueError("no seeds: give one for each sample")
        self.seeds = tuple(seeds)
        self.event_shape = tuple(event_shape)
        self.dtype, self.device = dtype, torch.device(device)
        self._generator = torch.Generator()  # seeded anew before every use

    @property
    def initial(self) -> Tensor:
        """The noise that sampling starts from."""
        return self(0)

    def __call__(self, step: int, stream: int = 0) -> Tensor:
        """Standard normal (B, *event)."""
        drawn = torch.empty((len(self.seeds), *self.event_shape))
        for row, seed in zip(drawn.unbind() if len(self.seeds) > 1 else (drawn,), self.seeds, strict=True):
            # A hash, because neighbouring seeds and steps must not give related or shared streams.
            digest = hashlib.blake2b(f"{seed}/{step}/{stream}".encode(), digest_size=8).digest()
            row.normal_(generator=self._generator.manual_seed(int.from_bytes(digest, "little")))
        return drawn.to(device=self.device, dtype=self.dtype)
