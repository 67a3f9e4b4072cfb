"""How the content of clips moves, by optical flow.

The iterative Lucas-Kanade method over a pyramid (Le Besnerais and Champagnat 2005, "Dense optical flow by iterative
local window registration"), as scikit-image has it. Flow is only known where a picture has texture, and only matters
where it changes, so that means over a picture are weighted by |I(t + 1) - I(t)|. Over time the median is taken: what
leaves the picture and comes back on the other side seems to fly across it. A character that walks on the spot has flow
in all directions, and its mean says little of where it faces.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from multidiff.video.frames import resized
from multidiff.video.media import Video

Array = NDArray[np.float64]
SIDE = 32
"""Clips are looked at in SIDE x SIDE pixels."""
RADIUS = 6
"""Of the window that moves as one, in these pixels."""
WARPS = 4


def flows(grey: Array, radius: int, warps: int = 10) -> Array:
    """Of frames (T, H, W), pixels per frame (T - 1, 2, H, W), down and right."""
    from skimage.registration import optical_flow_ilk

    # It yields where each pixel of its first argument is found in the second: backwards, hence the sign.
    each = [-optical_flow_ilk(b, a, radius=radius, num_warp=warps, dtype=np.float64) for a, b in pairwise(grey)]
    return np.nan_to_num(np.array(each).reshape(-1, 2, *grey.shape[1:]))


def drift(video: Video) -> tuple[Array, float]:
    """The velocity (2,), down and right, and the speed of what changes, in picture widths per frame; zeros for a clip
    that stands still."""
    grey = resized(video.frames, SIDE, SIDE).mean(-1) / 255
    weight = np.abs(np.diff(grey, axis=0))
    if not weight.any():
        return np.zeros(2), 0.0
    field = flows(grey, RADIUS, WARPS) / SIDE
    total = weight.sum((1, 2))
    changing = total > 0
    mean = lambda values: (values * weight).sum((-2, -1))[..., changing] / total[changing]
    velocity = np.median(mean(field.swapaxes(0, 1)), axis=-1)
    return velocity, float(np.median(mean(np.hypot(field[:, 0], field[:, 1]))))


def speed(video: Video) -> float:
    """See `drift`."""
    return drift(video)[1]


def way(velocity: Array) -> str:
    """The nearest of left, right, up and down to a velocity (2,), down and right; empty for none."""
    down, right = velocity
    if not velocity.any():
        return ""
    if abs(down) > abs(right):
        return "down" if down > 0 else "up"
    return "right" if right > 0 else "left"
