"""What a network has learned, as a representation: its intermediate activations at a chosen noise level.

Denoising teaches features that classify, segment and tell the strange from the usual; which layer and how much noise
serve best depends on the task (Baranchuk et al. 2022, 2112.03126; Xiang et al. 2023, 2303.09769). Layers are found by
their names in the module (`network.named_modules()`), for any network, with forward hooks that are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from multidiff.core.denoiser import Condition, NetworkDenoiser


def layers(denoiser: NetworkDenoiser) -> list[str]:
    """The names to choose from, in the network's own order."""
    return [name for name, _ in _module(denoiser).named_modules() if name]


def features(
    denoiser: NetworkDenoiser,
    names: Sequence[str],
    x0: Tensor,
    noise: Tensor,
    log_snr: float,
    condition: Condition = None,
) -> dict[str, Tensor]:
    """The output of each named layer, as the layer shapes it, for x0 (B, *event) with noise (B, *event) at log_snr.

    Of a layer that is run more than once the last output is taken, of one that returns several tensors the first.
    Gradients flow, unless they are turned off outside. Raises ValueError for a name that the network lacks or that it
    does not run, and for a network that is no module.
    """
    module, schedule = _module(denoiser), denoiser.schedule
    known = dict(module.named_modules())
    for name in names:
        if name not in known:
            near = get_close_matches(name, list(known), n=1)
            raise ValueError(f"the network has no layer '{name}'" + (f", did you mean '{near[0]}'?" if near else ""))
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            seen[name] = output[0] if isinstance(output, tuple | list) else output

        return hook

    handles = [known[name].register_forward_hook(keep(name)) for name in names]
    try:
        t = schedule.inverse(torch.full((len(x0),), log_snr, dtype=torch.float64, device=x0.device))
        denoiser.prediction(schedule.diffuse(x0, noise, t), t, condition)
    finally:
        for handle in handles:
            handle.remove()
    if idle := [name for name in names if name not in seen]:
        raise ValueError(f"the network has a layer '{idle[0]}' but does not run it on this input")
    return {name: seen[name] for name in names}


def _module(denoiser: NetworkDenoiser) -> nn.Module:
    if not isinstance(denoiser.network, nn.Module):
        raise ValueError("features need a network that is a torch module")
    return denoiser.network
