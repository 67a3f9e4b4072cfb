"""How good filled gaps, continuations and restorations are: held-out sounds with something taken out or spoiled, and
figures beside simple ways.

Repeating what lies before gets the same crossfades and level as the model (`completion.merge`). Another rain is as good
as the true one and yet far from it in log-spectral distance, so that one compares ways, and has no small value that
says "good".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from multidiff.audio.completion import Extend, Fill, Gap, gap, merge
from multidiff.audio.degrade import low_passed, with_noise
from multidiff.audio.media import SILENCE, Audio
from multidiff.audio.metrics import log_spectral_distance, multi_resolution_stft, seam_energy
from multidiff.errors import InputError
from multidiff.modality import Trial

GAP = 0.5
"""Seconds taken out."""
WINDOW = 4.0
"""Seconds given of a sound that is to be made much longer, and over which its level is measured."""
NOISE_DB = 10.0
"""Level of a sound over the white noise that is to be taken out."""
CUTOFF = 4000.0
"""Hz, above which a sound is to be made anew."""

LONG = "long"
"""Kind of the trials that append more than there is a truth of."""

Figures = dict[str, float]


def trials(whole: Audio, task: str, seed: int, options: Mapping[str, Any]) -> list[Trial]:
    """GAP seconds taken out at random, or from the end; white noise added; or what lies above CUTOFF taken away.

    `options` may say how many seconds to append: then the first WINDOW seconds are given, and there is no truth.
    `context` is the gap, where there is one. None of sounds too short for that, nor where all that is left is silence.
    Raises InputError for other options.
    """
    if options and not options.get("extend", 0) > 0:
        said = ", ".join(f"{key}={value}" for key, value in options.items())
        raise InputError(f"completions of sounds are measured with seconds to append, or their own options, not {said}")
    if task in ("denoise", "super-resolution"):
        return _spoiled(whole, task, seed)
    if task == "fill":
        return _holed(whole, seed) if whole.seconds >= 3 * GAP else []
    if options:
        return _extended(whole, WINDOW, options["extend"]) if whole.seconds >= WINDOW else []
    return _extended(whole, whole.seconds - GAP, GAP) if whole.seconds >= 3 * GAP else []


def _holed(whole: Audio, seed: int) -> list[Trial]:
    start = GAP + np.random.default_rng(seed).random() * (whole.seconds - 3 * GAP)
    options = {"from": start, "to": start + GAP}
    given = Audio(whole.samples.copy(), whole.rate)
    given.samples[:, round(start * whole.rate) : round((start + GAP) * whole.rate)] = 0
    if given.peak < SILENCE:
        return []
    return [Trial("fill", whole, given, options, gap(given, Fill.model_validate(options)))]


def _extended(whole: Audio, known: float, extra: float) -> list[Trial]:
    given = whole.cut(0, known)
    if given.peak < SILENCE:
        return []
    kind = "extend" if known + extra <= whole.seconds + 1 / whole.rate else LONG
    return [Trial(kind, whole, given, {"extend": extra}, gap(given, Extend(seconds=extra)))]


def _spoiled(whole: Audio, task: str, seed: int) -> list[Trial]:
    wave = torch.from_numpy(whole.samples)
    if task == "denoise":
        noise = torch.randn(wave.shape, generator=torch.Generator().manual_seed(seed))
        return [Trial(task, whole, Audio(with_noise(wave, noise, NOISE_DB).numpy(), whole.rate))]
    given = Audio(low_passed(wave, CUTOFF / whole.rate).numpy(), whole.rate)
    return [Trial(task, whole, given, {"cutoff": CUTOFF})] if given.peak >= SILENCE else []


def completion_metrics(of: Sequence[Trial], completions: Sequence[Sequence[Audio]]) -> dict[str, Figures]:
    """Means over trials of one kind: row -> figures. Rows: the completions, the truth and simpler ways."""
    found: dict[str, list[Figures]] = {}
    for trial, made in zip(of, completions, strict=True):
        if trial.context is None:
            rows = _restored(trial, made)
        else:
            rows = _prolonged(trial, made) if trial.kind == LONG else _filled(trial, made)
        for name, figures in rows.items():
            found.setdefault(name, []).extend(figures)
    return {
        name: {key: float(np.mean([each[key] for each in rows])) for key in rows[0]} for name, rows in found.items()
    }


def _filled(trial: Trial, made: Sequence[Audio]) -> dict[str, list[Figures]]:
    """Beside what lies before the gap again, and the silence that was given.

    `lsd`: log-spectral distance to the truth in the gap, dB. `level`: how far the gap's level is from the true one, dB.
    `seam`: magnitude of `seam_energy` where the gap begins (and ends), dB.
    """
    place, truth = trial.context, trial.whole

    def figures(sound: Audio) -> Figures:
        parts = [torch.from_numpy(x.mono().samples[:, place.start : place.stop]) for x in (truth, sound)]
        levels = [_level(part) for part in parts]
        return {
            "lsd": float(log_spectral_distance(parts[0], parts[1])),
            "level": abs(levels[1] - levels[0]),
            "seam": _seam(sound, place),
        }

    silence = Audio(_to_length(trial.given, place.length), truth.rate)
    return {
        "completed": [figures(sound) for sound in made],
        "truth": [figures(truth)],
        "repeated": [figures(_repeated(trial.given, place, place.stop - place.start))],
        "silence": [figures(silence)],
    }


def _prolonged(trial: Trial, made: Sequence[Audio]) -> dict[str, list[Figures]]:
    """Beside the given sound again and again.

    `0-4 s`, ...: the level of each WINDOW seconds of what was appended over that of the given sound, dB. `drift`: the
    magnitude of that of the last window. `seam`: magnitude of `seam_energy` where the given sound ends, dB.
    """
    place, given = trial.context, trial.given

    def figures(sound: Audio) -> Figures:
        size, new = round(WINDOW * sound.rate), torch.from_numpy(sound.samples[:, place.start :])
        windows = [part for part in new.split(size, dim=1) if part.shape[1] >= size / 2 or new.shape[1] < size]
        levels = [_level(part) - _level(torch.from_numpy(given.samples)) for part in windows]
        names = [f"{WINDOW * i:g}-{WINDOW * (i + 1):g} s" for i in range(len(levels))]
        return dict(zip(names, levels, strict=True)) | {"drift": abs(levels[-1]), "seam": _seam(sound, place)}

    return {
        "completed": [figures(sound) for sound in made],
        "repeated": [figures(_repeated(given, place, given.samples.shape[1]))],
    }


def _restored(trial: Trial, made: Sequence[Audio]) -> dict[str, list[Figures]]:
    """Beside the sound as it was given. `lsd`: log-spectral distance to the truth, dB. `mr_stft`: the multi-resolution
    STFT distance to it."""
    truth = trial.whole

    def figures(sound: Audio) -> Figures:
        a, b = (torch.from_numpy(x.mono().samples) for x in (truth, sound.resample(truth.rate)))
        b = b[:, : a.shape[1]]
        return {"lsd": float(log_spectral_distance(a, b)), "mr_stft": float(multi_resolution_stft(a, b))}

    return {"completed": [figures(sound) for sound in made], "given": [figures(trial.given)]}


def _repeated(given: Audio, place: Gap, period: int) -> Audio:
    """What lies before the gap, again and again in it."""
    samples = _to_length(given, place.length)
    index = np.arange(place.start, place.stop)
    samples[:, index] = samples[:, place.start - period + (index - place.start) % period]
    return merge(Audio(samples, given.rate), given, place)


def _to_length(given: Audio, length: int) -> np.ndarray:
    return np.pad(given.samples, ((0, 0), (0, length - given.samples.shape[1])))


def _level(wave: torch.Tensor) -> float:
    """dB of full scale."""
    return 20 * float(wave.square().mean().sqrt().clamp(min=SILENCE).log10())


def _seam(sound: Audio, place: Gap) -> float:
    seams = [seam for seam in (place.start, place.stop) if 0 < seam < place.length]
    return float(np.mean([abs(seam_energy(sound, seam)) for seam in seams]))
