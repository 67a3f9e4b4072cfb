"""Arithmetic on frames: uint8 arrays of shape (T, H, W, 3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multidiff.frames import Frames


def resized(frames: Frames, height: int, width: int) -> Frames:
    """Frames (T, height, width, 3): whole-number enlargement repeats pixels (pixel art stays crisp),
    everything else is antialiased bicubic."""
    from PIL import Image

    H, W = frames.shape[1:3]
    if (height, width) == (H, W):
        return frames
    if height % H == 0 and width % W == 0:
        return frames.repeat(height // H, axis=1).repeat(width // W, axis=2)
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), bicubic)) for f in frames])


def fitted(frames: Frames, height: int, width: int, how: Literal["crop", "pad"]) -> Frames:
    """Frames (T, height, width, 3) without distortion: the middle cut out, or black bars added."""
    if how == "crop":
        return resized(center_cropped(frames, height, width), height, width)
    return padded(frames, height, width)


def center_cropped(frames: Frames, height: int, width: int) -> Frames:
    """The largest middle part of the frames with the proportions height : width."""
    H, W = frames.shape[1:3]
    h, w = min(H, max(1, round(W * height / width))), min(W, max(1, round(H * width / height)))
    top, left = (H - h) // 2, (W - w) // 2
    return frames[:, top : top + h, left : left + w]


def padded(frames: Frames, height: int, width: int) -> Frames:
    """Frames (T, height, width, 3): as large as fits, in the middle of black bars."""
    H, W = frames.shape[1:3]
    h, w = min(height, max(1, round(H * width / W))), min(width, max(1, round(W * height / H)))
    top, left = (height - h) // 2, (width - w) // 2
    bars = ((0, 0), (top, height - h - top), (left, width - w - left), (0, 0))
    return np.pad(resized(frames, h, w), bars)


def padded_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Masks (T, height, width) beside `padded` frames: where a pixel of these holds anything of a marked one, which
    the bicubic filter reads beyond its edges. The bars are unmarked."""
    from PIL import Image

    H, W = mask.shape[1:]
    h, w = min(height, max(1, round(H * width / W))), min(width, max(1, round(W * height / H)))
    top, left = (height - h) // 2, (width - w) // 2
    if h % H == 0 and w % W == 0:
        inner = mask.repeat(h // H, axis=1).repeat(w // W, axis=2)
    else:
        levels = (Image.fromarray(each.astype(np.float32)) for each in mask)
        bicubic = Image.Resampling.BICUBIC
        inner = np.stack([np.asarray(level.resize((w, h), bicubic)) != 0 for level in levels])
    return np.pad(inner, ((0, 0), (top, height - h - top), (left, width - w - left)))
