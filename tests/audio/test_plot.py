"""Pictures of sounds: whole PNGs that show something, for any sound."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multidiff.audio.media import Audio
from multidiff.audio.plot import _kept, plot


def noise(rate: int, seconds: float, channels: int = 1) -> Audio:
    return Audio(0.2 * np.random.default_rng(0).standard_normal((channels, round(rate * seconds))), rate)


@pytest.mark.parametrize(("rate", "seconds", "channels"), [(22050, 2.0, 1), (48000, 0.02, 2), (8000, 60.0, 1)])
def test_any_sound_has_a_picture(rate: int, seconds: float, channels: int, tmp_path: Path) -> None:
    path = plot(noise(rate, seconds, channels), tmp_path / "x.png", "noise, 5 $ a piece")
    with Image.open(path) as picture:
        assert picture.size == (1200, 675)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100


def test_the_picture_of_silence_is_dark_and_no_error(tmp_path: Path) -> None:
    plot(Audio(np.zeros(22050), 22050), tmp_path / "x.png")


def test_different_sounds_look_different_and_the_same_sound_the_same(tmp_path: Path) -> None:
    tone = Audio(np.sin(np.arange(22050) * 0.2), 22050)
    first, again, other = (
        plot(audio, tmp_path / f"{i}.png").read_bytes() for i, audio in enumerate([tone, tone, noise(22050, 1.0)])
    )
    assert first == again
    assert first != other


def test_what_was_given_stands_at_the_beginning_or_at_the_end() -> None:
    rng = np.random.default_rng(0)
    given, new = rng.standard_normal((2, 1, 100))
    for samples, kept in (([given, new], slice(0, 100)), ([new, given], slice(100, 200))):
        expected = np.zeros(200, bool)
        expected[kept] = True
        whole = Audio(np.concatenate(samples, axis=1), 8000)
        np.testing.assert_array_equal(_kept(whole, Audio(given, 8000)), expected)
