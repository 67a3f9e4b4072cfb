"""How good filled gaps and continuations are: held-out sounds with a part taken out, and figures beside simple ways.

Repeating what lies before gets the same crossfades and level as the model (`completion.merge`). Another rain is as good
as the true one and yet far from it in log-spectral distance, so that one compares ways, and has no small value that
says "good".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from multidiff.audio.completion import Extend, Fill, Gap, gap, merge
from multidiff.audio.media import SILENCE, Audio
from multidiff.audio.metrics import log_spectral_distance, seam_energy
from multidiff.modality import Trial

GAP = 0.5
"""Seconds taken out."""


def trials(whole: Audio, task: str, seed: int) -> list[Trial]:
    """GAP seconds taken out at random, or from the end; `context` is the gap.

    None of sounds shorter than three times that, nor where all that is left is silence.
    """
    if whole.seconds < 3 * GAP:
        return []
    place: Fill | Extend
    if task == "extend":
        given = whole.cut(0, whole.seconds - GAP)
        options, place = {"extend": GAP}, Extend(seconds=GAP)
    else:
        start = GAP + np.random.default_rng(seed).random() * (whole.seconds - 3 * GAP)
        options = {"from": start, "to": start + GAP}
        place = Fill.model_validate(options)
        given = Audio(whole.samples.copy(), whole.rate)
        given.samples[:, round(start * whole.rate) : round((start + GAP) * whole.rate)] = 0
    if given.peak < SILENCE:
        return []
    return [Trial(task, whole, given, options, gap(given, place))]


def completion_metrics(of: Sequence[Trial], completions: Sequence[Sequence[Audio]]) -> dict[str, dict[str, float]]:
    """Means over trials: row -> figures. Rows: the completions, the truth, what lies before the gap again, the
    silence that was given.

    `lsd`: log-spectral distance to the truth in the gap, dB. `level`: how far the gap's level is from the true one, dB.
    `seam`: magnitude of `seam_energy` where the gap begins (and ends), dB.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for trial, made in zip(of, completions, strict=True):
        place, given, truth = trial.context, trial.given, trial.whole
        silent, repeated = (np.pad(given.samples, ((0, 0), (0, place.length - given.samples.shape[1]))) for _ in "12")
        repeated[:, place.start : place.stop] = repeated[:, 2 * place.start - place.stop : place.start]
        rows = {
            "completed": made,
            "truth": [truth],
            "repeated": [merge(Audio(repeated, given.rate), given, place)],
            "silence": [Audio(silent, given.rate)],
        }
        for name, sounds in rows.items():
            found.setdefault(name, []).extend(_figures(sound, truth, place) for sound in sounds)
    return {
        name: {key: float(np.mean([figures[key] for figures in each])) for key in each[0]}
        for name, each in found.items()
    }


def _figures(sound: Audio, truth: Audio, place: Gap) -> dict[str, float]:
    parts = [torch.from_numpy(x.mono().samples[:, place.start : place.stop]) for x in (truth, sound)]
    levels = [20 * float(part.square().mean().sqrt().clamp(min=SILENCE).log10()) for part in parts]
    seams = [seam for seam in (place.start, place.stop) if 0 < seam < place.length]
    return {
        "lsd": float(log_spectral_distance(parts[0], parts[1])),
        "level": abs(levels[1] - levels[0]),
        "seam": float(np.mean([abs(seam_energy(sound, seam)) for seam in seams])),
    }
