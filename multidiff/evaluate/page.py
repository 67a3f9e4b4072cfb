"""What an evaluation leaves behind: report.json, and index.html with its tables and what was measured side by side."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from multidiff.files import written_whole
from multidiff.modality import Modality
from multidiff.output import PLAYERS, element

SHOWN = 12
"""Items on a page."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#1f2937;background:#fafafa}
h1{font-size:1.5em}
table{border-collapse:collapse;margin:1.5em 0;background:#fff;font-size:.9em;font-variant-numeric:tabular-nums}
th,td{padding:.3em .8em;border-bottom:1px solid #e5e7eb;text-align:right}
th:first-child{text-align:left;font-weight:normal}
thead th{border-bottom:2px solid #9ca3af;vertical-align:bottom}
thead th:first-child{font-weight:bold}
section{margin:2.5em 0}
h2{font-size:1em}
section div{display:grid;grid-template-columns:repeat(auto-fit,minmax(13em,1fr));gap:1.5em}
figure{margin:0}
img,video{width:100%;display:block}
audio{width:100%;display:block;margin-top:.4em}
"""


@dataclass(frozen=True)
class Table:
    """Figures by row and column, not each for all; `corner` names the rows."""

    corner: str
    figures: Mapping[str, Mapping[str, float]]

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for row in self.figures.values() for column in row))

    def cells(self) -> list[list[str]]:
        """The head, then the rows."""
        rows = [
            [name, *(f"{row[column]:.4g}" if column in row else "" for column in self.columns)]
            for name, row in self.figures.items()
        ]
        return [[self.corner, *self.columns], *rows]

    def markdown(self) -> str:
        head, *rows = (f"| {' | '.join(row)} |" for row in self.cells())
        return "\n".join([head, "| --- |" + " ---: |" * len(self.columns), *rows])

    def html(self) -> str:
        head, *rows = self.cells()
        top = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in head)
        body = "".join(
            f"<tr><th scope=row>{html.escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
            for name, *cells in rows
        )
        return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


class Reporting(Protocol):
    """What one evaluation found: a dataclass."""

    @property
    def model(self) -> str: ...

    def tables(self) -> list[Table]: ...

    def notes(self) -> list[str]:
        """What is to be known beside the tables, a sentence each."""
        ...


def transposed(figures: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Column -> row -> value as row -> column -> value."""
    rows = dict.fromkeys(row for column in figures.values() for row in column)
    return {row: {name: column[row] for name, column in figures.items() if row in column} for row in rows}


def text(report: Reporting) -> str:
    """The tables in Markdown, and the notes."""
    return "\n\n".join([*(table.markdown() for table in report.tables()), *report.notes()])


def spread(count: int) -> range:
    """Which of so many items a page shows: at most SHOWN, from all over, as files often lie in order of their kind."""
    return range(0, count, -(-count // SHOWN))


def figure(modality: Modality, media: Any, path: Path, title: str, given: Any = None) -> str:
    """HTML of one item: its picture, and below it a player where browsers play its first format."""
    shown = [modality.plot(media, path.with_suffix(".png"), title, given)]
    if (suffix := f".{modality.media.formats[0]}") in PLAYERS:
        shown.append(media.save(path.with_suffix(suffix)))
    return f"<figure>{''.join(element(each.name) for each in shown)}</figure>"


def write(target: Path, report: Reporting, title: str, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """report.json and the page: the report's tables and notes, then figures side by side below their captions."""
    tables = "".join(table.html() for table in report.tables())
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes())
    items = "".join(
        f"<section><h2>{html.escape(caption)}</h2><div>{''.join(figures)}</div></section>" for caption, figures in rows
    )
    with written_whole(target / "report.json") as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")  # type: ignore[call-overload]
    with written_whole(target / "index.html") as temporary:
        temporary.write_text(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{html.escape(report.model)}</title><style>{STYLE}</style>"
            f"<h1>{html.escape(title)}</h1>{tables}{notes}{items}\n",
            "utf-8",
        )
