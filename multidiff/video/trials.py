"""How good predicted and filled-in frames are: held-out clips with frames taken out, and figures beside simple ways.

Many futures are right where only one came true, so that a mean over hypotheses rewards blur. Each figure is
therefore also that of the best of k futures, and CRPS judges the k together: it is least for an ensemble from which
the truth might have been drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multidiff.errors import InputError
from multidiff.frames import Frames
from multidiff.modality import Trial
from multidiff.video import nowcast
from multidiff.video.advection import advected
from multidiff.video.ensemble import crps, rank_histogram, spread_skill
from multidiff.video.media import Video
from multidiff.video.metrics import SSIM_WINDOW, copy_last, psnr, ssim

FEW = 4
"""Frames given, where not half of the clip is."""
ROUNDED = 10 * np.log10(12 * 255**2)
"""PSNR of an error that rounding to 8 bits hides, dB: more is not counted, and equal frames have no more."""


def trials(whole: Video, task: str) -> list[Trial]:
    """To predict, the first FEW frames and the first half are given; to interpolate, the first and the last frame.

    `context`: the slice of the frames that were not given. None of clips too short to leave any. Raises InputError
    for other tasks, and frames too small to be measured.
    """
    if task not in ("predict", "interpolate"):
        raise InputError(f"completions by '{task}' are not measured; take --task predict or interpolate")
    if min(whole.height, whole.width) < SSIM_WINDOW:
        raise InputError(
            f"completions are measured on frames of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, "
            f"not {whole.width} x {whole.height}"
        )
    length = len(whole)
    if task == "interpolate":
        given, new = Video(whole.frames[[0, -1]], whole.fps), slice(1, length - 1)
        return [Trial("between", whole, given, {"keep": 1, "frames": length}, new)] if length > 2 else []
    return [
        Trial(
            *(f"after-{keep}", whole, Video(whole.frames[:keep], whole.fps), {"keep": keep, "frames": length}),
            slice(keep, length),
        )
        for keep in sorted({min(FEW, length // 2), length // 2} - {0})
    ]


def completion_metrics(
    of: Sequence[Trial], completions: Sequence[Sequence[Video]], training: Sequence[Video]
) -> dict[str, dict[str, float]]:
    """Means over trials: row -> figures of the frames that were not given.

    Rows: the completions and simpler ways, which are ensembles of one. To predict: the last given frame again
    ("persistence"), optical flow ("advection"; also that of "pysteps", where it is installed) and what followed in the
    training clip that begins most like it ("analogue", Lorenz 1969). To interpolate: the nearer end, and both blended
    in proportion to time.

    `psnr` (dB), `ssim`: means over hypotheses, `_best`: of the best of them. `mse`: mean over hypotheses, in units of
    white squared (papers on Moving MNIST give 4096 times it). `crps`: in units of white; of one hypothesis its mean
    absolute error. `spread_skill`: 1 for an honest ensemble, below for one too sure of itself. `outside`: how often the
    truth is beyond all hypotheses, over 2/(k + 1), the share that it would be beyond honest ones (the ends of the rank
    histogram); 1 for one hypothesis. `rank/0`, ... `rank/k`, of several: the whole histogram, how often the truth is
    above so many of them, times k + 1; all are 1 for honest ones.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for trial, made in zip(of, completions, strict=True):
        new: slice = trial.context
        rows = {"completed": [video.frames[new] for video in made]}
        rows |= {name: [frames] for name, frames in _simple(trial, training).items()}
        truth = Video(trial.whole.frames[new], trial.whole.fps)
        for name, frames in rows.items():
            found.setdefault(name, []).append(_figures([Video(f, truth.fps) for f in frames], truth))
    return {name: {key: float(np.mean([f[key] for f in rows])) for key in rows[0]} for name, rows in found.items()}


def _simple(trial: Trial, training: Sequence[Video]) -> dict[str, Frames]:
    """Name -> the frames that were not given, as simpler ways would have them."""
    given: Video = trial.given
    whole, new = trial.whole, trial.context
    count = new.stop - new.start
    if new.stop < len(whole):
        ends = given.frames.astype(float)
        share = (np.arange(1, count + 1) / (count + 1))[:, None, None, None]
        blended = (1 - share) * ends[:1] + share * ends[1:]
        return {
            "nearer end": given.frames[(share.ravel() > 0.5).astype(int)],
            "blend": np.round(blended).astype(np.uint8),
        }
    rows = {"persistence": copy_last(given, count).frames}
    if len(given) > 1:
        rows["advection"] = advected(given, count).frames
        if nowcast.installed():
            rows["pysteps"] = nowcast.extrapolated(given, count).frames
    alike = [clip.frames for clip in training if clip.frames.shape == whole.frames.shape]
    if alike:
        errors = [np.square(clip[: new.start] / 255 - given.frames / 255).mean() for clip in alike]
        rows["analogue"] = alike[int(np.argmin(errors))][new]
    return rows


def _figures(made: Sequence[Video], truth: Video) -> dict[str, float]:
    """Figures of one trial's hypotheses."""
    levels, similar = [min(psnr(video, truth), ROUNDED) for video in made], [ssim(video, truth) for video in made]
    members, true = np.stack([video.frames / 255 for video in made]), truth.frames / 255
    ranks = rank_histogram(members, true) * (len(made) + 1)
    return {
        "psnr": float(np.mean(levels)),
        "psnr_best": max(levels),
        "ssim": float(np.mean(similar)),
        "ssim_best": max(similar),
        "mse": float(np.square(members - true).mean()),
        "crps": float(crps(members, true).mean()),
        "spread_skill": spread_skill(members, true),
        "outside": float(ranks[[0, -1]].mean()),
        **({f"rank/{rank}": float(share) for rank, share in enumerate(ranks)} if len(made) > 1 else {}),
    }
