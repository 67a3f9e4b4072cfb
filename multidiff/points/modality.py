"""Point clouds, as the rest of the house sees them. See `multidiff.modality.Modality` for the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from multidiff.errors import InputError, MediaError
from multidiff.modality import Batch, Example, Given, Objective, Spec, Trial
from multidiff.points import data as datasets
from multidiff.points import tasks
from multidiff.points.augment import PointTraining, training_batch
from multidiff.points.codec import PointCodec, PointCodecSpec, frame_of_whole
from multidiff.points.confidence import confidence
from multidiff.points.media import PointCloud
from multidiff.points.network import PointNetwork, PointNetworkSpec
from multidiff.points.tasks import MAX_POINTS, Upright

MATCHED = 2048
"""Points of two clouds that can be matched one to one in a few seconds."""


class PointOptions(Spec):
    """What can be asked of a cloud."""

    points: int = Field(2048, ge=16, le=MAX_POINTS, description="points to generate; any number, whatever the training")
    normals: bool = Field(False, description="normals too, estimated from the points; ply, npz and xyz hold them")


class Points:
    """The point-cloud modality; x is (N, 3), see `points.codec` for its frame."""

    name = "points"
    media = PointCloud
    data_spec = PointTraining
    codec_spec = PointCodecSpec
    network_spec = PointNetworkSpec
    options = PointOptions
    tasks: Mapping[str, type[Spec]] = tasks.TASKS
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
        self, media: PointCloud, task: str, task_options: Upright, codec: PointCodec, options: PointOptions
    ) -> tuple[Given, PointOptions]:
        """See `points.tasks`; x has the points that are shown and those that are made."""
        known, points = tasks.given(media, task_options, options.points, codec.spread)
        return known, options.model_copy(update={"points": points})

    def merge(self, generated: PointCloud, media: PointCloud, given: Given) -> PointCloud:
        return tasks.merged(generated, given.context)

    def confident(self, media: PointCloud, others: Sequence[PointCloud]) -> PointCloud:
        """With the confidence of its points; see `points.confidence`."""
        return replace(media, confidence=confidence(media.points, [other.points for other in others]))

    def restore(self, edited: PointCloud, media: PointCloud, codec: PointCodec) -> PointCloud:
        """In the given cloud's unit and place; edited points have no colours."""
        frame = frame_of_whole(torch.from_numpy(media.points.astype(np.float64))[None])
        x = torch.from_numpy(edited.points.astype(np.float64) / codec.spread)[None]
        return PointCloud(frame.leave(x)[0].numpy(), normals=edited.normals)

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
        return options.model_copy(update={"points": len(media)})

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
        if task != "complete":
            raise InputError(f"of the tasks of {self.name} complete is measured, not {task}")
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


POINTS = Points()
