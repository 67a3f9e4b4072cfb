"""Averages of a run's weights of any length, afterwards, from the power-function averages that it kept.

`snapshots/<step>-<std>.safetensors` holds the network's average of width std (train.power_ema) at each checkpoint;
`core.posthoc` combines them (Karras et al. 2024, 2312.02696, section 3.2).
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from multidiff import files, weights
from multidiff.core.posthoc import LARGEST, Snapshot, posthoc
from multidiff.errors import InputError, ModelError
from multidiff.model import Model
from multidiff.train.loop import Training

SNAPSHOTS = "snapshots"
GROUP = "network"


def keep(folder: Path, training: Training) -> None:
    """Write the network's averages as they are now."""
    for (group, std), average in training.power.items():
        if group == GROUP:
            tensors = {name: value.detach().cpu().contiguous() for name, value in average.averages.items()}
            files.save_tensors(folder / f"{training.step:07d}-{std:g}.safetensors", tensors, {})


def snapshots(folder: Path) -> list[Snapshot]:
    """Those of a run folder. Raises ModelError when it kept none or one cannot be read."""
    found = []
    for path in sorted((folder / SNAPSHOTS).glob("*-*.safetensors")):
        try:
            step, std = path.stem.split("-", 1)
            found.append(Snapshot(float(std), int(step), load_file(path)))
        except (ValueError, OSError, SafetensorError) as error:
            raise ModelError(f"{path}: not a readable snapshot ({error}); remove it") from None
    if not found:
        raise ModelError(f"{folder}: kept no snapshots; train with train.power_ema=[0.05,0.1]")
    return found


def rebuilt(run: str | Path, std: float, step: int | None = None) -> Model:
    """The model of a run with the average of width `std` (relative to its length) at `step`, by default the last.

    Raises InputError, ModelError.
    """
    if not 0 < std < LARGEST:
        raise InputError(f"std {std:g}: a width between 0 and {LARGEST:.3f} is needed")
    kept = snapshots(weights.locate(run))
    model = weights.load(run, "cpu")
    if model.network is None:
        raise ModelError(f"{run}: holds no denoiser")
    try:
        averages = posthoc(kept, std, step)
    except ValueError as error:
        raise InputError(f"{run}: {error}; the first is of step {min(s.step for s in kept)}") from None
    model.network.load_state_dict(averages)
    return model
