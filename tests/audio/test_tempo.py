"""Tempi: what prompts state, and whether sounds have it."""

import numpy as np
import pytest

from multidiff.audio.media import Audio
from multidiff.audio.tempo import agrees, prompt_accuracy, stated, tempo
from multidiff.modality import Example

RATE = 22050


def clicks(bpm: float, seconds: float = 5.0) -> Audio:
    """A short burst of noise on each beat."""
    samples = np.zeros(round(seconds * RATE))
    burst = np.random.default_rng(0).standard_normal(800) * np.linspace(0.5, 0, 800)
    for beat in np.arange(0, len(samples) - len(burst), 60 * RATE / bpm).astype(int):
        samples[beat : beat + len(burst)] = burst
    return Audio(samples, RATE)


@pytest.mark.parametrize(
    ("prompt", "bpm"),
    [("a fast rock drum loop at 140 bpm", 140), ("92.5BPM", 92.5), ("120 bpmish", None), ("a dog barking", None)],
)
def test_a_prompt_may_state_a_tempo(prompt: str, bpm: float | None) -> None:
    assert stated(prompt) == bpm


@pytest.mark.parametrize("bpm", [70, 95, 125, 160])
def test_the_tempo_of_clicks_is_theirs_up_to_an_octave(bpm: int) -> None:
    assert agrees(clicks(bpm), bpm)
    assert agrees(clicks(bpm), 2 * bpm)
    assert not agrees(clicks(bpm), 1.2 * bpm)


def test_silence_has_no_tempo() -> None:
    silence = Audio(np.zeros(RATE), RATE)
    assert np.isnan(tempo(silence))
    assert not agrees(silence, 120)


def test_the_share_of_right_tempi_counts_prompts_that_state_one() -> None:
    made = [Example(clicks(120), text) for text in ("at 120 bpm", "at 100 bpm", "a dog")]
    assert prompt_accuracy(made) == {"bpm_accuracy": 0.5}
    assert prompt_accuracy(made[2:]) == {}
