"""Training state on disk: one safetensors file, written whole, from which a run goes on exactly where it was.

Tensors: `weights/<group>/<name>` (raw, not averaged), `ema/<group>/<name>`, `power/<group>/<std>/<name>` and
`optimizer/<group>/<name>/<slot>`. The header holds the step and what the run adds, as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from multidiff import files
from multidiff.errors import ModelError
from multidiff.train.loop import Training

FORMAT = 1


def named(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; tied ones once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def state(training: Training) -> dict[str, Tensor]:
    """Every tensor of the training state by its name in the file."""
    tensors: dict[str, Tensor] = {}
    for group, module in training.groups.items():
        tensors |= {f"weights/{group}/{name}": tensor for name, tensor in named(module).items()}
        tensors |= {f"ema/{group}/{name}": tensor for name, tensor in training.ema[group].averages.items()}
        slots = training.optimizers[group].state if group in training.optimizers else {}
        tensors |= {
            f"optimizer/{group}/{name}/{slot}": value
            for name, parameter in module.named_parameters()
            for slot, value in slots.get(parameter, {}).items()
        }
    for (group, std), average in training.power.items():
        tensors |= {f"power/{group}/{std:g}/{name}": tensor for name, tensor in average.averages.items()}
    return tensors


def save(path: Path, training: Training, extra: dict[str, Any]) -> None:
    """Write the state and `extra` (JSON values)."""
    scaler = training.accelerator.scaler
    info = {
        **extra,
        "format": FORMAT,
        "step": training.step,
        "ema_updates": {group: ema.updates for group, ema in training.ema.items()},
        "scaler": scaler.state_dict() if scaler else None,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state(training).items()}
    files.save_tensors(path, tensors, {"multidiff": json.dumps(info)})


def load(path: Path, training: Training) -> dict[str, Any]:
    """Put a saved state into `training`, in place, and return what the run had added.

    Raises ModelError when the file is broken or belongs to other modules.
    """
    try:
        with safe_open(path, "pt") as file:
            info: dict[str, Any] = json.loads((file.metadata() or {})["multidiff"])
            saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: not a readable training state ({error}); start a new run") from None
    if info.get("format") != FORMAT:
        raise ModelError(f"{path}: training state of format {info.get('format')}, this version reads {FORMAT}")
    for group, module in training.groups.items():
        for name, parameter in module.named_parameters():
            slots = training.optimizers[group].state
            prefix = f"optimizer/{group}/{name}/"
            # Moments keep the parameter's memory layout, which the fused optimiser relies on.
            slots[parameter] = {
                key.removeprefix(prefix): torch.empty_like(parameter if value.ndim else value).copy_(value)
                if value.ndim
                else value.to(parameter.device)
                for key, value in saved.items()
                if key.startswith(prefix)
            }
    expected = {name: tensor for name, tensor in state(training).items() if not name.startswith("optimizer/")}
    wrong = [name for name, tensor in expected.items() if name not in saved or saved[name].shape != tensor.shape]
    if wrong:
        raise ModelError(
            f"{path}: does not fit the recipe's modules, first at '{wrong[0]}'; resume with its own recipe"
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(saved[name])
    training.step = info["step"]
    for group, updates in info["ema_updates"].items():
        training.ema[group].updates = updates
    for average in training.power.values():
        average.updates = training.step
    if info["scaler"] and training.accelerator.scaler:
        training.accelerator.scaler.load_state_dict(info["scaler"])
    return info
