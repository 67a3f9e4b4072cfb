"""Small data sets on disk to evaluate with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from multidiff.audio.media import Audio
from multidiff.points.media import PointCloud
from tests.tiny import given

SUFFIX = {"audio": "wav", "video": "mkv", "points": "ply"}


def shapes(folder: Path, count: int = 8) -> tuple[str, ...]:
    """A data set of clouds, half of them held out."""
    folder.mkdir()
    for i in range(count):
        PointCloud(np.random.default_rng(i).standard_normal((160, 3))).save(folder / f"{i}.ply")
    rows = [f"{i}.ply,a <i>chair</i>,{'val' if i % 2 else 'train'}" for i in range(count)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,split", *rows]))
    return (str(folder),)


def sounds(folder: Path, labels: tuple[str, ...] = ("dog_bark",), seconds: float = 0.0) -> tuple[str, ...]:
    """A data set of sounds, all held out; of that length where it is given."""
    folder.mkdir()
    for i in range(8):
        sound = given("audio", seed=i)
        if seconds:
            sound = Audio(np.resize(sound.samples, (1, round(seconds * sound.rate))), sound.rate)
        sound.save(folder / f"{i}.wav")
    rows = [f"{i}.wav,a dog barking at 120 bpm,{labels[i // 2 % len(labels)]},val" for i in range(8)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,label,split", *rows]))
    return (str(folder),)
