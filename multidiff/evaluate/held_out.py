"""What a model is measured with: files that it did not learn from, and the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from multidiff import weights
from multidiff.dataset import SKIPPED, of_others
from multidiff.errors import InputError, ModelError
from multidiff.modality import Example, Judged
from multidiff.model import Model

LEAST = 4
"""Items, fewer of which say nothing."""

Opinion = Callable[[Sequence[Example], Sequence[Example]], dict[str, float]]
"""What a judge finds of (real, generated)."""


def split_of(model: Model, roots: tuple[str, ...], split: str) -> str:
    """The split that is asked for; by default what the model did not train on, all of it in a folder of others."""
    return split or ("all" if of_others(model.recipe.data, roots)[1] else "val")


def held_out(model: Model, roots: tuple[str, ...], split: str, count: int) -> list[Example]:
    """Up to `count` items of a split. Raises InputError where fewer than LEAST are usable."""
    SKIPPED.items.clear()
    real = list(islice(model.modality.examples(of_others(model.recipe.data, roots)[0], split), count))
    if len(real) < LEAST:
        bad = f"; the first of {len(SKIPPED)} bad: {SKIPPED.items[0][1]}" if SKIPPED.items else ""
        where = ", ".join(roots)
        raise InputError(f"{where}: {len(real)} usable items in split '{split}', at least {LEAST} are needed{bad}")
    return real


def training(model: Model, roots: tuple[str, ...]) -> list[Any]:
    """The media from which the model may have learned, as far as they are of these roots."""
    data, foreign = of_others(model.recipe.data, roots)
    return [] if foreign else [example.media for example in model.modality.examples(data, "train")]


def prompt_of(model: Model, example: Example, captions: bool) -> str:
    """What the model is told of an item."""
    return example.text if captions and model.text.dim else ""


def opinion_of(model: Model, name: str) -> tuple[Opinion, str]:
    """What the judge of that name finds, and why there is none where the medium's own is missing.

    Raises InputError for a medium without judges, ModelError for a named judge that is not there.
    """
    modality = model.modality
    if not isinstance(modality, Judged):
        if name:
            raise InputError(f"{model.name}: {modality.name} have no figures that a judge finds; leave --judge out")
        return lambda real, generated: {}, ""
    try:
        judge = weights.load(name or modality.judge, str(model.device))
    except ModelError as error:
        if name:
            raise
        return lambda real, generated: {}, f"figures of a judge ({error})"
    return partial(modality.judged, judge.codec), ""
