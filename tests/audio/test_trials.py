"""Filled gaps and continuations measured: the truth is the floor, and each figure knows its fault."""

import numpy as np
import pytest

from multidiff.audio import synth
from multidiff.audio.media import Audio
from multidiff.audio.trials import GAP, completion_metrics, trials

SOUNDS = [synth.example(i, 22050, 3.0).media for i in (3, 4, 8)]


@pytest.mark.parametrize("task", ["fill", "extend"])
def test_what_is_taken_out_is_not_shown(task: str) -> None:
    for seed, sound in enumerate(SOUNDS):
        (trial,) = trials(sound, task, seed, {})
        place = trial.context
        assert place.stop - place.start == pytest.approx(GAP * 22050, abs=1)
        assert not trial.given.samples[:, place.start : place.stop].any()
        np.testing.assert_array_equal(trial.given.samples[:, : place.start], sound.samples[:, : place.start])
        assert place.length == sound.samples.shape[1]


def test_sounds_too_short_or_silent_besides_are_left_out() -> None:
    sound = Audio(np.zeros((1, 3 * 22050)), 22050)
    sound.samples[:, -5000:] = 0.1
    assert trials(sound, "extend", 0, {}) == []
    assert trials(SOUNDS[0].cut(0, 1.4), "fill", 0, {}) == []


def test_the_truth_is_at_no_distance_and_silence_at_the_greatest() -> None:
    of = [trial for seed, sound in enumerate(SOUNDS) for trial in trials(sound, "fill", seed, {})]
    noise = np.random.default_rng(0)
    completed = [[Audio(0.1 * noise.standard_normal(t.whole.samples.shape), 22050) for _ in range(2)] for t in of]
    rows = completion_metrics(of, completed)
    assert list(rows) == ["completed", "truth", "repeated", "silence"]
    assert rows["truth"]["lsd"] == rows["truth"]["level"] == 0
    assert rows["silence"]["level"] == max(row["level"] for row in rows.values()) > 20
    assert 0 < rows["repeated"]["lsd"] < rows["silence"]["lsd"]
