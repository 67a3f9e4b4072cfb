"""Prediction by optical flow: the picture goes on moving as it last moved.

The baseline that nowcasting of rain is measured against (Germann and Zawadzki 2002, "Scale-dependence of the
predictability of precipitation from continental radar images"; pysteps' `extrapolation`): estimate the motion from
the last frames, hold it still, and trace every pixel back along it. Nothing grows, decays or turns up behind the edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import InputError
from multidiff.video.flow import flows
from multidiff.video.media import Video

Field = NDArray[np.float64]
PAIRS = 3
"""At most so many last steps are averaged to the motion."""
RADIUS = 7
"""Of the window that moves as one, in pixels."""


def advected(known: Video, frames: int) -> Video:
    """The `frames` frames that would follow. Raises InputError for fewer than two known ones."""
    from scipy.ndimage import map_coordinates

    if len(known) < 2:
        raise InputError("the motion of 1 frame cannot be known; give at least 2")
    flow = motion(known)
    grid = np.indices(flow.shape[1:]).astype(float)
    last = known.frames[-1].astype(float)
    back, made = np.zeros_like(flow), []
    for _ in range(frames):
        # Semi-Lagrangian: the motion is that of where a pixel comes from, not of where it arrives.
        back = back + np.stack([map_coordinates(v, grid - back, order=1, mode="nearest") for v in flow])
        moved = [map_coordinates(last[..., c], grid - back, order=1, mode="nearest") for c in range(3)]
        made.append(np.stack(moved, -1))
    return Video(np.round(made).clip(0, 255).astype(np.uint8), known.fps)


def motion(known: Video) -> Field:
    """Pixels per frame (2, H, W), down and right: the mean flow of the last pairs of frames."""
    return np.asarray(flows(known.frames[-PAIRS - 1 :].mean(-1) / 255, RADIUS).mean(axis=0))
