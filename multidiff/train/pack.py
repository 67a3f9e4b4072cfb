"""Packs: a data set prepared once, in one safetensors file.

A pack holds, for the splits `train` and `val`, the stacked tensors of `Modality.prepare`, and the token states of
every distinct caption with each row's caption index. Reading one needs neither a media library nor the text
encoder, and its rows stay on disk until they are used (memory-mapped), so a machine without either trains from a
carried pack: `data.root=furniture.pack`.

Tensors: `train/<name>` and `val/<name>` (N, ...), `train/caption` and `val/caption` (N,) int64,
`text/tokens` (U, L, D) float16, `text/mask` (U, L) bool. Caption 0 is always the empty string, the null prompt.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from multidiff import dataset, files, registry, text
from multidiff.errors import InputError, MediaError, MultidiffError
from multidiff.modality import Example, Modality
from multidiff.recipe import Recipe

FORMAT = 1
SPLITS = ("train", "val")
SUFFIXES = (".pack", ".safetensors")
NOT_DATA = ("network", "metrics", "plot")
"""Rooms of a medium whose code has no say in what a pack holds."""


@dataclass(frozen=True)
class Rows:
    """Prepared rows of one split: name -> (N, ...), among them `caption` (N,)."""

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values()))) if self.tensors else 0

    def take(self, indices: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Rows at `indices` (B,), in that order, repeats allowed."""
        return {name: tensor[indices].to(device) for name, tensor in self.tensors.items()}

    def first(self, count: int | None) -> Rows:
        """The first `count` rows (all when None)."""
        return Rows({name: tensor[:count] for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class Pack:
    """A prepared data set. `captions[i]` has token states `tokens[i]` (L, D) and mask `tokens_mask[i]` (L,)."""

    train: Rows
    val: Rows
    captions: list[str]
    tokens: Tensor
    tokens_mask: Tensor
    info: dict[str, Any]
    """modality, data, codec, text, key, counts, skipped: [[file, reason], ...]."""

    def frequent(self, most: int) -> tuple[str, ...]:
        """The captions of training items, without the empty one, the most frequent first."""
        count = self.train.tensors["caption"].bincount(minlength=len(self.captions))
        order = count.argsort(descending=True, stable=True).tolist()
        return tuple(self.captions[i] for i in order if count[i] and self.captions[i])[:most]


def load(recipe: Recipe, codec: Any, tick: Callable[[int], None] = lambda count: None) -> Pack:
    """The recipe's data: `data.root` itself if it is a pack, else a pack from the cache, prepared when missing.

    `tick` is called with the number of items prepared so far. Raises InputError when nothing can be used.
    """
    root = recipe.data.root
    if len(root) == 1 and root[0].endswith(SUFFIXES):
        pack = read(root[0])
        check(pack, recipe, root[0])
        limit = recipe.data.limit
        return Pack(
            pack.train.first(limit), pack.val.first(limit), pack.captions, pack.tokens, pack.tokens_mask, pack.info
        )
    path = cache() / f"{recipe.modality}-{key(recipe)}.safetensors"
    if not path.is_file():
        prepare(recipe, codec, path, tick)
    return read(path)


def cache() -> Path:
    """The folder of cached packs: `$MULTIDIFF_CACHE`, else ~/.cache/multidiff/packs. Raises MultidiffError."""
    folder = Path(os.environ.get("MULTIDIFF_CACHE") or Path.home() / ".cache" / "multidiff" / "packs")
    try:
        return files.folder(folder)
    except MultidiffError as error:
        raise MultidiffError(f"{str(error).split(';')[0]}; set MULTIDIFF_CACHE to a folder for prepared data") from None


def key(recipe: Recipe) -> str:
    """Twelve hex digits that change with the data, the way it is prepared, or the medium's code."""
    roots = recipe.data.root
    parts = {
        **contents(recipe),
        "listing": [list(listing(Path(root).expanduser())) for root in roots if root != dataset.SYNTH],
        "code": code(registry.modality(recipe.modality)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def contents(recipe: Recipe) -> dict[str, Any]:
    """The parts of a recipe that decide what a pack holds. The codec's weights do not: `prepare` comes before it."""
    values = recipe.as_dict()
    return {
        "modality": recipe.modality,
        "data": values["data"],
        "codec": {name: value for name, value in values["codec"].items() if name != "weights"},
        "text": {"encoder": recipe.text.encoder, "length": recipe.text.length},
    }


def listing(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Relative path, size and modification time of every file below a folder, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            yield str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns


def code(modality: Modality) -> str:
    """A hash of the medium's source that prepares data, so that a pack never outlives the code that made it."""
    folder = Path(inspect.getfile(type(modality))).parent
    rooms = [path for path in sorted(folder.glob("*.py")) if path.stem not in NOT_DATA]
    sources = [path.read_bytes() for path in (*rooms, Path(dataset.__file__))]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


def prepare(recipe: Recipe, codec: Any, path: Path, tick: Callable[[int], None] = lambda count: None) -> Path:
    """Read the recipe's data set and write it as a pack. Bad files are skipped and listed in the pack.

    Raises InputError when no training item is left.
    """
    modality = registry.modality(recipe.modality)
    dataset.SKIPPED.items.clear()
    tensors: dict[str, Tensor] = {}
    captions = {"": 0}
    done = 0
    for split in SPLITS:
        rows: list[dict[str, Tensor]] = []
        for example in modality.examples(recipe.data, split):
            row = prepared(modality, example, recipe.data, codec)
            if row is None:
                continue
            # A model without prompts ignores captions.
            caption = "" if recipe.text.encoder == "none" else example.text.strip()
            row["caption"] = torch.tensor(captions.setdefault(caption, len(captions)))
            rows.append(row)
            done += 1
            tick(done)
        if not rows and split == "train":
            raise nothing_left(recipe)
        for name in list(rows[0]) if rows else []:
            tensors[f"{split}/{name}"] = torch.stack([row.pop(name) for row in rows])
    tensors["text/tokens"], tensors["text/mask"] = embed(list(captions), recipe)
    info = {
        "format": FORMAT,
        **contents(recipe),
        "key": path.stem.rpartition("-")[2],
        "counts": {split: len(tensors.get(f"{split}/caption", ())) for split in SPLITS},
        "captions": list(captions),
        "skipped": dataset.SKIPPED.items,
    }
    files.save_tensors(path, tensors, {"multidiff": json.dumps(info)})
    return path


def prepared(modality: Modality, example: Example, data: Any, codec: Any) -> dict[str, Tensor] | None:
    """The tensors of one example, or None (and a line in SKIPPED) when it cannot be used."""
    try:
        return dict(modality.prepare(example, data, codec))
    except MediaError as error:
        dataset.SKIPPED.add(example.source, error)
        return None


def nothing_left(recipe: Recipe) -> InputError:
    roots = ", ".join(recipe.data.root)
    if not dataset.SKIPPED.items:
        return InputError(f"{roots}: no training item; check data.where, data.val and the column 'split'")
    _, reason = dataset.SKIPPED.items[0]
    return InputError(f"{roots}: none of {len(dataset.SKIPPED)} items can be used; the first: {reason}")


def embed(captions: Sequence[str], recipe: Recipe, chunk: int = 64) -> tuple[Tensor, Tensor]:
    """Token states (U, L, D) float16 and mask (U, L) of captions."""
    encoder = text.load(recipe.text.encoder, recipe.text.length)
    parts = [encoder.encode(captions[i : i + chunk]) for i in range(0, len(captions), chunk)]
    return torch.cat([tokens for tokens, _ in parts]).half(), torch.cat([mask for _, mask in parts])


def read(path: str | Path) -> Pack:
    """Read a pack, its rows memory-mapped. Raises MediaError or InputError."""
    path = files.readable(path, "a prepared data set (.pack)", max_bytes=1024**4)
    try:
        with safe_open(path, "pt") as file:
            info = json.loads((file.metadata() or {}).get("multidiff", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable pack ({error}); prepare it again") from None
    if info.get("format") != FORMAT or "text/tokens" not in tensors:
        raise InputError(f"{path}: not a pack of format {FORMAT}; prepare the data again with this version")
    rows = {
        split: Rows({n.removeprefix(f"{split}/"): t for n, t in tensors.items() if n.startswith(f"{split}/")})
        for split in SPLITS
    }
    return Pack(rows["train"], rows["val"], info.pop("captions"), tensors["text/tokens"], tensors["text/mask"], info)


def check(pack: Pack, recipe: Recipe, path: str) -> None:
    """Raises InputError when a carried pack was prepared for another medium, codec or text encoder."""
    wanted, found = contents(recipe), dict(pack.info)
    # What a codec can be told has grown since some packs were made: their codecs have the defaults.
    defaults = type(recipe.codec).model_construct().model_dump(mode="json", exclude={"weights"})
    found["codec"] = {**defaults, **found["codec"]}
    for part in ("modality", "codec", "text"):
        if found[part] != wanted[part]:
            raise InputError(
                f"{path}: was prepared for {part} {found[part]}, the recipe has {wanted[part]}; prepare it again"
            )
    for filter_name in ("where", "val"):
        asked = wanted["data"].get(filter_name)
        if asked and asked != pack.info["data"].get(filter_name):
            raise InputError(f"{path}: data.{filter_name} was fixed when it was prepared; prepare it again")
