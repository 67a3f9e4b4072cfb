"""A network's forward and training step: FLOP, seconds, memory.

A training step is forward and backward in float32, without the optimiser, which is the same for all. FLOP are counted
by torch's FlopCounterMode (two for a multiplication and an addition; convolutions, matrix products and attention).

On one thread the seconds are the process's own, which another process beside it does not lengthen much; on several they
are those of the clock, since threads that wait for each other count as busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from multidiff.bench import meter
from multidiff.bench.meter import MIB

TEXT_DIM = 384
"""Width of a prompt's token."""


@dataclass(frozen=True)
class Network:
    """A network, and how it is called: `call(x (B, ...), tokens (B, L, TEXT_DIM))` -> like x."""

    module: nn.Module
    call: Callable[[Tensor, Tensor], Tensor]


class Runs:
    """A network ready to run on a batch of noise and a prompt of noise: forward without gradients, a training step."""

    def __init__(self, build: Callable[[], Network], shape: Sequence[int], batch: int, tokens: int) -> None:
        torch.manual_seed(0)
        self.network = build()
        self.module, self.batch = self.network.module.train(), batch
        self.x = torch.randn(batch, *shape)
        self.tokens = torch.randn(batch, tokens, TEXT_DIM)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.network.call(self.x, self.tokens)

    def step(self) -> None:
        self.module.zero_grad()
        with torch.enable_grad():
            self.network.call(self.x, self.tokens).square().mean().backward()

    def memory(self) -> float:
        """MiB of the weights and of a training step, gradients included; not for the first run."""
        self.module.zero_grad()
        return 4 * self.parameters / MIB + meter.growth(self.step)

    def flop(self) -> tuple[float, float]:
        """Of one item: forward, and forward and backward."""
        self.module.zero_grad()
        # The plain products of attention: not every fused kernel is in the counter's table.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            loss = self.network.call(self.x, self.tokens).square().mean()
            forward = counter.get_total_flops()
            loss.backward()
        return forward / self.batch, counter.get_total_flops() / self.batch


def timed(turns: Sequence[Callable[[], object]], budget: float) -> list[float]:
    """The least seconds of each, in turns until `budget` seconds are spent, two turns at least."""
    return meter.seconds(turns, budget, clock())


def clock() -> Callable[[], float]:
    """By which seconds are told: the process's own on one thread, else the wall's."""
    return process_time if torch.get_num_threads() == 1 else perf_counter
