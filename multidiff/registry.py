"""The table of media: the one place that names them. A medium is loaded when it is used."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from multidiff.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from multidiff.modality import Modality

MODALITIES: dict[str, str] = {
    "audio": "multidiff.audio.modality:AUDIO",
    "video": "multidiff.video.modality:VIDEO",
    "points": "multidiff.points.modality:POINTS",
}
"""name -> "module:object" of its Modality."""

MEDIA: dict[str, str] = {
    "Audio": "multidiff.audio.media:Audio",
    "Video": "multidiff.video.media:Video",
    "PointCloud": "multidiff.points.media:PointCloud",
}
"""Public value types, importable as `multidiff.Audio` and so on."""


def load(reference: str) -> Any:
    """The object behind "module:name"; only ever called on this page's own entries."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


@cache
def modality(name: str) -> Modality:
    """The Modality called `name`. Raises InputError naming the nearest one."""
    if name not in MODALITIES:
        raise InputError(f"unknown modality '{name}'{did_you_mean(name, list(MODALITIES))}")
    result: Modality = load(MODALITIES[name])
    return result
