"""Exponential moving average of a module's parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def widened(value: Tensor) -> Tensor:
    """A copy to average in: floating values in float32 at least."""
    narrow = value.is_floating_point() and value.dtype.itemsize < 4
    return value.detach().clone().to(torch.float32 if narrow else value.dtype)


class EMA:
    """average <- decay average + (1 - decay) parameters, after every training step.

    In the first steps the decay is (1 + n)/(10 + n), so that the average forgets the initial weights. Floating
    parameters are averaged in float32 at least; buffers and the rest are copied.
    """

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay} must lie in [0, 1)")
        self.decay = decay
        self.updates = 0
        self.averages = {name: widened(value) for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        for name, value in module.state_dict().items():
            average = self.averages[name]
            if name in trained and average.is_floating_point():
                average.lerp_(value.to(average), 1 - decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the averages into a module of the same shape."""
        for name, value in module.state_dict().items():
            value.copy_(self.averages[name])

    def state_dict(self) -> dict[str, Any]:
        """{"decay", "updates", "averages": {name: tensor}}."""
        return {"decay": self.decay, "updates": self.updates, "averages": dict(self.averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Raises ValueError when its names differ."""
        if state["averages"].keys() != self.averages.keys():
            raise ValueError("the saved averages belong to another module: their names differ")
        self.decay, self.updates = state["decay"], state["updates"]
        for name, value in state["averages"].items():
            self.averages[name].copy_(value)
