"""How good completions are: parts of held-out shapes, and figures beside those of simpler ways to complete them.

All of it in the frame of the whole shape (`PointCloud.normalized`: radius 1), where a scan cannot be put without
knowing the shape: the model sees the part alone, while retrieval and mirroring are given the true frame and, for
mirroring, the true plane of symmetry. They are therefore stronger here than they could be on a scan.

A shape's points are halved at random: the part is cut from one half and the result is compared with the other, since
points that are both given and asked for would be at distance 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from multidiff.modality import Trial
from multidiff.points.corrupt import directions, half_space, visible
from multidiff.points.distance import chamfer_l1, chamfer_l2, f_score, nearest, tmd, uhd
from multidiff.points.media import PointCloud
from multidiff.points.sampling import Array

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

THRESHOLDS = (0.02, 0.04)
"""Of the F-score, in radii of the shape; F at 0.01 is at its floor with 2048 points."""
CAMERA = 2.5
"""Distance of the camera of a view from the shape's centre, in radii."""
FLOOR = "truth resampled"
"""The row of another sampling of the truth."""
SUREST = 0.7
"""The share of the new points that is left where the least sure of them are left out."""
SEARCHED = 512
"""Points of a part by which the nearest training shape is looked for."""


def trials(whole: PointCloud, seed: int) -> list[Trial]:
    """A view from a random side (hidden-point removal) and a half of the points on one side of a random plane.

    `context` is the half of the shape from which both are cut.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = whole.normalized()[0].points
    order = torch.randperm(len(shape), generator=generator).numpy()
    half = len(shape) // 2
    observed, truth = shape[order[:half]], shape[order[half : 2 * half]]
    direction = directions(2, generator)
    seen = visible(shape, CAMERA * direction[0].numpy())[order[:half]]
    side = half_space(torch.from_numpy(observed)[None], direction[1:], torch.tensor([0.5]))[0].numpy()
    reference, again = PointCloud(truth), PointCloud(observed)
    return [
        Trial("view", reference, PointCloud(observed[seen]), context=again),
        Trial("crop", reference, PointCloud(observed[side]), context=again),
    ]


def completion_metrics(
    of: Sequence[Trial], completions: Sequence[Sequence[PointCloud]], training: Sequence[PointCloud]
) -> dict[str, dict[str, float]]:
    """Means over trials: row -> figures, in radii of the shape.

    Rows: the completions, another sampling of the truth (the floor of every figure), the part alone, with its mirror
    image in x = 0, the training shape nearest to the part, and the part with it. Figures: `cd_l1` (mean of the
    hypotheses) and `cd_l1_best`, F-scores (means), `uhd` (0 where the part is kept), `tmd` of the
    hypotheses (its floor: that of as many samplings of the truth). Every
    result has as many points as the truth, or all it has where those are fewer.

    Where the completions tell their confidence, also with the SUREST of their new points, beside as many of them at
    random, which may be nearer to the truth, too; and `confidence`: Spearman's rank correlation of the new points'
    confidence with how near they are to the truth.
    """
    from scipy.spatial import cKDTree

    known = [cloud.normalized()[0].resample(2048, method="random").points for cloud in training]
    trees = [cKDTree(points) for points in known]
    found: dict[str, list[dict[str, float]]] = {}
    for trial, made in zip(of, completions, strict=True):
        part, truth, again = (cloud.points for cloud in (trial.given, trial.whole, trial.context))
        rows: dict[str, tuple[Sequence[Array], Array]] = {
            "completed": ([cloud.points for cloud in made], truth),
            **{name: (clouds, truth) for name, clouds in _surest(made, len(part)).items()},
            FLOOR: ([truth], again),
            "part alone": ([part], truth),
            "part + mirror image": ([np.concatenate([part, part * (-1, 1, 1)])], truth),
        }
        if known:
            shape = known[_retrieved(part, trees)]
            rows["retrieved shape"] = [shape], truth
            rows["part + retrieved shape"] = [np.concatenate([part, shape])], truth
        for name, (clouds, asked) in rows.items():
            found.setdefault(name, []).append(_figures(clouds, asked, part))
        new = slice(len(part), None)
        told = [(c.confidence[new], nearest(c.points[new], truth)) for c in made if c.confidence is not None]
        if told:
            found["completed"][-1]["confidence"] = float(np.mean([_ranked(*pair) for pair in told]))
        found[FLOOR][-1]["tmd"] = len(made) * chamfer_l2(truth, again) if len(made) > 1 else 0.0
    return {name: {key: float(np.mean([f[key] for f in rows])) for key in rows[0]} for name, rows in found.items()}


def _surest(made: Sequence[PointCloud], kept: int) -> dict[str, list[Array]]:
    """Row -> those that tell their confidence with their first `kept` points and the SUREST of the others, and with as
    many of the others at random."""
    rows: dict[str, list[Array]] = {}
    for cloud in made:
        if cloud.confidence is not None:
            random = kept + np.random.default_rng(0).permutation(len(cloud) - kept)
            surest = random[np.argsort(-cloud.confidence[random], kind="stable")]
            for name, order in (("surest", surest), ("any", random)):
                left = np.concatenate([np.arange(kept), order[: round(SUREST * len(order))]])
                rows.setdefault(f"completed, {name} {SUREST:.0%}", []).append(cloud.points[left])
    return rows


def _ranked(confidence: Array, error: Array) -> float:
    """Spearman's rank correlation of confidence and nearness; 0 where either is the same everywhere."""
    from scipy.stats import spearmanr

    if len(error) < 2 or np.ptp(confidence) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(spearmanr(confidence, -error).statistic)


def _retrieved(part: Array, trees: Sequence[cKDTree]) -> int:
    """Which shape has the least mean distance to it from the points of a part."""
    searched = _thinned(part, SEARCHED)
    return int(np.argmin([tree.query(searched)[0].mean() for tree in trees]))


def _figures(made: Sequence[Array], truth: Array, part: Array) -> dict[str, float]:
    """Figures of one trial's hypotheses against the truth (N, 3)."""
    thinned = [_thinned(points, len(truth)) for points in made]
    errors = [chamfer_l1(points, truth) for points in thinned]
    scores = {f"f_score_{t:g}": float(np.mean([f_score(p, truth, t) for p in thinned])) for t in THRESHOLDS}
    fidelity = float(np.mean([uhd(part, points) for points in made]))
    return {"cd_l1": float(np.mean(errors)), "cd_l1_best": min(errors), **scores, "uhd": fidelity, "tmd": tmd(thinned)}


def _thinned(points: Array, count: int) -> Array:
    """At most `count` of the points, at random, the same at each call."""
    return points if len(points) <= count else points[np.random.default_rng(0).permutation(len(points))[:count]]
