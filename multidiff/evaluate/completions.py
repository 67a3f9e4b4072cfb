"""Completions of parts of held-out files, measured against their wholes and beside simpler ways to complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidiff.errors import InputError
from multidiff.evaluate.held_out import held_out, prompt_of, split_of, training
from multidiff.evaluate.page import Table, figure, spread, text, write
from multidiff.files import folder
from multidiff.modality import Completing, Example, Trial
from multidiff.model import Model


@dataclass(frozen=True)
class CompletionReport:
    """What one evaluation of completions found; written as report.json."""

    model: str
    task: str
    data: tuple[str, ...]
    split: str
    count: int
    hypotheses: int
    captions: bool
    """whether the model was told the captions"""
    steps: int
    seed: int
    figures: dict[str, dict[str, dict[str, float]]]
    """kind of trial -> row (completed, floor, simpler ways) -> metric"""
    trials: dict[str, int]
    """kind of trial -> how many items are long, large or loud enough for it"""

    def tables(self) -> list[Table]:
        return [table for kind, rows in self.figures.items() for table in _grouped(kind, rows)]

    def notes(self) -> list[str]:
        told = "captions told" if self.captions else "no captions told"
        fewer = [f"{kind} with {count} of them" for kind, count in self.trials.items() if count < self.count]
        said = f"{self.count} items, {self.hypotheses} completions of each, {told}"
        return ["; ".join([said, *fewer])]

    def table(self) -> str:
        """A Markdown table for each kind of trial."""
        return text(self)


def _grouped(kind: str, rows: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """The table of a kind of trial; figures named group/column have one of their own below it."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for row, figures in rows.items():
        for name, value in figures.items():
            group, _, column = name.rpartition("/")
            tables.setdefault(group, {}).setdefault(row, {})[column] = value
    return [Table(f"{kind}: {group}" if group else kind, figures) for group, figures in tables.items()]


def evaluate_completion(
    model: Model,
    task: str,
    roots: tuple[str, ...],
    out: str | Path,
    count: int = 32,
    hypotheses: int = 4,
    split: str = "",
    seed: int = 0,
    captions: bool = False,
    trial: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **values: Any,
) -> CompletionReport:
    """Complete parts of held-out files, measure, and write report.json and index.html.

    A user's part has no caption, so by default none is told. `trial`: options of the task that every trial shall have,
    where the medium can measure so (audio: `extend` seconds). Raises InputError for a task the medium does not have or
    cannot measure, and as `evaluate`.
    """
    task, trial = model.task_of(task, {}), trial or {}
    if trial:
        model.settings(task, **trial)  # what is no option of the task is an error
    asked, split = model.settings(**values), split_of(model, roots, split)  # each trial has its own options of the task
    model.denoiser()
    modality, target = model.modality, folder(out)
    if not isinstance(modality, Completing):
        raise InputError(f"{model.name}: completions of {modality.name} are not measured; leave --task out")
    shown = held_out(model, roots, split, count)
    tried: dict[str, list[tuple[Example, Trial, list[Any]]]] = {}
    for index, example in enumerate(shown):
        for each in modality.trials(example.media, task, seed + index, trial):
            made = model.complete(
                each.given,
                task,
                prompt=prompt_of(model, example, captions),
                count=hypotheses,
                seed=seed + index * hypotheses,
                **each.options,
                **values,
            )
            tried.setdefault(each.kind, []).append((example, each, made))
        if progress is not None:
            progress(index + 1, len(shown))
    if not tried:
        raise InputError(f"{', '.join(roots)}: none of {len(shown)} items is fit for a trial of '{task}'")
    known = training(model, roots)
    figures = {
        kind: modality.completion_metrics([each for _, each, _ in rows], [made for _, _, made in rows], known)
        for kind, rows in tried.items()
    }
    report = CompletionReport(
        model=model.name,
        task=task,
        data=tuple(roots),
        split=split,
        count=len(shown),
        hypotheses=hypotheses,
        captions=captions,
        steps=asked.sampling.steps,
        seed=seed,
        figures=figures,
        trials={kind: len(rows) for kind, rows in tried.items()},
    )
    sections = []
    for kind, rows in tried.items():
        for index in spread(len(rows)):
            example, each, made = rows[index]
            pair = [
                figure(modality, made[0], target / f"{kind}_{index:02d}_completed", "completed", each.given),
                figure(modality, each.whole, target / f"{kind}_{index:02d}_truth", "truth"),
            ]
            sections.append((f"{kind}: {example.text}", pair))
    write(target, report, f"{model.name}: completed and true", sections)
    return report
