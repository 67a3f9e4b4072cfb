"""Point-cloud data sets.

Examples come from three kinds of root: "synth" (procedural furniture, or things on tables), a pack (a folder with
`points.npz`: points (S, P, 3) and optionally category (S,) and split (S,), beside a `metadata.csv` with an `index`
column), or a folder of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multidiff import dataset
from multidiff.dataset import SKIPPED, SYNTH, DataSpec, Entry
from multidiff.errors import InputError, MediaError
from multidiff.modality import Example
from multidiff.points import synth, tabletop
from multidiff.points.media import UP, Axis, PointCloud

PACK = "points.npz"
FAMILIES: dict[str, synth.Kinds] = {"furniture": synth.KINDS, "tabletop": tabletop.KINDS}
"""What procedural shapes there are."""


class PointData(DataSpec):
    """The `data` section of a recipe of point clouds."""

    points: int = Field(4096, ge=64, description="points kept of each shape, from which every step draws anew")
    up: Axis = Field("y", description="axis of the files that points up: x, y, z, -x, -y or -z")
    normalise: bool = Field(True, description="centre each shape's box and scale its farthest point to 1")
    family: Literal["furniture", "tabletop"] = Field("furniture", description="kinds of procedural shapes")
    count: int = Field(2000, gt=0, description="procedural shapes in train; a tenth of it in val and test")


def examples(spec: PointData, split: str) -> Iterator[Example]:
    """Clouds of a split with their captions; bad ones are skipped and listed in `dataset.SKIPPED`."""
    for root in spec.root:
        if root == SYNTH:
            yield from _synthetic(spec, split)
        elif (Path(root).expanduser() / PACK).is_file():
            yield from _packed(Path(root).expanduser(), spec, split)
        else:
            yield from _files(root, spec, split)


def _normalised(cloud: PointCloud, spec: PointData) -> PointCloud:
    return cloud.normalized()[0] if spec.normalise else cloud


def _synthetic(spec: PointData, split: str) -> Iterator[Example]:
    if split not in synth.STARTS:
        return
    start, count = synth.STARTS[split], spec.count if split == "train" else max(1, spec.count // 10)
    kinds = FAMILIES[spec.family]
    wanted = spec.where.get("label", tuple(kinds))
    kept = [i for i in range(start, start + count) if synth.label(i, kinds) in wanted][: spec.limit]
    for index in kept:
        cloud, text = synth.shape(index, spec.points, kinds)
        yield Example(_normalised(cloud, spec), text, synth.label(index, kinds), f"{SYNTH}:{index}")


def _packed(root: Path, spec: PointData, split: str) -> Iterator[Example]:
    try:
        with np.load(root / PACK, allow_pickle=False) as arrays:
            packed = {key: arrays[key] for key in ("points", "category", "split") if key in arrays}
        points = packed["points"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{root / PACK}: is no pack of clouds ({error}); it needs 'points' (shapes, points, 3)"
        ) from None
    if points.ndim != 3 or points.shape[2] != 3:
        raise InputError(f"{root / PACK}: points have shape {points.shape}; a pack has (shapes, points, 3)")
    for entry in dataset.select(_pack_entries(root, packed), spec, split):
        index = entry.fields["index"]
        try:
            cloud = PointCloud(points[int(index)])
        except (MediaError, ValueError, IndexError) as error:
            SKIPPED.add(f"{root / PACK}[{index}]", error)
            continue
        yield Example(_normalised(cloud, spec), entry.caption, entry.label, f"{root / PACK}[{index}]")


def _pack_entries(root: Path, packed: dict[str, NDArray[Any]]) -> list[Entry]:
    """One entry for each shape, from `metadata.csv`, else from the pack's own category and split."""
    rows = dataset.metadata(root)
    if rows is None:
        columns = {"label": packed.get("category"), "split": packed.get("split")}
        rows = [
            {"index": str(i), **{key: str(values[i]) for key, values in columns.items() if values is not None}}
            for i in range(len(packed["points"]))
        ]
    if rows and "index" not in rows[0]:
        raise InputError(f"{root}: metadata beside {PACK} has no column 'index'; it has {', '.join(rows[0])}")
    return [Entry(root / row["index"], row.get("text", ""), row.get("label", ""), row) for row in rows]


def _files(root: str, spec: PointData, split: str) -> Iterator[Example]:
    for entry in dataset.entries(root, PointCloud.suffixes, spec, split):
        try:
            cloud = PointCloud.read(entry.path)
            cloud = cloud if spec.up == "y" else cloud.rotated(UP[spec.up])
        except MediaError as error:
            SKIPPED.add(entry.path, error)
            continue
        yield Example(_normalised(cloud, spec), entry.caption, entry.label, str(entry.path))
