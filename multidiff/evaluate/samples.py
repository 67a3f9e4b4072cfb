"""Samples of the captions of held-out files, measured against these files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multidiff.evaluate.held_out import held_out, opinion_of, prompt_of, split_of, training
from multidiff.evaluate.page import Table, figure, spread, text, transposed, write
from multidiff.files import folder
from multidiff.modality import Cyclic, Example, Faulty, Prompted, Remembering, Thorough
from multidiff.model import Model


@dataclass(frozen=True)
class Report:
    """What one evaluation of samples found; written as report.json."""

    model: str
    data: tuple[str, ...]
    split: str
    count: int
    captions: bool
    """whether the model was told the captions"""
    steps: int
    seed: int
    generated: dict[str, float]
    """metrics(one half of the real files, what was generated from their captions)"""
    floor: dict[str, float]
    """metrics(one half of the real files, the other half)"""
    faults: dict[str, dict[str, float]] = field(default_factory=dict)
    """fault -> metrics(one half of the real files, the other half with that fault)"""
    left_out: str = ""
    """what could not be measured, and why"""

    def tables(self) -> list[Table]:
        columns = {"generated": self.generated, "real against real": self.floor, **self.faults}
        return [Table("metric", transposed(columns))]

    def notes(self) -> list[str]:
        return [f"left out: {self.left_out}"] if self.left_out else []

    def table(self) -> str:
        """A Markdown table: metric, generated, floor, faults."""
        return text(self)


def evaluate(
    model: Model,
    roots: tuple[str, ...],
    out: str | Path,
    count: int = 32,
    split: str = "",
    seed: int = 0,
    captions: bool = True,
    judge: str = "",
    progress: Callable[[int, int], None] | None = None,
    **values: Any,
) -> Report:
    """Sample with the captions of held-out files, measure, and write report.json and index.html.

    `judge`: the model whose opinion counts, where the medium has such figures; by default the shipped one. Raises
    InputError when the data holds fewer than four usable items of the split, ModelError for a judge that is not there.
    """
    asked, split = model.settings(**values), split_of(model, roots, split)
    model.denoiser()  # a model without one is an error before anything is read
    modality, target = model.modality, folder(out)
    real = held_out(model, roots, split, 2 * count)
    half = len(real) // 2
    shown, rest = real[0 : 2 * half : 2], real[1 : 2 * half : 2]  # files often lie in the order of their captions
    asked_for = [example.media for example in shown]
    opinion, left_out = opinion_of(model, judge)

    def quick(made: Sequence[Example]) -> dict[str, float]:
        media = [example.media for example in made]
        found = modality.metrics(asked_for, media) | opinion(shown, made)
        found |= modality.prompt_accuracy(made) if isinstance(modality, Prompted) else {}
        return found | (modality.loop_metrics(media) if asked.sampling.loop and isinstance(modality, Cyclic) else {})

    floor = quick(rest)  # a judge that cannot judge is an error before anything is made
    generated = []
    for index, example in enumerate(shown):
        told = prompt_of(model, example, captions)
        (media,) = model.sample(told, seed=seed + index, **values)
        generated.append(replace(example, media=media, text=told))
        if progress is not None:
            progress(index + 1, len(shown))
    figures, media = quick(generated), [example.media for example in generated]
    if isinstance(modality, Thorough):
        figures |= modality.thorough(asked_for, media)
        floor |= modality.thorough(asked_for, [example.media for example in rest])
    if isinstance(modality, Remembering) and (known := training(model, roots)):
        figures |= modality.memorisation(known, media)
        floor |= modality.memorisation(known, asked_for)
    faults = modality.faults(rest, seed) if isinstance(modality, Faulty) else {}
    report = Report(
        model=model.name,
        data=tuple(roots),
        split=split,
        count=len(shown),
        captions=captions,
        steps=asked.sampling.steps,
        seed=seed,
        generated=figures,
        floor=floor,
        faults={name: quick(wrong) for name, wrong in faults.items()},
        left_out=left_out,
    )
    rows = []
    for index in spread(len(shown)):
        pair = [
            figure(modality, shown[index].media, target / f"{index:02d}_real", "real"),
            figure(modality, generated[index].media, target / f"{index:02d}_generated", "generated"),
        ]
        rows.append((shown[index].text, pair))
    write(target, report, f"{model.name}: real and generated", rows)
    return report
