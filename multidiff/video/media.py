"""Video: a clip in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np

from multidiff.errors import InputError, MediaError
from multidiff.frames import FORMATS, Frames, encode
from multidiff.video.decode import decode
from multidiff.video.frames import fitted, resized

__all__ = ["Video"]


@dataclass(frozen=True, eq=False, repr=False)
class Video:
    """Frames (T, H, W, 3), uint8 RGB, shown at a constant rate `fps` (frames per second).

    A CPU tensor is accepted and becomes an array. Raises MediaError for any other type or shape.
    """

    frames: Frames
    fps: float = 8.0

    suffixes: ClassVar[tuple[str, ...]] = (
        *(".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi", ".mpg", ".mpeg", ".ogv", ".flv", ".wmv", ".ts", ".gif"),
        *(".png", ".apng", ".jpg", ".jpeg", ".webp", ".bmp"),
    )
    formats: ClassVar[tuple[str, ...]] = FORMATS

    def __post_init__(self) -> None:
        frames = np.asarray(self.frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise MediaError(f"video frames must be uint8 of shape (T, H, W, 3), not {frames.dtype} {frames.shape}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise MediaError(f"a video's fps must be positive, not {self.fps}")
        object.__setattr__(self, "frames", np.ascontiguousarray(frames))
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"Video({len(self)} frames of {self.width}x{self.height}, {self.fps:g} fps, {self.seconds:.2f} s)"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Any file PyAV or Pillow decodes, or a folder of pictures; a still picture is a video of one frame.

        Turned as its metadata says; uneven frame times become even by repeating frames. Raises MediaError.
        """
        return cls(*decode(path))

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write mp4, webm, gif, mkv or apng (both lossless), png (one frame), or a folder of frames, by the suffix; see
        `encode` for what each keeps.

        `decode.read_tags` reads `tags` back. Raises InputError, MultidiffError.
        """
        return encode(self.frames, self.fps, path, tags or {})

    def resample(self, fps: float | None = None, frames: int | None = None) -> Video:
        """The same seconds at another rate, or with another number of frames: each new frame is the one that
        was shown at its time. Give exactly one. Raises InputError."""
        if (fps is None) == (frames is None):
            raise InputError("resample wants either fps or frames")
        count = frames if frames is not None else max(1, round(self.seconds * (fps or 0)))
        if count < 1 or (fps is not None and fps <= 0):
            raise InputError("resample wants a positive fps or number of frames")
        rate = fps if fps is not None else count / self.seconds
        # 1e-6: a time that falls on a frame's start up to rounding shows that frame.
        shown = np.floor(np.arange(count) * self.fps / rate + 1e-6).astype(np.int64)
        return Video(self.frames[shown.clip(max=len(self) - 1)], rate)

    def resize(self, height: int, width: int) -> Video:
        """Nearest for whole-number enlargement (pixel art stays crisp), else antialiased bicubic."""
        if height < 1 or width < 1:
            raise InputError(f"a video cannot have {width}x{height} pixels")
        return Video(resized(self.frames, height, width), self.fps)

    def fit(self, height: int, width: int, how: Literal["crop", "pad"] = "crop") -> Video:
        """Resized without distortion: the middle is cut out ("crop") or black bars are added ("pad")."""
        if height < 1 or width < 1:
            raise InputError(f"a video cannot have {width}x{height} pixels")
        return Video(fitted(self.frames, height, width, how), self.fps)
