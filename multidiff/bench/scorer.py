"""What the scorer is good for: prompts found for held-out media and media for prompts, and candidates chosen by it.

The judge, which did not choose, says how much choosing helps: figures by the scorer itself would only show that it
finds what it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from multidiff import weights
from multidiff.bench.distill import Row, markdown, references
from multidiff.dataset import entries, of_others
from multidiff.errors import InputError
from multidiff.modality import Example, Judged, Scored
from multidiff.model import CANDIDATE, Model


def captions(scorer: Model, roots: tuple[str, ...]) -> list[str]:
    """The distinct captions of all items."""
    data, suffixes = of_others(scorer.recipe.data, roots)[0], scorer.modality.media.suffixes
    return sorted({entry.caption for root in roots for entry in entries(root, suffixes, data, "all")})


def retrieval(scorer: Model, examples: Sequence[Example], among: Sequence[str]) -> tuple[float, float]:
    """Recall@1 of captions and of media: the share of media whose own caption is the likest of `among`, and of their
    distinct captions for which one of their own media is."""
    cosines = scorer.similarity([example.media for example in examples], among)
    own = torch.tensor([among.index(example.text) for example in examples], device=cosines.device)
    asked = own.unique()
    caption, media = cosines.argmax(dim=1) == own, own[cosines[:, asked].argmax(dim=0)] == asked
    return float(caption.float().mean()), float(media.float().mean())


def choosing(
    model: Model,
    scorer: Model,
    judged: Callable[[Sequence[Example], Sequence[Example]], dict[str, float]],
    examples: Sequence[Example],
    counts: Sequence[int],
    steps: int,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Iterator[Row]:
    """The judge's figures (`judged`) of samples of the examples' captions, each the best of so many candidates.

    The candidates are those of `Model.sample` with best_of, made once for all counts.
    """
    made, cosines = [], []
    for seed, each in enumerate(examples):
        made.append([model.sample(each.text, seed=seed + k * CANDIDATE, steps=steps)[0] for k in range(max(counts))])
        cosines.append(scorer.similarity(made[-1], [each.text])[:, 0])
        progress(seed + 1, len(examples))
    for count in counts:
        best = [int(found[:count].argmax()) for found in cosines]
        chosen = [replace(each, media=made[i][best[i]]) for i, each in enumerate(examples)]
        similarity = sum(float(found[i]) for found, i in zip(cosines, best, strict=True)) / len(best)
        yield Row(f"best of {count}", steps, judged(examples, chosen) | {"similarity": similarity})


def tables(
    model: Model,
    roots: tuple[str, ...],
    count: int,
    counts: Sequence[int],
    steps: int,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Iterator[str]:
    """Lines of Markdown: retrieval among the held-out items' captions and among all, then choosing by the shipped
    scorer as the shipped judge sees it. Raises InputError for a medium without them, or fewer than four items."""
    medium, device = model.modality, str(model.device)
    if not (isinstance(medium, Scored) and isinstance(medium, Judged)):
        raise InputError(f"{model.name}: {medium.name} have no scorer and no judge")
    scorer, judge = weights.load(medium.scorer, device), weights.load(medium.judge, device)
    examples = references(scorer, roots, "val")
    few, many = sorted({example.text for example in examples}), captions(scorer, roots)
    yield f"| recall@1, {len(examples)} held-out items | scorer | by chance |"
    yield "| --- | --- | --- |"
    for among in (few, many):
        recall, recall_of_items = retrieval(scorer, examples, among)
        yield f"| of the caption, among {len(among)} | {recall:.3f} | {1 / len(among):.3f} |"
    yield f"| of an item, for {len(few)} captions | {recall_of_items:.3f} | {1 / len(few):.3f} |"
    yield ""
    chosen = examples[:: max(len(examples) // count, 1)][:count]
    judged = partial(medium.judged, judge.codec)
    yield from markdown(choosing(model, scorer, judged, chosen, counts, steps, progress))
