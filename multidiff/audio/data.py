"""Sounds to train on: folders of files, or procedural ones, as captioned clips of one rate and bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from multidiff import dataset
from multidiff.audio import synth
from multidiff.audio.media import Audio, usable
from multidiff.dataset import DataSpec, Entry
from multidiff.errors import MediaError
from multidiff.modality import Example

MIN_CLIP = 0.5
"""Seconds below which the end of a long file is not worth a clip of its own."""
QUIET = 0.01
"""A window of a long file whose peak is this far below the file's does not hold what the caption says."""


class AudioData(DataSpec):
    """The `data` section of an audio recipe."""

    rate: int = Field(22050, ge=4000, le=192_000, description="Hz; files are resampled to it")
    channels: Literal[1, 2] = Field(1, description="mono or stereo")
    seconds: float = Field(4.0, gt=0, le=600, description="longest clip; longer files become several clips")
    peak: float | None = Field(0.9, gt=0, le=1, description="scale each file to this peak; null keeps its level")
    items: int = Field(1000, gt=1, description="procedural sounds, training and validation together")


def examples(spec: AudioData, split: str) -> Iterator[Example]:
    """Captioned clips of at most `spec.seconds`, in a fixed order.

    The split "val" of procedural data is every tenth sound. Files that cannot be used are reported to
    `dataset.SKIPPED`. Raises InputError where a folder is missing or holds no sound file.
    """
    for root in spec.root:
        if root == dataset.SYNTH:
            chosen = [index for index in range(spec.items) if (index % 10 == 9) == (split == "val")]
            yield from (synth.example(index, spec.rate, spec.seconds) for index in chosen[: spec.limit])
            continue
        for entry in dataset.entries(root, Audio.suffixes, spec, split):
            try:
                yield from _clips(entry, spec)
            except MediaError as error:
                dataset.SKIPPED.add(entry.path, error)


def _clips(entry: Entry, spec: AudioData) -> Iterator[Example]:
    """Consecutive windows of one file, without the padding that `active_s` declares and without quiet windows."""
    audio = Audio.read(entry.path).remix(spec.channels)
    audio = audio.cut(0.0, _active_seconds(entry, audio.seconds)).resample(spec.rate)
    usable(audio, entry.path)
    if spec.peak is not None:
        audio = Audio(audio.samples * (spec.peak / audio.peak), audio.rate)
    size = round(spec.seconds * spec.rate)
    for start in range(0, audio.samples.shape[1], size):
        clip = Audio(audio.samples[:, start : start + size], spec.rate)
        if clip.peak < QUIET * audio.peak or (start > 0 and clip.seconds < MIN_CLIP):
            continue
        source = f"{entry.path}@{start / spec.rate:g}s" if start else str(entry.path)
        yield Example(clip, entry.caption, entry.label, source, start / spec.rate)


def _active_seconds(entry: Entry, seconds: float) -> float:
    """Where the metadata column `active_s` says that padding begins, else the whole length."""
    try:
        active = float(entry.fields.get("active_s") or seconds)
    except ValueError:
        raise MediaError(f"{entry.path}: metadata column active_s is no number; correct or remove it") from None
    return active if 0 < active < seconds else seconds
