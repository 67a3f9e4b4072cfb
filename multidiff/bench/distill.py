"""A model and its students against real files: quality in few steps beside the teacher's in many.

Every model makes one sample for each reference, with its caption and a seed of its own, the same for every model; the
figures are the medium's metrics. Few held-out files tell little, so the references may be those of the training split:
what is asked is how far students are from their teacher, not how good that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from multidiff.dataset import SKIPPED, of_others
from multidiff.errors import InputError
from multidiff.modality import Example
from multidiff.model import Model


@dataclass(frozen=True)
class Row:
    """What one model reached in so many steps."""

    name: str
    steps: int
    metrics: dict[str, float]


def references(model: Model, roots: tuple[str, ...], split: str, count: int | None = None) -> list[Example]:
    """The first `count` items of a split, or all. Raises InputError when there are fewer than four."""
    data, _ = of_others(model.recipe.data, roots)
    SKIPPED.items.clear()
    found = list(islice(model.modality.examples(data, split), count))
    if len(found) < 4:
        raise InputError(f"{', '.join(roots)}: {len(found)} usable items in split '{split}', at least 4 are needed")
    return found


def rows(
    runs: Sequence[tuple[str, Model, int]],
    real: Sequence[Example],
    progress: Callable[[int, int], None] = lambda step, steps: None,
    **options: Any,
) -> Iterator[Row]:
    """A row for each (name, model, steps); `options` are the medium's. Raises InputError."""
    for number, (name, model, steps) in enumerate(runs):
        made = []
        for seed, example in enumerate(real):
            prompt = example.text if model.text.dim else ""
            made += model.sample(prompt, seed=seed, steps=steps, **options)
            progress(number * len(real) + seed + 1, len(runs) * len(real))
        yield Row(name, steps, model.modality.metrics([example.media for example in real], made))


def markdown(table: Iterator[Row]) -> Iterator[str]:
    """Lines of Markdown, each as soon as its figures are known.

    Figures of the references alone (their names end in _real or _count or begin with floor_) are equal in every row
    and stand below.
    """
    shared: dict[str, float] = {}
    for number, row in enumerate(table):
        shared = {k: v for k, v in row.metrics.items() if k.endswith(("_real", "_count")) or k.startswith("floor_")}
        own = [key for key in row.metrics if key not in shared]
        if number == 0:
            yield "| model | steps | " + " | ".join(own) + " |"
            yield "| --- | --- |" + " --- |" * len(own)
        yield f"| {row.name} | {row.steps} | " + " | ".join(f"{row.metrics[key]:.4g}" for key in own) + " |"
    yield ""
    yield ", ".join(f"{key} {value:.4g}" for key, value in shared.items())
