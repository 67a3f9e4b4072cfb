"""Duration in bars: of a tempo that the prompt and the options state alike."""

import re

import pytest

from multidiff.audio.completion import Extend
from multidiff.audio.options import AudioOptions, reconciled
from multidiff.errors import InputError


def asked(prompt="", task=None, default=None, example="drums at 100 bpm", **values):
    default = default or AudioOptions()
    options = default.model_copy(update=values)
    names = set(values) | ({"extend"} if task and task.model_fields_set else set())
    prompt, options, task = reconciled(prompt, options, task, names, example)
    names = {key for key, value in options.model_dump().items() if value is not None}
    again = reconciled(prompt, options, task, names, example)
    assert again == (prompt, options, task), "what agrees stays as it is"
    return prompt, options.seconds, options.bars, options.bpm, task


def test_bars_last_as_long_as_the_tempo_says():
    assert asked("drums", bars=2, bpm=120) == ("drums at 120 bpm", 4.0, 2, 120, None)
    assert asked("slow drums at 87.5 bpm", bars=1)[:2] == ("slow drums at 87.5 bpm", 4 * 60 / 87.5)
    assert asked("drums at 125 BPM", bars=4, bpm=125)[1] == 7.68
    assert asked("", bars=1, bpm=240)[0] == "at 240 bpm"


def test_a_tempo_without_bars_goes_into_the_prompt_only():
    assert asked("drums", bpm=90) == ("drums at 90 bpm", 4.0, None, 90, None)
    assert asked("drums at 90 bpm", seconds=3.0) == ("drums at 90 bpm", 3.0, None, 90, None)
    assert asked("rain") == ("rain", 4.0, None, None, None)


def test_to_a_model_without_tempo_bars_are_a_duration_and_nothing_else():
    assert asked("rain", example="a dog barking", bars=2, bpm=120) == ("rain", 4.0, None, None, None)
    assert asked("rain at 120 bpm", example="", bars=1) == ("rain at 120 bpm", 2.0, None, None, None)
    assert asked("rain", Extend(), example="", bars=1, bpm=120)[4] == Extend(seconds=2.0)


def test_a_default_number_of_bars_gives_way():
    default = AudioOptions(bars=2)
    assert asked("drums at 120 bpm", default=default)[1:3] == (4.0, 2)
    assert asked("drums at 120 bpm", default=default, seconds=3.0)[1:3] == (3.0, None)
    assert asked("drums", default=default)[1:3] == (4.0, None)
    assert asked("drums at 120 bpm", Extend(seconds=1.0), default)[4] == Extend(seconds=1.0)
    assert asked("drums at 100 bpm", default=AudioOptions(bpm=120))[::3] == ("drums at 100 bpm", 100)


def test_a_sound_is_extended_by_bars_to_either_side():
    assert asked("drums", Extend(), bars=1, bpm=120)[4] == Extend(seconds=2.0)
    assert asked("drums", Extend(seconds=-2.0), bars=1, bpm=120)[4] == Extend(seconds=-2.0)


@pytest.mark.parametrize(
    ("prompt", "values", "said"),
    [
        ("drums at 120 bpm", {"bpm": 90}, "bpm 90 contradicts the prompt's 120 bpm"),
        ("drums", {"bars": 2}, "bars 2: need a tempo; give bpm"),
        ("drums", {"bars": 2, "bpm": 120, "seconds": 3.0}, "seconds 3 contradict bars: 2 bars at 120 bpm last 4 s"),
        ("drums", {"bars": 2, "bpm": 120, "task": Extend(seconds=3)}, "extend 3 contradicts bars"),
        ("drums", {"bars": 100, "bpm": 60}, "100 bars at 60 bpm last 400 s, not between 0.05 and 60"),
    ],
)
def test_contradictions_are_refused(prompt, values, said):
    with pytest.raises(InputError, match=re.escape(said)):
        asked(prompt, **values)
