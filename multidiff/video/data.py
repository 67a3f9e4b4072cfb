"""Folders of films -> clips of one size and length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from multidiff.dataset import SKIPPED, SYNTH, DataSpec, Entry, entries, select
from multidiff.errors import MediaError
from multidiff.modality import Example
from multidiff.video.decode import decode
from multidiff.video.frames import fitted
from multidiff.video.media import Video
from multidiff.video.synth import scene
from multidiff.video.tasks import PARTS, Part


class VideoData(DataSpec):
    """A recipe's `data` for video."""

    frames: int = Field(16, gt=0, description="frames of a clip")
    size: int = Field(64, ge=8, description="height and width in pixels")
    fit: Literal["crop", "pad"] = Field("crop", description="how other proportions become square")
    fps: float | None = Field(None, gt=0, description="frames per second to resample to; null: each file's own")
    stride: int = Field(1, gt=0, description="take every n-th frame")
    clips: int = Field(1, gt=0, description="at most so many clips, evenly spread, from one file")
    loop: bool = Field(False, description="each file is one cycle: all of it is resampled to `frames`")
    flip: bool = Field(False, description="mirror half of the clips; not where captions say left and right")
    turn: bool = Field(False, description="turn clips by random quarter turns; not where up and down differ")
    known: float = Field(0.5, ge=0, le=1, description="share of training clips of which a part is given")
    parts: tuple[Part, ...] = Field(
        PARTS, min_length=1, description="which: the first frames, both ends, any frames, all around a box"
    )
    window: int | None = Field(None, gt=0, description="train on so many frames of a clip; 1: on pictures")
    pictures: float = Field(0.0, ge=0, le=1, description="share of training batches of single frames, beside clips")
    low: int | None = Field(
        None, gt=0, description="tell each clip in so many pixels a side: to learn to make small ones large"
    )
    count: int = Field(2000, gt=0, description="synth: how many clips, validation included")

    @model_validator(mode="after")
    def _enlarges(self) -> VideoData:
        if self.low and (self.size % self.low or self.low == self.size):
            raise ValueError(f"size {self.size} must be a multiple, 2 or more times, of low {self.low}")
        return self


def examples(spec: VideoData, split: str) -> Iterator[Example]:
    """Clips (frames, size, size, 3) of a split, in a fixed order; bad files go to `dataset.SKIPPED`.

    Raises InputError for a folder that is missing or holds no film.
    """
    for root in spec.root:
        if root == SYNTH:
            yield from _synthetic(spec, split)
            continue
        for entry in entries(root, Video.suffixes, spec, split):
            try:
                clips = clips_of(entry, spec)
            except MediaError as error:
                SKIPPED.add(entry.path, error)
                continue
            for clip in clips:
                yield Example(clip, entry.caption, entry.label, str(entry.path), fields=entry.fields)


def clips_of(entry: Entry, spec: VideoData) -> list[Video]:
    """The clips cut out of one file. Raises MediaError for a bad file or one that is too short."""
    whole = Video(*decode(entry.path, lambda frame: fitted(frame, spec.size, spec.size, spec.fit)))
    if spec.loop:
        return [whole.resample(frames=spec.frames)]
    played = whole if spec.fps is None else whole.resample(fps=spec.fps)
    played = Video(played.frames[:: spec.stride], played.fps / spec.stride)
    room = len(played) - spec.frames
    if room < 0:
        raise MediaError(f"{entry.path}: gives {len(played)} frames where a clip has {spec.frames}; lower data.frames")
    count = min(spec.clips, len(played) // spec.frames)
    starts = np.linspace(0, room, count).astype(int)
    return [Video(played.frames[s : s + spec.frames], played.fps) for s in starts]


def _synthetic(spec: VideoData, split: str) -> Iterator[Example]:
    from pathlib import Path

    scenes = [scene(index) for index in range(spec.count)]
    found = [Entry(Path(f"synth-{i}"), s.text, s.motion, s.fields) for i, s in enumerate(scenes)]
    for entry in select(found, spec, split):
        drawn = scenes[int(entry.path.name.removeprefix("synth-"))].render(spec.frames, spec.size)
        yield Example(drawn, entry.text, entry.label, entry.path.name, fields=entry.fields)
