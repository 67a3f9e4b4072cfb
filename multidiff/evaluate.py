"""Measure a model: its samples against real, held-out files of the same captions.

Every figure stands beside its floor: the same metrics between two disjoint halves of the real files.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from multidiff.dataset import SKIPPED
from multidiff.errors import InputError
from multidiff.files import folder, written_whole
from multidiff.model import Model


@dataclass(frozen=True)
class Report:
    """What one evaluation found; written as report.json."""

    model: str
    data: tuple[str, ...]
    split: str
    count: int
    steps: int
    seed: int
    generated: dict[str, float]
    """metrics(real, generated)"""
    floor: dict[str, float]
    """metrics(one half of the real files, the other half)"""

    def table(self) -> str:
        """A Markdown table: metric, generated, floor."""
        lines = ["| metric | generated | real against real |", "| --- | --- | --- |"]
        lines += [f"| {k} | {v:.4g} | {self.floor.get(k, float('nan')):.4g} |" for k, v in self.generated.items()]
        return "\n".join(lines)


def evaluate(
    model: Model,
    roots: tuple[str, ...],
    out: str | Path,
    count: int = 32,
    split: str = "val",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **values: Any,
) -> Report:
    """Sample with the captions of held-out files, measure, and write report.json, pictures and index.html.

    Raises InputError when the data holds fewer than four usable items of the split.
    """
    asked = model.settings(**values)
    model.denoiser()  # a model without one is an error before anything is read
    modality, target = model.modality, folder(out)
    data = modality.data_spec.model_validate({**model.recipe.data.model_dump(), "root": roots})
    SKIPPED.items.clear()
    real = list(islice(modality.examples(data, split), 2 * count))
    if len(real) < 4:
        bad = f"; the first of {len(SKIPPED)} bad: {SKIPPED.items[0][1]}" if SKIPPED.items else ""
        raise InputError(f"{', '.join(roots)}: {len(real)} usable items in split '{split}', at least 4 are needed{bad}")
    half = len(real) // 2
    shown, rest = real[:half], real[half:]
    generated = []
    for index, example in enumerate(shown):
        prompt = example.text if model.text.dim else ""
        generated += model.sample(prompt, seed=seed + index, **values)
        if progress is not None:
            progress(index + 1, len(shown))
    report = Report(
        model.name,
        tuple(roots),
        split,
        len(shown),
        asked.sampling.steps,
        seed,
        modality.metrics([example.media for example in shown], generated),
        modality.metrics([example.media for example in shown], [example.media for example in rest]),
    )
    cells = []
    for index, (example, made) in enumerate(zip(shown[:12], generated, strict=False)):
        pair = [
            modality.plot(example.media, target / f"{index:02d}_real.png", "real"),
            modality.plot(made, target / f"{index:02d}_generated.png", "generated"),
        ]
        images = "".join(f'<img src="{path.name}" alt="{path.stem}">' for path in pair)
        cells.append(f"<section><p>{html.escape(example.text)}</p>{images}</section>")
    with written_whole(target / "report.json") as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    with written_whole(target / "index.html") as temporary:
        temporary.write_text(
            f"<!doctype html><meta charset=utf-8><title>{html.escape(model.name)}</title>"
            "<style>body{font:15px system-ui;margin:2em}img{max-width:45%;margin-right:2%}</style>"
            f"<h1>{html.escape(model.name)}: real and generated</h1><pre>{report.table()}</pre>{''.join(cells)}\n",
            "utf-8",
        )
    return report
