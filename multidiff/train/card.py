"""What a run says about itself: the model card of its folder, and the table of a dry run."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from multidiff import dataset
from multidiff.recipe import Recipe
from multidiff.train.pack import Pack

if TYPE_CHECKING:
    from multidiff.train.run import Run


def parameters(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0


def memory() -> str:
    """Peak memory of this process so far, on the accelerator when there is one."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB of RAM"


def markdown(recipe: Recipe, pack: Pack, step: int, seconds: float, val: list[dict[str, str]], device: str) -> str:
    """The model card (README.md) of a run; `val` holds the rows of val.csv."""
    counts, skipped = pack.info["counts"], pack.info["skipped"]
    training, validating = used(recipe, counts)
    lines = [
        f"# {recipe.name}",
        "",
        recipe.about or f"A {recipe.modality} model.",
        "",
        f"- trained: {recipe.train.objective}, {step} of {recipe.train.steps} steps of {recipe.train.batch} items, "
        f"{seconds / 60:.1f} minutes on {device}",
        f"- data: {', '.join(recipe.data.root)}: {training}; {validating}",
        f"- recipe: `recipe.yaml` (hash {recipe.hash})",
    ]
    if skipped:
        lines += [f"- skipped: {len(skipped)} files that cannot be used"]
        lines += [f"  - {reason}" for _, reason in skipped[:20]]
    if val:
        lines += ["", "Validation of the averaged weights, on fixed noise:", ""]
        first, last = val[0], val[-1]
        lines += [f"| | step {first['step']} | step {last['step']} |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {float(first[name]):.4g} | {float(last[name]):.4g} |"
            for name in last
            if name not in ("step", "seconds")
        ]
    if owed := dataset.credits(recipe.data):
        lines += ["", "## Learned from", ""]
        lines += [f"- {licence}{': ' * bool(authors)}{', '.join(authors)}" for licence, authors in owed.items()]
    return "\n".join([*lines, ""])


def used(recipe: Recipe, counts: dict[str, int]) -> tuple[str, str]:
    """What was trained and what was validated on, in words."""
    if recipe.train.overfit:
        count = min(recipe.train.overfit, counts["train"])
        return f"{count} items (train.overfit)", "validated on the same items"
    held_out = f"{counts['val']} held-out items" if counts["val"] else "training items, none being held out"
    return f"{counts['train']} items", f"validated on {held_out}"


def dry_run(run: Run, console: Console) -> None:
    """Train one step and print what was built: counts, shapes, parameters, memory and time."""
    started = time.perf_counter()
    record = next(run.training.steps(run.train))
    seconds = time.perf_counter() - started
    table = Table("what", "value", title=f"{run.recipe.name}: one step of {run.recipe.train.objective}")
    rows = {
        "items": f"{len(run.train)} to train, {len(run.val)} to validate, {len(run.pack.info['skipped'])} skipped",
        **{f"row {name}": f"{tuple(t.shape[1:])} {t.dtype}" for name, t in run.train.tensors.items()},
        "captions": f"{len(run.pack.captions)}, each {tuple(run.pack.tokens.shape[1:])}",
        "codec": f"{parameters(run.model.codec):,} parameters",
        "network": f"{parameters(run.model.network):,} parameters",
        **{f"trained: {name}": f"{parameters(module):,} parameters" for name, module in run.training.groups.items()},
        "batch": f"{run.recipe.train.batch} x {run.recipe.train.accumulate} items",
        "device": f"{run.accelerator.device}, precision {run.accelerator.mixed_precision}",
        **{f"loss: {name}": f"{value:.4f}" for name, value in record.losses.items()},
        "first step": f"{seconds:.2f} s",
        "peak memory": memory(),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
