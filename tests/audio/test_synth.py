"""Procedural sounds measure as their captions say."""

import re

import numpy as np
import pytest

from multidiff.audio import synth
from multidiff.audio.media import Audio, usable
from multidiff.modality import Example

RATE = 22050
EXAMPLES = [synth.example(index, RATE, 2.0) for index in range(300)]


def of_kind(label: str) -> list[Example]:
    return [example for example in EXAMPLES if example.label == label]


def spectrum_peak(samples: np.ndarray) -> float:
    """Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


def envelope(samples: np.ndarray, seconds: float = 0.01) -> np.ndarray:
    """RMS of consecutive blocks."""
    block = round(seconds * RATE)
    return np.sqrt((samples[: len(samples) // block * block].reshape(-1, block) ** 2).mean(axis=1))


def onsets(samples: np.ndarray) -> np.ndarray:
    """Blocks of 10 ms at which sound begins after a gap."""
    loud = envelope(samples) > 0.1 * envelope(samples).max()
    return np.flatnonzero(loud & ~np.r_[False, loud[:-1]])


def in_range(frequency: float, caption: str) -> bool:
    name = next(word for word in synth.PITCHES if word in caption.split())
    low, high = synth.PITCHES[name]
    return 0.97 * low <= frequency <= 1.03 * high


def test_sound_number_i_depends_on_i_alone() -> None:
    again = synth.example(17, RATE, 2.0)
    assert np.array_equal(again.media.samples, EXAMPLES[17].media.samples)
    assert again.text == EXAMPLES[17].text
    assert not np.array_equal(synth.example(27, RATE, 2.0).media.samples, again.media.samples)


def test_every_kind_comes_equally_often_and_every_tenth_sound_meets_all() -> None:
    assert {label: len(of_kind(label)) for label in synth.KINDS} == dict.fromkeys(synth.KINDS, 30)
    assert {example.label for example in EXAMPLES[9:100:10]} == set(synth.KINDS)


@pytest.mark.parametrize(("rate", "seconds"), [(4000, 0.3), (16000, 1.0), (48000, 5.0)])
def test_every_rate_and_length_gives_a_usable_sound(rate: int, seconds: float) -> None:
    for index in range(30):
        example = synth.example(index, rate, seconds)
        usable(example.media, example.source)
        assert example.media.samples.shape == (1, round(rate * seconds))
        assert example.media.peak == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("label", ["tone", "beeps", "string"])
def test_low_middle_and_high_are_the_fundamental(label: str) -> None:
    for example in of_kind(label):
        samples = example.media.samples[0]
        spectrum = np.abs(np.fft.rfft(samples))
        # A string's loudest partial may be an overtone: its fundamental is the lowest strong one.
        strong = np.flatnonzero(spectrum > 0.3 * spectrum.max())[0] * RATE / len(samples)
        assert in_range(strong, example.text), example.text


def test_sweeps_rise_or_fall_fast_or_slowly() -> None:
    for example in of_kind("sweep"):
        length = 0.5 if "fast" in example.text else 2.0
        active = example.media.cut(0, length).samples[0]
        first, last = (spectrum_peak(part) for part in (active[: len(active) // 4], active[-len(active) // 4 :]))
        assert (first < last) == ("rising" in example.text)
        assert (example.media.cut(0.6, 2.0).peak < 0.01) == ("fast" in example.text)


def test_beeps_can_be_counted() -> None:
    for example in of_kind("beeps"):
        count = next(n for n, word in synth.COUNTS.items() if example.text.startswith(word))
        assert len(onsets(example.media.samples[0])) == count, example.text


def test_noise_fades_the_way_it_says_and_is_dull_or_bright() -> None:
    for example in of_kind("noise"):
        samples = example.media.samples[0]
        level = envelope(samples, 0.5)
        assert (level[0] < level[-1]) == ("fading in" in example.text)
        assert ("dull" in example.text) == (spectrum_peak(samples) < 700)


def test_heavy_rain_is_denser_than_light_rain() -> None:
    crest = {name: [] for name in ("heavy", "light")}
    for example in of_kind("rain"):
        crest[example.text.split()[0]].append(envelope(example.media.samples[0]).mean())
    assert min(crest["heavy"]) > max(crest["light"])


def test_loops_keep_the_tempo_of_the_caption() -> None:
    for index in range(200):
        example = synth.example(index, RATE, 6.0) if EXAMPLES[index].label == "loop" else None
        if example is None:
            continue
        bpm = int(re.findall(r"at (\d+) bpm", example.text)[0])
        rise = np.diff(envelope(example.media.samples[0]), prepend=0).clip(min=0)
        correlation = np.correlate(rise, rise, "full")[len(rise) - 1 :] / np.arange(len(rise), 0, -1)
        # Kick and snare take turns, so the pattern repeats after two beats; lags are in blocks of 10 ms.
        lags = {tempo: round(2 * 6000 / tempo) for tempo in synth.TEMPOS}
        scores = {tempo: correlation[lag - 2 : lag + 3].max() for tempo, lag in lags.items()}
        assert max(scores, key=scores.__getitem__) == bpm, example.text


def test_clocks_tick_once_or_four_times_a_second() -> None:
    for example in of_kind("clock"):
        assert len(onsets(example.media.samples[0])) == (8 if "fast" in example.text else 2)


def test_drum_hits_differ_in_their_spectrum() -> None:
    from multidiff.audio.metrics import spectral_centroid

    bands = {"kick drum": (0, 200), "snare drum": (200, 5000), "hi-hat": (5000, 11025)}
    for example in of_kind("drum"):
        low, high = bands[example.text.removeprefix("a ").removesuffix(" hit")]
        assert low < spectral_centroid(Audio(example.media.samples, RATE)) < high
