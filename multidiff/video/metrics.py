"""How good generated clips are.

Nothing here is FVD: FVD needs the weights of an I3D network, and judges single frames more than motion (Ge et
al., 2404.12391). Two Frechet distances between hand-made statistics of clips say the same two things apart:

frame distance    how the pictures look: colours in a 4 x 4 grid, contrast, strength of edges.
motion distance   how they move: size of the differences between frames at several lags and places, drift,
                  jerk, flicker, evenness, and what is different when a clip runs backwards.

For Gaussians (Dowson and Landau 1982): |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); features are first divided
by the real clips' standard deviation, or by a least one (LEAST_STD, LEAST_RATIO) where they hardly vary: sprites
walk in cycles of 8 frames that repeat to the last bit, so that without it their difference at lag 8 made a noise of
one grey level score 1670 where a frozen clip scored 950 (floor 3.4; with it 11). The value depends on the features,
the size of the sample and the data, so it is only ever read beside its floor: the same distance between two halves
of the real clips. With a classifier trained by recipes/video/clips-classifier.yaml, the judge, the same distance is
taken on its features, beside the share of clips that are what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import InputError
from multidiff.modality import Example
from multidiff.video.classifier import ClipClassifier
from multidiff.video.flow import speed
from multidiff.video.frames import resized
from multidiff.video.media import Video

Array = NDArray[np.float64]
SIDE = 32
"""Statistics are taken at SIDE x SIDE pixels, whatever the size of a clip."""
SSIM_WINDOW = 11
"""Pixels; the published window."""
LAGS = (1, 2, 4, 8)
SPLITS = 8
LEAST_STD = 0.02
"""A feature that hardly varies among real clips must not drown the others."""
LEAST_RATIO = 0.3
"""The same for the logarithm of a size: changes by less than a third are no fault by themselves."""
QUIET = 1e-3
"""Added before logarithms: a change of a quarter of a grey level is no motion."""


def psnr(a: Video, b: Video) -> float:
    """Peak signal-to-noise ratio in dB over all frames; infinite for equal clips. Raises InputError."""
    x, y = _same_shape(a, b)
    error = float(np.mean((x - y) ** 2))
    return float(-10 * np.log10(error)) if error > 0 else float("inf")


def ssim(a: Video, b: Video) -> float:
    """Mean structural similarity over frames and channels (Wang et al. 2004: Gaussian window of sigma 1.5,
    11 x 11). Raises InputError for clips of different or tiny shapes."""
    from scipy.ndimage import gaussian_filter

    x, y = _same_shape(a, b)
    if min(x.shape[1:3]) < SSIM_WINDOW:
        raise InputError(f"SSIM wants frames of at least 11 x 11 pixels, not {a.width} x {a.height}")
    blur = lambda z: gaussian_filter(z, (0, 1.5, 1.5, 0), radius=(0, 5, 5, 0))
    mx, my = blur(x), blur(y)
    # Sample covariances, as in the paper: n / (n - 1) for the 11 x 11 window's n = 121.
    unbiased = 121 / 120
    vx, vy, cov = (
        unbiased * (blur(p * q) - mp * mq) for p, q, mp, mq in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    )
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(score[:, 5:-5, 5:-5].mean())


def loop_seam(video: Video) -> float:
    """The jump from the last frame to the first over the mean jump between neighbours: about 1 for a seamless
    cycle, 1 for a clip that stands still."""
    x = video.frames / 255
    jump = float(np.abs(x[0] - x[-1]).mean())
    usual = float(np.abs(np.diff(x, axis=0)).mean()) if len(x) > 1 else 0.0
    return jump / usual if usual > 0 else 1.0


def loop_metrics(videos: Sequence[Video]) -> dict[str, float]:
    """How far the seam of loops is like other places of the same clips; `metrics` has the mean of `loop_seam`.

    `loop_seam_worst`: the largest of them. `loop_rank`: the mean share of a clip's steps between neighbours that are
    larger than that across its seam, ties half: about 0.5 where it cannot be told from them, 0 where it always stands
    out.
    """
    ranks = []
    for video in videos:
        x = video.frames / 255
        steps = np.abs(np.diff(x, axis=0, append=x[:1])).mean((1, 2, 3))
        others, seam = steps[:-1], steps[-1]
        ranks.append(float(((others > seam).mean() + (others >= seam).mean()) / 2) if len(others) else 0.5)
    return {"loop_seam_worst": max(map(loop_seam, videos)), "loop_rank": float(np.mean(ranks))}


def flicker(video: Video) -> float:
    """Mean absolute second difference of the picture's brightness, in units of full white."""
    if len(video) < 3:
        return 0.0
    return float(np.abs(np.diff(video.frames.mean((1, 2, 3)) / 255, n=2)).mean())


def copy_last(known: Video, frames: int) -> Video:
    """The baseline of prediction: `frames` copies of the last known frame."""
    return Video(known.frames[-1:].repeat(frames, axis=0), known.fps)


def nearest(videos: Sequence[Video], others: Sequence[Video]) -> tuple[NDArray[np.int64], Array]:
    """For each clip the index of the most similar of `others` and the distance to it, (N,) each.

    Root mean square difference of 8 frames at 32 x 32 pixels, in units of full white: near 0 means copied. With
    `videos is others` a clip is not its own neighbour. Raises InputError when there is nothing to compare with.
    """
    from scipy.spatial.distance import cdist

    if len(others) < 1 + (videos is others):
        raise InputError("nearest wants other clips to compare with")
    flat = [np.stack([_small(v.resample(frames=8)).ravel() for v in vs]) for vs in (videos, others)]
    distances = cdist(*flat) / np.sqrt(flat[0].shape[1])
    if videos is others:
        np.fill_diagonal(distances, np.inf)
    return distances.argmin(1), distances.min(1)


def frame_features(video: Video) -> Array:
    """(60,): the looks of a clip's pictures, averaged over its frames."""
    x = _small(video)
    grid = x.reshape(len(x), 4, SIDE // 4, 4, SIDE // 4, 3).mean((2, 4))
    grey = x.mean(-1)
    edges = [_log(np.abs(np.diff(grey[:, ::k, ::k], axis=axis)).mean()) for k in (1, 2, 4) for axis in (1, 2)]
    spread = x.std((1, 2)).mean(0)
    chroma = _log(np.abs(x - x.mean(-1, keepdims=True)).mean((0, 1, 2)))
    return np.concatenate([grid.mean(0).ravel(), edges, spread, chroma])


def motion_features(video: Video) -> Array:
    """(24,): how a clip moves; see the module's page."""
    grey = _small(video).mean(-1)
    if len(grey) < 3:
        grey = grey.repeat(3, axis=0)
    T = len(grey)
    steps = np.diff(grey, axis=0)
    energy = np.abs(steps).mean((1, 2))
    at_lags = [_log(np.abs(grey[k:] - grey[:-k]).mean()) for k in (min(lag, T - 1) for lag in LAGS)]
    half = SIDE // 2
    places = _log(np.abs(steps).reshape(T - 1, 2, half, 2, half).mean((0, 2, 4))).ravel()
    jerk = _log(np.abs(np.diff(grey, n=2, axis=0)).mean())
    evenness = [_log(energy.std()), _log(energy.min()), _log(np.abs(np.diff(energy)).mean())]
    light = grey.mean((1, 2))
    flickers = [_log(np.abs(np.diff(light)).mean()), _log(np.abs(np.diff(light, n=2)).mean())]
    # Least-squares velocity of the brightness constancy equation, one axis at a time (Horn and Schunck 1981).
    middle = (grey[1:] + grey[:-1]) / 2
    drift = []
    for axis in (1, 2):
        slope = np.gradient(middle, axis=axis)
        drift.append(-(steps * slope).mean() / (QUIET**2 + (slope**2).mean()))
    # These change their sign when the clip runs backwards.
    clock = np.linspace(-1, 1, T)
    contrast = grey.std((1, 2))
    skew = (steps**3).mean() / (QUIET**2 + (steps**2).mean()) ** 1.5
    arrow = [
        skew,
        (clock * light).mean(),
        (clock * contrast).mean(),
        (clock[1:] * energy).mean() / (QUIET + energy.mean()),
    ]
    rise = np.diff(energy)
    arrow.append((rise**3).mean() / (QUIET**2 + (rise**2).mean()) ** 1.5)
    travel = [np.abs(drift[0]), np.abs(drift[1])]
    return np.concatenate([at_lags, places, [jerk], evenness, flickers, drift, travel, arrow, [_log(energy.max())]])


def frechet(a: Array, b: Array) -> float:
    """Frechet distance between Gaussians fitted to features a (N, D) and b (M, D)."""
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(ca)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ cb @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * overlap)


def distance_and_floor(real: Array, generated: Array) -> tuple[float, float]:
    """Frechet distance of generated (M, D) to real (N, D) features, and of real to real, both between samples
    of the same size n = min(M, N // 2) and averaged over random splits of the real ones."""
    scale = np.maximum(real.std(0), LEAST_STD)
    real, generated = real / scale, generated / scale
    n = min(len(generated), len(real) // 2)
    random = np.random.Generator(np.random.Philox(key=0))
    pairs = []
    for _ in range(SPLITS):
        order = random.permutation(len(real))
        first, second = real[order[:n]], real[order[n : 2 * n]]
        drawn = generated[random.permutation(len(generated))[:n]]
        pairs.append((frechet(first, drawn), frechet(first, second)))
    distance, floor = np.mean(pairs, axis=0)
    return float(distance), float(floor)


def metrics(real: Sequence[Video], generated: Sequence[Video]) -> dict[str, float]:
    """All that needs no prompt, each beside what real clips score. Raises InputError for fewer than 4 real or
    2 generated clips."""
    if len(real) < 4 or len(generated) < 2:
        raise InputError(
            f"video metrics want at least 4 real and 2 generated clips, not {len(real)} and {len(generated)}"
        )
    result: dict[str, float] = {"clips": float(min(len(generated), len(real) // 2))}
    for name, features in (("frame_distance", frame_features), ("motion_distance", motion_features)):
        pair = [np.stack([features(v) for v in videos]) for videos in (real, generated)]
        result[name], result[f"{name}_floor"] = distance_and_floor(*pair)
    for name, measure in (("flicker", flicker), ("loop_seam", loop_seam), ("flow_speed", speed)):
        result[name] = float(np.mean([measure(v) for v in generated]))
        result[f"{name}_real"] = float(np.mean([measure(v) for v in real]))
    result["nearest"] = float(np.mean(nearest(generated, real)[1]))
    result["nearest_real"] = float(np.mean(nearest(real, real)[1]))
    return result


def judged(judge: ClipClassifier, real: Sequence[Example], generated: Sequence[Example]) -> dict[str, float]:
    """What the judge finds of generated clips against real ones, of those that are asked to be of its classes; nothing
    where fewer than two of either are, as it can say nothing of what it does not know.

    `frame_embedding_frechet`: the Frechet distance between its features of single frames, each frame a sample: how the
    pictures look. `clip_embedding_frechet`: between those of whole clips, which also see the frames' order. Both grow
    as sets shrink, and are only read beside their floor, real against real, and faults. `<column>_accuracy`: the
    judge's `agreement` with what was asked for. Raises InputError for a judge that is no classifier.
    """
    if not isinstance(judge, ClipClassifier):
        raise InputError("the judge is no classifier; train one by recipes/video/clips-classifier.yaml")
    asked = [[(each.media, told) for each in of if (told := judge.asked_for(each))] for of in (real, generated)]
    if min(map(len, asked)) < 2:
        return {}
    (real_clips, real_frames), (clips, frames) = (judge.watched([clip for clip, _ in of]) for of in asked)
    rows = lambda embeddings: embeddings.double().cpu().numpy()
    return {
        "frame_embedding_frechet": frechet(rows(real_frames), rows(frames)),
        "clip_embedding_frechet": frechet(rows(real_clips), rows(clips)),
        **judge.agreement(clips, [told for _, told in asked[1]]),
    }


def _log(size: Array | np.floating) -> Array:
    """The logarithm of a size, in units of which LEAST_STD is a change by LEAST_RATIO."""
    return np.asarray(LEAST_STD / LEAST_RATIO * np.log(QUIET + size))


def _small(video: Video) -> Array:
    """(T, SIDE, SIDE, 3) in [0, 1]."""
    return resized(video.frames, SIDE, SIDE) / 255


def _same_shape(a: Video, b: Video) -> tuple[Array, Array]:
    if a.frames.shape != b.frames.shape:
        raise InputError(f"clips of different shapes cannot be compared: {a!r} and {b!r}")
    return a.frames / 255, b.frames / 255
