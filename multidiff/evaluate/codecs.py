"""A codec by itself: held-out files there and back, through each of its parts and through simpler ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from multidiff.errors import InputError
from multidiff.evaluate.held_out import held_out, opinion_of, split_of
from multidiff.evaluate.page import Table, figure, spread, text, transposed, write
from multidiff.files import folder
from multidiff.modality import Example, Lossy
from multidiff.model import Model


@dataclass(frozen=True)
class CodecReport:
    """What one evaluation of a codec found; written as report.json."""

    model: str
    data: tuple[str, ...]
    split: str
    count: int
    threads: int
    device: str
    figures: dict[str, dict[str, float]]
    """way (each there and back, the files themselves) -> metric"""
    left_out: str = ""
    """what could not be measured, and why"""

    def tables(self) -> list[Table]:
        return [Table("metric", transposed(self.figures))]

    def notes(self) -> list[str]:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        said = [f"{self.count} items, {threads} on {self.device}"]
        return said + ([f"left out: {self.left_out}"] if self.left_out else [])

    def table(self) -> str:
        """A Markdown table: metric, each way, the files themselves."""
        return text(self)


def evaluate_codec(
    model: Model,
    roots: tuple[str, ...],
    out: str | Path,
    count: int = 32,
    split: str = "",
    judge: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> CodecReport:
    """Send held-out files through the codec, measure, and write report.json and index.html.

    The model need hold no denoiser. Raises InputError for a medium whose codec loses nothing that is measured, and as
    `evaluate`.
    """
    modality, target, split = model.modality, folder(out), split_of(model, roots, split)
    if not isinstance(modality, Lossy):
        raise InputError(f"{model.name}: what the codec of {modality.name} loses is not measured; leave --task out")
    real = held_out(model, roots, split, count)
    opinion, left_out = opinion_of(model, judge)
    modality.there_and_back(model.codec, real[0].media)  # the first use of anything is slow
    made: dict[str, list[Example]] = {}
    seconds: dict[str, float] = {}
    for index, example in enumerate(real):
        for way, (media, took) in modality.there_and_back(model.codec, example.media).items():
            made.setdefault(way, []).append(replace(example, media=media))
            seconds[way] = seconds.get(way, 0.0) + took
        if progress is not None:
            progress(index + 1, len(real))
    whole = [example.media for example in real]

    def measured(way: str) -> dict[str, float]:
        media: list[Any] = [example.media for example in made[way]]
        lost = modality.losses(model.codec, whole, media, seconds[way]) if way in seconds else {}
        return lost | opinion(real, made[way])

    made["real"] = real
    report = CodecReport(
        model=model.name,
        data=tuple(roots),
        split=split,
        count=len(real),
        threads=torch.get_num_threads(),
        device=str(model.device),
        figures={way: measured(way) for way in made},
        left_out=left_out,
    )
    rows = []
    for index in spread(len(real)):
        figures = [
            figure(modality, made[way][index].media, target / f"{index:02d}_{way.replace(' ', '-')}", way)
            for way in ("real", *seconds)
        ]
        rows.append((real[index].text, figures))
    write(target, report, f"{model.name}: the codec", rows)
    return report
