"""The self-test of a recipe: a few items learned by heart must come back when their captions are asked for.

`train.overfit=1` (`multidiff train RECIPE --overfit 1`) trains on the first item alone. Everything is as in any other
run: a batch holds the item many times, each with noise of its own.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from multidiff import files, registry
from multidiff.errors import MediaError
from multidiff.modality import Example
from multidiff.model import Model
from multidiff.recipe import Recipe
from multidiff.train.pack import SUFFIXES

LISTENED = 4
"""Captions of which samples are made at the end."""

OTHERS = 4
"""Other items that they are compared with."""


def items(recipe: Recipe) -> tuple[list[Example], list[Example]]:
    """The items that are learned, and a few others to train on; none where a pack holds the data."""
    if any(root.endswith(SUFFIXES) for root in recipe.data.root):
        return [], []
    count, examples = recipe.train.overfit, registry.modality(recipe.modality).examples(recipe.data, "train")
    found = list(islice(examples, count + OTHERS))
    if recipe.text.encoder == "none":  # such a model has learned no captions
        found = [replace(example, text="") for example in found]
    return found[:count], found[count:]


def fitted(recipe: Recipe) -> Recipe:
    """The recipe with the first item's own duration as the default: of another one nothing is learned."""
    learned, _ = items(recipe)
    return recipe.model_copy(update={"options": lasting(learned[0], recipe)}) if learned else recipe


def lasting(example: Example, recipe: Recipe) -> Any:
    """Sampling options of a medium with time as long as an item is, else the recipe's own."""
    modality = registry.modality(recipe.modality)
    return recipe.options if modality.time_axis is None else modality.options_of(example.media, recipe.options)


def report(model: Model, target: Path) -> str:
    """What the model makes of the items' captions, written beside them to `target`, and one line about how near it is.

    The distance is the mean absolute difference in model space, where data have unit variance, of what both have. Of
    items with one caption the nearest counts.
    """
    learned, others = items(model.recipe)
    captions = list(dict.fromkeys(example.text for example in learned))[:LISTENED]
    found, suffix = [], model.modality.media.formats[0]
    for number, caption in enumerate(captions):
        same = [example for example in learned if example.text == caption]
        made = model.sample(caption, **lasting(same[0], model.recipe).model_dump(by_alias=True))[0]
        found.append(min(distance(model, made, example.media) for example in same))
        for name, media in (("item", same[0].media), ("made", made)):
            media.save(files.folder(target) / f"{number}-{name}.{suffix}")
    if not found:
        return "overfit: the data are a pack, which holds no media to compare with"
    nearest = min((distance(model, learned[0].media, other.media) for other in others), default=math.inf)
    apart = f"; the nearest of {len(others)} other items is {nearest:.2f} away" if nearest < math.inf else ""
    return (
        f"overfit: what was learned comes back {sum(found) / len(found):.2f} away{apart} "
        f"(mean absolute difference in model space); compare the files in {target}"
    )


def distance(model: Model, first: Any, last: Any) -> float:
    """The mean absolute difference of two media in model space, cut to what both have; infinity where that is silent,
    or whatever else cannot be encoded."""
    try:
        (a, _), (b, _) = map(model.encode, model.modality.alike(first, last))
    except MediaError:
        return math.inf
    return float((a - b).abs().mean())
