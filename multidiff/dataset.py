"""Folders of files with captions, the convention every medium shares.

A data set is a folder of media files with an optional `metadata.csv` or `metadata.jsonl` (columns `file_name`,
`text`, optional `label`, `split`, and any others): the convention of Hugging Face's audiofolder and
videofolder. Without metadata every file below the folder counts and its parent folder's name is its label.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from multidiff.errors import InputError, did_you_mean
from multidiff.modality import Spec

SYNTH = "synth"


class DataSpec(Spec):
    """What every medium's `data` section has; a medium adds its own keys."""

    root: tuple[str, ...] = Field((SYNTH,), description='"synth" (procedural) or one or more folders')
    where: Mapping[str, tuple[str, ...]] = Field({}, description="keep items whose metadata column has these values")
    label: str = Field("label", description="metadata column of the labels that a classifier learns")
    val: str = Field("", description='validation items: "column=value"; empty: column split=val, else 1 in 10 by hash')
    limit: int | None = Field(None, gt=0, description="use only the first so many items of a root's split")

    @field_validator("root", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("where", mode="before")
    @classmethod
    def _scalar_or_list(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {k: (str(v),) if isinstance(v, str | int | float) else tuple(map(str, v)) for k, v in value.items()}

    @field_validator("val")
    @classmethod
    def _column_and_value(cls, value: str) -> str:
        if value and not all(value.partition("=")):
            raise ValueError("is written column=value, for example fold=4")
        return value


@dataclass(frozen=True)
class Entry:
    """One file of a folder, not yet read; `fields` holds every metadata column."""

    path: Path
    text: str = ""
    label: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """The text, or the label in words where there is none."""
        return self.text or self.label.replace("_", " ")


@dataclass
class Skipped:
    """Bad files of a data set: counted and listed, never fatal while something is left."""

    items: list[tuple[str, str]] = field(default_factory=list)

    def add(self, source: object, reason: object) -> None:
        self.items.append((str(source), str(reason)))

    def __len__(self) -> int:
        return len(self.items)


SKIPPED = Skipped()
"""Where `Modality.examples` reports; the caller clears it before and reads it after."""


def metadata(root: Path) -> list[dict[str, str]] | None:
    """Rows of `metadata.csv` or `metadata.jsonl`, or None when there is neither; an empty cell is "".

    Raises InputError for a file that cannot be parsed, or has no rows.
    """
    table, lines = root / "metadata.csv", root / "metadata.jsonl"
    try:
        if table.exists():
            with table.open(newline="", encoding="utf-8-sig") as stream:
                rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(stream, strict=True)]
        elif lines.exists():
            parsed = [json.loads(line) for line in lines.read_text("utf-8-sig").split("\n") if line.strip()]
            rows = [{key: "" if value is None else str(value) for key, value in row.items()} for row in parsed]
        else:
            return None
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise InputError(f"{table if table.exists() else lines}: cannot be parsed ({error}); correct it") from None
    if not rows:
        raise InputError(f"{table if table.exists() else lines}: has no rows; list the files in it, or remove it")
    return rows


def in_split(fields: Mapping[str, str], key: str, split: str, val: str, has_val: bool) -> bool:
    """Whether an item belongs to `split` (train, val, test, all); see DataSpec.val. One marked `test` never trains."""
    if split == "all":
        return True
    own = fields.get("split", "")
    if own == "test" or own.startswith("test"):
        return split == own
    if val:
        column, _, value = val.partition("=")
        held_out = fields.get(column, "") == value
    elif has_val:
        held_out = own.startswith("val")
    else:
        held_out = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10 == 0
    return held_out == (split == "val") if split in ("train", "val") else False


def entries(root: str | Path, suffixes: Sequence[str], spec: DataSpec, split: str) -> list[Entry]:
    """Entries of one folder in one split, sorted, filtered by `spec.where`, cut at `spec.limit`.

    Raises InputError when the folder is missing, or holds no file of these suffixes at all, and as `select`.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.root to a folder of files, or to 'synth'")
    rows = metadata(root)
    if rows is None:
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
        labels = [p.parent.name if p.parent != root else "" for p in paths]
        found = [Entry(p, label=label, fields={"label": label}) for p, label in zip(paths, labels, strict=True)]
    else:
        if bare := next((row for row in rows if not row.get("file_name")), None):
            raise InputError(f"{root}: a row of its metadata names no file in 'file_name'; it has {bare}")
        found = [Entry(root / r["file_name"], r.get("text", ""), r.get(spec.label, ""), r) for r in rows]
    if not found:
        raise InputError(f"{root}: holds no file of the kinds {' '.join(suffixes)}")
    return select(found, spec, split)


def select(found: Sequence[Entry], spec: DataSpec, split: str) -> list[Entry]:
    """The entries of a split that pass `spec.where`, at most `spec.limit`.

    Raises InputError when `spec.where` or `spec.val` names a column that no entry has, unless another root may have it.
    """
    columns = sorted({column for e in found for column in e.fields})
    for column in (*spec.where, *spec.val.partition("=")[:1]):
        if column and column not in columns and len(spec.root) == 1:
            raise InputError(f"data: no item has a column '{column}' to choose by{did_you_mean(column, columns)}")
    has_val = any(e.fields.get("split", "").startswith("val") for e in found)
    chosen = [
        e
        for e in found
        if all(e.fields.get(column, "") in values for column, values in spec.where.items())
        and in_split(e.fields, e.path.name, split, spec.val, has_val)
    ]
    return chosen[: spec.limit]


def of_others(spec: DataSpec, roots: Sequence[str]) -> tuple[DataSpec, bool]:
    """A model's data section for other roots, and whether these hold data of another kind than its own.

    They do when they lack a column by which `where` or `val` chooses, or hold none of the values: then nothing is
    chosen by, and what was held out from the model there nobody knows.
    """
    known = spec.model_copy(update={"root": tuple(roots)})
    folders = [Path(root).expanduser().resolve() for root in roots]
    if folders == [Path(root).expanduser().resolve() for root in spec.root]:
        return known, False
    rows = [row for folder in folders if folder.is_dir() for row in metadata(folder) or []]
    chosen = [row for row in rows if all(row.get(column, "") in values for column, values in spec.where.items())]
    column = spec.val.partition("=")[0]
    if chosen and (any(column in row for row in chosen) if column else any(row.get("split") for row in chosen)):
        return known, False
    return known.model_copy(update={"where": {}, "val": "", "limit": None}), True


def credits(spec: DataSpec) -> dict[str, list[str]]:
    """Licence -> authors, sorted, of the training items whose metadata says so (columns licence or license, and
    author or creator): what a model card owes to those it learned from."""
    found: dict[str, set[str]] = {}
    for root in map(Path, spec.root):
        rows = metadata(root.expanduser()) if root.expanduser().is_dir() else None
        for entry in select([Entry(root, fields=row) for row in rows or []], spec, "train"):
            licence = entry.fields.get("licence") or entry.fields.get("license")
            if licence:
                author = entry.fields.get("author") or entry.fields.get("creator") or ""
                found.setdefault(licence, set()).update({author} - {""})
    return {licence: sorted(authors, key=str.lower) for licence, authors in sorted(found.items())}
