"""Image: the value type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image as Pillow

from multidiff.errors import MediaError
from multidiff.files import readable, written_whole


class Image:
    """A grey picture (H, W) float32 in [-1, 1]."""

    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    formats: ClassVar[tuple[str, ...]] = ("png",)

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = np.asarray(pixels, np.float32)

    def __repr__(self) -> str:
        return f"Image({self.pixels.shape[1]} x {self.pixels.shape[0]})"

    @classmethod
    def read(cls, path: str | Path) -> Image:
        path = readable(path, "a picture")
        try:
            return cls(np.asarray(Pillow.open(path).convert("L"), np.float32) / 127.5 - 1)
        except OSError:
            raise MediaError(f"{path}: not a picture; give a PNG") from None

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        with written_whole(path) as temporary:
            Pillow.fromarray(np.uint8(np.round((self.pixels.clip(-1, 1) + 1) * 127.5))).save(temporary)
        return Path(path)
