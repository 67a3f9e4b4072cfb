"""Measure a model against real, held-out files: its samples of their captions, or its completions of their parts.

Every figure stands beside its floor: the same metrics between real files (two disjoint halves of them, or for
completions what the medium has for that), and beside what simpler ways to complete would get.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from multidiff import weights
from multidiff.dataset import SKIPPED, of_others
from multidiff.errors import InputError, ModelError
from multidiff.files import folder, written_whole
from multidiff.modality import Completing, Example, Judged, Modality, Remembering, Thorough, Trial
from multidiff.model import Model
from multidiff.output import PLAYERS, element

SHOWN = 12
"""Items on a page."""


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
    """metrics(real, generated)"""
    floor: dict[str, float]
    """metrics(one half of the real files, the other half)"""
    left_out: str = ""
    """what could not be measured, and why"""

    def table(self) -> str:
        """A Markdown table: metric, generated, floor."""
        lines = ["| metric | generated | real against real |", "| --- | --- | --- |"]
        lines += [f"| {k} | {v:.4g} | {self.floor.get(k, float('nan')):.4g} |" for k, v in self.generated.items()]
        return "\n".join([*lines, *(["", f"left out: {self.left_out}"] if self.left_out else [])])


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

    def table(self) -> str:
        """A Markdown table for each kind of trial."""
        lines = []
        for kind, rows in self.figures.items():
            names = list(next(iter(rows.values())))
            lines += [f"| {kind} | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
            lines += [f"| {row} | {' | '.join(f'{found[key]:.4g}' for key in names)} |" for row, found in rows.items()]
            lines.append("")
        told = "captions told" if self.captions else "no captions told"
        return "\n".join([*lines, f"{self.count} items, {self.hypotheses} completions of each, {told}"])


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
    asked, split = model.settings(**values), _split(model, roots, split)
    model.denoiser()  # a model without one is an error before anything is read
    modality, target = model.modality, folder(out)
    real = _held_out(model, roots, split, 2 * count)
    half = len(real) // 2
    shown, rest = real[0 : 2 * half : 2], real[1 : 2 * half : 2]  # files often lie in the order of their captions
    opinion, left_out = _judge(model, judge)
    judged = opinion(shown, rest)  # a judge that cannot judge is an error before anything is made
    generated = []
    for index, example in enumerate(shown):
        generated += model.sample(_prompt(model, example, captions), seed=seed + index, **values)
        if progress is not None:
            progress(index + 1, len(shown))
    asked_for = [example.media for example in shown]
    metrics = partial(_metrics, modality)
    figures = metrics(asked_for, generated)
    figures |= opinion(shown, [replace(example, media=media) for example, media in zip(shown, generated, strict=True)])
    floor = metrics(asked_for, [example.media for example in rest]) | judged
    if isinstance(modality, Remembering) and (training := _training(model, roots)):
        figures |= modality.memorisation(training, generated)
        floor |= modality.memorisation(training, asked_for)
    report = Report(
        *(model.name, tuple(roots), split, len(shown), captions, asked.sampling.steps, seed, figures, floor, left_out)
    )
    pictures = []
    for index, (example, made) in enumerate(zip(shown[:SHOWN], generated, strict=False)):
        pair = [
            _figure(modality, example.media, target / f"{index:02d}_real", "real"),
            _figure(modality, made, target / f"{index:02d}_generated", "generated"),
        ]
        pictures.append((example.text, pair))
    _write(target, report, f"{model.name}: real and generated", pictures)
    return report


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
    progress: Callable[[int, int], None] | None = None,
    **values: Any,
) -> CompletionReport:
    """Complete parts of held-out files, measure, and write report.json and index.html.

    A user's part has no caption, so by default none is told. Raises InputError for a task the medium does not have or
    cannot measure, and as `evaluate`.
    """
    task = model.task_of(task, {})
    asked, split = model.settings(**values), _split(model, roots, split)  # each trial has its own options of the task
    model.denoiser()
    modality, target = model.modality, folder(out)
    if not isinstance(modality, Completing):
        raise InputError(f"{model.name}: completions of {modality.name} are not measured; leave --task out")
    shown = _held_out(model, roots, split, count)
    tried: dict[str, list[tuple[Example, Trial, list[Any]]]] = {}
    for index, example in enumerate(shown):
        for trial in modality.trials(example.media, task, seed + index):
            made = model.complete(
                trial.given,
                task,
                prompt=_prompt(model, example, captions),
                count=hypotheses,
                seed=seed + index * hypotheses,
                **trial.options,
                **values,
            )
            tried.setdefault(trial.kind, []).append((example, trial, made))
        if progress is not None:
            progress(index + 1, len(shown))
    training = _training(model, roots)
    figures = {
        kind: modality.completion_metrics([trial for _, trial, _ in rows], [made for _, _, made in rows], training)
        for kind, rows in tried.items()
    }
    report = CompletionReport(
        model.name, task, tuple(roots), split, len(shown), hypotheses, captions, asked.sampling.steps, seed, figures
    )
    pictures = []
    for kind, rows in tried.items():
        for index, (example, trial, made) in enumerate(rows[:SHOWN]):
            pair = [
                _figure(modality, made[0], target / f"{kind}_{index:02d}_completed", "completed", trial.given),
                _figure(modality, trial.whole, target / f"{kind}_{index:02d}_truth", "truth"),
            ]
            pictures.append((f"{kind}: {example.text}", pair))
    _write(target, report, f"{model.name}: completed and true", pictures)
    return report


def _metrics(modality: Modality, real: Sequence[Any], generated: Sequence[Any]) -> dict[str, float]:
    slow = modality.thorough(real, generated) if isinstance(modality, Thorough) else {}
    return modality.metrics(real, generated) | slow


def _judge(model: Model, name: str) -> tuple[Callable[[Sequence[Example], Sequence[Example]], dict[str, float]], str]:
    """What a judge finds of (real, generated), and why there is none where the medium's own is missing."""
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


def _split(model: Model, roots: tuple[str, ...], split: str) -> str:
    """The split that is asked for; by default what the model did not train on, all of it in a folder of others."""
    return split or ("all" if of_others(model.recipe.data, roots)[1] else "val")


def _held_out(model: Model, roots: tuple[str, ...], split: str, count: int) -> list[Example]:
    SKIPPED.items.clear()
    real = list(islice(model.modality.examples(of_others(model.recipe.data, roots)[0], split), count))
    if len(real) < 4:
        bad = f"; the first of {len(SKIPPED)} bad: {SKIPPED.items[0][1]}" if SKIPPED.items else ""
        raise InputError(f"{', '.join(roots)}: {len(real)} usable items in split '{split}', at least 4 are needed{bad}")
    return real


def _training(model: Model, roots: tuple[str, ...]) -> list[Any]:
    """The media from which the model may have learned, as far as they are of these roots."""
    data, foreign = of_others(model.recipe.data, roots)
    return [] if foreign else [example.media for example in model.modality.examples(data, "train")]


def _prompt(model: Model, example: Example, captions: bool) -> str:
    return example.text if captions and model.text.dim else ""


def _figure(modality: Modality, media: Any, path: Path, title: str, given: Any = None) -> str:
    """HTML of one item: its picture, and a player of it in the first format that browsers play."""
    shown = [modality.plot(media, path.with_suffix(".png"), title, given)]
    playable = [name for name in modality.media.formats if f".{name}" in PLAYERS]
    shown += [media.save(path.with_suffix(f".{name}")) for name in playable[:1]]
    return f"<figure>{''.join(element(each.name) for each in shown)}</figure>"


def _write(target: Path, report: Report | CompletionReport, title: str, rows: Sequence[tuple[str, list[str]]]) -> None:
    """report.json and the page: the report's table, then figures below their captions."""
    cells = [f"<section><p>{html.escape(caption)}</p>{''.join(figures)}</section>" for caption, figures in rows]
    with written_whole(target / "report.json") as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    with written_whole(target / "index.html") as temporary:
        temporary.write_text(
            f"<!doctype html><meta charset=utf-8><title>{html.escape(report.model)}</title>"
            "<style>body{font:15px system-ui;margin:2em}figure{display:inline-block;width:45%;margin:0 2% 0 0}"
            "img,audio,video{width:100%}</style>"
            f"<h1>{html.escape(title)}</h1><pre>{report.table()}</pre>{''.join(cells)}\n",
            "utf-8",
        )
