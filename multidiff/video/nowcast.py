"""Prediction of rain as pysteps makes it, where it is installed: another's optical flow to compare with.

Pulkkinen et al. 2019, "Pysteps: an open-source Python library for probabilistic precipitation nowcasting (v1.0)".
Motion by variational echo tracking (Laroche and Zawadzki 1995; Germann and Zawadzki 2002), semi-Lagrangian
extrapolation. What comes from outside the picture is the last frame's least level: no rain. pysteps' dense Lucas-Kanade
method would need OpenCV besides.
"""

from __future__ import annotations

import contextlib
import io
from importlib.util import find_spec

import numpy as np

from multidiff.video.media import Video

SCANS = 3
"""Last frames that the motion is estimated of; the tracking takes no more."""


def installed() -> bool:
    """Whether pysteps is."""
    return find_spec("pysteps") is not None


def extrapolated(known: Video, frames: int) -> Video:
    """The `frames` frames that would follow at least two known ones."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its configuration lies
        from pysteps.extrapolation.semilagrangian import extrapolate
        from pysteps.motion.vet import vet
    velocity = vet(known.frames[-SCANS:].mean(-1), verbose=False)
    last = known.frames[-1].astype(float)
    made = np.stack([extrapolate(last[..., c], velocity, frames, outval="min") for c in range(3)], -1)
    return Video(np.round(made).clip(0, 255).astype(np.uint8), known.fps)
