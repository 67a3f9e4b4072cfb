"""44.1 kHz and two channels are numbers in a recipe: the same runs train, and what they make is stereo."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import multidiff as md
from multidiff import recipe, weights
from multidiff.train.run import train

STEREO = (
    *("data.rate=44100", "data.channels=2", "data.seconds=1", "train.steps=2", "train.batch=2"),
    *("codec.stereo=true", "codec.mel={rate: 44100, n_fft: 2048, hop: 512, n_mels: 128, f_max: 22050}"),
    *("codec.channels=16", "codec.width=8", "codec.vocoder_width=8", "codec.vocoder_depth=1"),
)
TINY = ("network.dim=16", "network.depth=1", "network.heads=2", "options.seconds=0.5")


def music(folder: Path) -> Path:
    """Three stereo files whose sides differ."""
    folder.mkdir()
    time = np.arange(44100) / 44100
    for number, (left, right) in enumerate([(220, 330), (440, 9000), (700, 15000)]):
        sides = np.stack([0.4 * np.sin(2 * np.pi * left * time), 0.2 * np.sin(2 * np.pi * right * time)], axis=1)
        soundfile.write(folder / f"{number}.wav", sides, 44100, subtype="PCM_24")
    return folder


def test_stereo_at_44100_trains_and_samples_by_numbers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    root, before = f"data.root={music(tmp_path / 'music')}", ()
    for name in ("codec", "vocoder", "music"):
        overrides = ["size=small", root, *STEREO, *before, *(TINY if name == "music" else ())]
        run = train(recipe.load(name, overrides), tmp_path / name, device="cpu")
        before = (f"codec.weights={run}",)
    model = weights.load(run, "cpu")
    sound = model.sample("", seconds=0.7, steps=2)[0]
    soundfile.write(tmp_path / "made.wav", sound.samples.T, sound.rate)
    info = soundfile.info(tmp_path / "made.wav")
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 30870)
    given = md.Audio.read(tmp_path / "music" / "1.wav")
    filled = model.complete(given, start=0.4, end=0.6, steps=2)[0]
    assert filled.samples.shape == given.samples.shape
    assert np.array_equal(filled.samples[:, :16000], given.samples[:, :16000])
