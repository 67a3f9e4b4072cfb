"""Point clouds, as the rest of the house sees them. See `multidiff.modality.Modality` for the contract."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from multidiff.errors import InputError, MediaError, Notice
from multidiff.modality import Batch, Example, Given, Objective, Spec, Trial
from multidiff.points import data as datasets
from multidiff.points.augment import PointTraining, training_batch
from multidiff.points.codec import Frame, PointCodec, PointCodecSpec, frame_of_part, frame_of_whole
from multidiff.points.media import UP, Axis, PointCloud
from multidiff.points.network import PointNetwork, PointNetworkSpec
from multidiff.points.sampling import strays

MAX_POINTS = 131_072
MATCHED = 2048
"""Points of two clouds that can be matched one to one in a few seconds."""


class PointOptions(Spec):
    """What can be asked of a cloud."""

    points: int = Field(2048, ge=16, le=MAX_POINTS, description="points to generate; any number, whatever the training")


class CompletePart(Spec):
    """A part is given, the whole shape is wanted."""

    known: int = Field(
        128, ge=16, le=16_384, description="given points shown to the model, evenly spread; all are kept"
    )
    outliers: Literal["keep", "drop"] = Field(
        "keep", description="drop: leave out given points that lie apart from the others, and say how many"
    )
    up: Axis = Field("y", description="axis of the file that points up: x, y, z, -x, -y or -z")


class Observation(NamedTuple):
    """What `merge` needs: the given part that is kept, the rotation (3, 3) that sets it upright, its frame then, and
    how many of its points the model was shown."""

    part: PointCloud
    upright: NDArray[np.float64]
    frame: Frame
    known: int
    spread: float


class Points:
    """The point-cloud modality; x is (N, 3), see `points.codec` for its frame."""

    name = "points"
    media = PointCloud
    data_spec = PointTraining
    codec_spec = PointCodecSpec
    network_spec = PointNetworkSpec
    options = PointOptions
    tasks: Mapping[str, type[Spec]] = {"complete": CompletePart}
    time_axis = None

    def examples(self, data: PointTraining, split: str) -> Iterator[Example]:
        return datasets.examples(data, split)

    def prepare(self, example: Example, data: PointTraining, codec: PointCodec) -> dict[str, Tensor]:
        """`points` (P, 3) float16 in the unit sphere: steps of 2^-11 at most, a thousandth of the spread."""
        cloud = example.media.normalized()[0].resample(data.points, method="random")
        return {"points": torch.from_numpy(cloud.points).half()}

    def codec(self, spec: PointCodecSpec) -> PointCodec:
        return PointCodec(spec)

    def network(self, spec: PointNetworkSpec, codec: PointCodec) -> PointNetwork:
        return PointNetwork(spec)

    def batch(
        self, rows: dict[str, Tensor], codec: PointCodec, data: PointTraining, generator: torch.Generator
    ) -> Batch:
        return training_batch(rows["points"], data, generator)

    def objectives(self, codec: PointCodec, data: PointTraining) -> Mapping[str, Objective]:
        return {}

    def event_shape(self, codec: PointCodec, options: PointOptions) -> tuple[int, ...]:
        return (options.points, 3)

    def extra_condition(self, codec: PointCodec, options: PointOptions, count: int) -> dict[str, Tensor]:
        return {}

    def clamp(self, x0: Tensor, codec: PointCodec) -> Tensor:
        """Coordinates have no bounds."""
        return x0

    def given(
        self, media: PointCloud, task: str, task_options: CompletePart, codec: PointCodec, options: PointOptions
    ) -> tuple[Given, PointOptions]:
        """The part's own frame, and an even subset of it as the first points of x; the others cover the whole.

        x has `known + options.points` points.
        """
        if task_options.outliers == "drop":
            media = _without_strays(media)
        known = min(task_options.known, len(media))
        upright = UP[task_options.up]
        shown = torch.from_numpy(media.resample(known).points.astype(np.float64) @ upright.T)[None]
        frame = frame_of_part(shown, torch.ones(1, known, dtype=torch.bool))
        total = known + options.points
        x = torch.zeros(1, total, 3)
        x[:, :known] = frame.enter(shown)
        mask = torch.zeros(1, total, 1)
        mask[:, :known] = 1
        return Given(x, mask, context=Observation(media, upright, frame, known, codec.spread)), options.model_copy(
            update={"points": total}
        )

    def merge(self, generated: PointCloud, media: PointCloud, given: Given) -> PointCloud:
        """Every given point that is kept, with its colour, then the generated ones where none is given, in its unit.

        A generated point is left out when a given one is nearer to it than generated points are to each other
        (the median): there the surface is covered already. New points take the colour of the nearest given one.
        Normals are left out.
        """
        from scipy.spatial import cKDTree

        seen: Observation = given.context
        part = seen.part
        new = torch.from_numpy(generated.points[seen.known :].astype(np.float64) / seen.spread)[None]
        points = seen.frame.leave(new)[0].numpy() @ seen.upright
        spacing = np.median(cKDTree(points).query(points, k=2)[0][:, 1])
        distance, nearest = cKDTree(part.points).query(points)
        added = distance > spacing
        colors = None if part.colors is None else np.concatenate([part.colors, part.colors[nearest[added]]])
        return PointCloud(np.concatenate([part.points, points[added]]), colors)

    def restore(self, edited: PointCloud, media: PointCloud, codec: PointCodec) -> PointCloud:
        """In the given cloud's unit and place; edited points have no colours."""
        frame = frame_of_whole(torch.from_numpy(media.points.astype(np.float64))[None])
        x = torch.from_numpy(edited.points.astype(np.float64) / codec.spread)[None]
        return PointCloud(frame.leave(x)[0].numpy())

    def alike(self, first: PointCloud, last: PointCloud) -> tuple[PointCloud, PointCloud]:
        """As many points of both, at most MATCHED, each of the last beside the one of the first that it is matched to:
        the least sum of squared distances, both in their own frames."""
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        count = min(len(first), len(last), MATCHED)
        first, last = (cloud if len(cloud) == count else cloud.resample(count) for cloud in (first, last))
        cost = cdist(first.normalized()[0].points, last.normalized()[0].points, "sqeuclidean")
        return first, last.select(linear_sum_assignment(cost)[1])

    def options_of(self, media: PointCloud, options: PointOptions) -> PointOptions:
        """As many points as the given cloud has. Raises MediaError for more than can be generated."""
        if len(media) > MAX_POINTS:
            raise MediaError(f"{len(media)} points are too many to edit; resample the cloud to at most {MAX_POINTS}")
        return PointOptions(points=len(media))

    def metrics(self, real: Sequence[PointCloud], generated: Sequence[PointCloud]) -> dict[str, float]:
        from multidiff.points.metrics import metrics

        return metrics(real, generated)

    def thorough(self, real: Sequence[PointCloud], generated: Sequence[PointCloud]) -> dict[str, float]:
        from multidiff.points.metrics import thorough

        return thorough(real, generated)

    def memorisation(self, training: Sequence[PointCloud], media: Sequence[PointCloud]) -> dict[str, float]:
        from multidiff.points.metrics import memorisation

        return memorisation(training, media)

    def trials(self, whole: PointCloud, task: str, seed: int, options: Mapping[str, Any]) -> Sequence[Trial]:
        if options:
            raise InputError(f"completions of {self.name} are measured under options of their own, not {dict(options)}")
        from multidiff.points.completion import trials

        return trials(whole, seed)

    def completion_metrics(
        self, trials: Sequence[Trial], completions: Sequence[Sequence[PointCloud]], training: Sequence[PointCloud]
    ) -> dict[str, dict[str, float]]:
        from multidiff.points.completion import completion_metrics

        return completion_metrics(trials, completions, training)

    def plot(self, media: PointCloud, path: str | Path, title: str = "", given: PointCloud | None = None) -> Path:
        from multidiff.points.distance import nearest
        from multidiff.points.plot import marked, plot

        if given is not None:
            media = marked(media, nearest(media.points, given.points) <= 1e-6 * np.ptp(media.points))
        return plot(media, path, title)


def _without_strays(cloud: PointCloud) -> PointCloud:
    """The cloud without the points that lie apart; a Notice says how many."""
    apart = strays(cloud.points)
    warnings.warn(f"{apart.sum()} of {len(cloud)} given points lie apart and are left out", Notice, stacklevel=2)
    return cloud.select(~apart)


POINTS = Points()
