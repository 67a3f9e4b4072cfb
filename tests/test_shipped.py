"""The shipped models: small enough, alike on every machine, following their prompts, and never the same twice."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from multidiff import Audio, PointCloud, Video, weights
from multidiff.audio.degrade import low_passed, with_noise
from multidiff.audio.metrics import log_spectral_distance
from multidiff.audio.tempo import agrees
from multidiff.model import Model

SEEDS = (1, 2, 3)


@cache
def model(name: str) -> Model:
    return weights.load(name, "cpu")


@cache
def made(name: str, prompt: str, seed: int) -> Any:
    return model(name).sample(prompt, seed=seed)[0]


def mean(measure: Any, name: str, prompt: str) -> float:
    return float(np.mean([measure(made(name, prompt, seed)) for seed in SEEDS]))


def unsteadiness(sound: Audio) -> float:
    """Standard deviation over time of the level in dB, in windows of 50 ms; about 1 for steady noise."""
    window = sound.rate // 20
    wave = sound.samples[0][: len(sound.samples[0]) // window * window].reshape(-1, window)
    return float(np.std(10 * np.log10(np.mean(wave**2, axis=1) + 1e-8)))


def background(clip: Video) -> np.ndarray:
    """Mean colour of the border of all frames, 0 to 255."""
    border = np.concatenate([clip.frames[:, :4].reshape(-1, 3), clip.frames[:, -4:, :8].reshape(-1, 3)])
    return border.mean(axis=0)


def height_share(cloud: PointCloud) -> float:
    """Height over the larger side of the footprint."""
    low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
    size = high - low
    return float(size[1] / max(size[0], size[2]))


def test_one_of_each_medium_weigh_less_than_twenty_megabytes_together_in_half_precision() -> None:
    folders = [folder for folder in weights.shipped() if folder.name in ("sfx", "clips", "shapes")]
    assert len(folders) == 3
    assert sum((folder / "model.safetensors").stat().st_size for folder in folders) < 20e6


def test_each_has_a_model_card_with_its_data_and_their_licences() -> None:
    for folder in weights.shipped():
        card = (folder / "README.md").read_text("utf-8")
        assert "## Learned from" in card, folder
        assert "CC" in card, folder


def test_sounds_follow_their_prompts() -> None:
    rain, dog = (mean(unsteadiness, "sfx", prompt) for prompt in ("rain falling", "a dog barking"))
    assert rain < 6 < dog


def test_clips_follow_the_background_of_their_prompts() -> None:
    colours = {
        name: np.mean([background(made("clips", f"a man walking left, {name} background", s)) for s in SEEDS[:2]], 0)
        for name in ("grass green", "sky blue", "snow white", "black")
    }
    red, green, blue = colours["grass green"]
    assert green > red + 20 and green > blue + 20  # noqa: PT018
    red, green, blue = colours["sky blue"]
    assert blue > red + 20
    assert colours["snow white"].min() > 200
    assert colours["black"].max() < 60


def test_clips_move() -> None:
    clip = made("clips", "a man walking left, sky blue background", 1)
    inner = clip.frames[:, 8:56, 16:48].astype(np.float32)
    assert np.abs(np.diff(inner, axis=0)).mean() > 2
    sky = clip.frames[:, :4].astype(np.float32).reshape(len(clip), 4, 16, 4, 3).mean((1, 3))  # less the grain
    assert np.std(sky, axis=0).mean() < 4, "the background stands still"


def test_shapes_follow_their_prompts() -> None:
    chair, table, bed = (mean(height_share, "shapes", f"a {kind}") for kind in ("chair", "table", "bed"))
    assert chair > table + 0.2
    assert chair > bed + 0.3


@pytest.mark.parametrize(
    ("name", "prompt"),
    [("sfx", "a dog barking"), ("clips", "a man walking left, sky blue background"), ("shapes", "a chair")],
)
def test_other_seeds_make_other_samples(name: str, prompt: str) -> None:
    """The difference between seeds is a good part of the sample itself, not rounding."""
    values = {"sfx": lambda m: m.samples, "clips": lambda m: m.frames / 255.0, "shapes": lambda m: np.sort(m.points, 0)}
    first, second = (np.asarray(values[name](made(name, prompt, seed)), np.float64) for seed in (1, 2))
    assert np.abs(first - second).mean() > {"sfx": 0.2, "clips": 0.02, "shapes": 0.02}[name] * np.std(first)


def test_samples_are_real_media() -> None:
    sound = made("sfx", "a dog barking", 1)
    assert sound.samples.shape == (1, 4 * 22050)
    assert np.isfinite(sound.samples).all()
    assert 0.05 < sound.peak < 5
    clip = made("clips", "a man walking left, sky blue background", 1)
    assert clip.frames.shape == (16, 64, 64, 3)
    cloud = made("shapes", "a chair", 1)
    assert cloud.points.shape == (2048, 3)


def test_a_completion_keeps_its_part_and_adds_to_it_in_its_own_coordinates() -> None:
    """The half of a chair, in metres, away from the origin: what is added lies about it, not only on it."""
    part = PointCloud.read(weights.ASSETS / "inputs" / "half_chair.ply")
    low, high = part.points.min(axis=0) - 0.01, part.points.max(axis=0) + 0.01
    first, second = model("shapes").complete(part, prompt="a chair", count=2, guidance=1.5)
    for whole in (first, second):
        np.testing.assert_array_equal(whole.points[: len(part)], part.points)
        added = whole.points[len(part) :]
        assert len(added) > 500
        assert ((added < low) | (added > high)).any(axis=1).mean() > 0.2
        assert np.abs(added - part.points.mean(axis=0)).max() < 1.5
    assert len(first) != len(second) or np.abs(first.points - second.points).max() > 0.01


@pytest.mark.parametrize("bpm", [95, 140])
def test_a_drum_loop_has_the_tempo_of_its_prompt_and_whole_bars(bpm: int) -> None:
    prompt = f"a rock drum loop at {bpm} bpm with kick, snare and hi-hat"
    loops = [model("drumloops").sample(prompt, bars=2, loop=True, seed=seed)[0] for seed in SEEDS]
    assert {loop.samples.shape[1] for loop in loops} == {round(2 * 4 * 60 / bpm * 22050)}
    assert sum(agrees(loop, bpm) for loop in loops) >= 2


def test_a_muffled_sound_gets_back_some_of_what_it_lost_and_a_noisy_one_loses_noise() -> None:
    """Rain without its high frequencies, and a bark amid noise: what is heard between barks falls silent."""
    rain, bark = made("sfx", "rain falling steadily", 1), made("sfx", "a dog barking", 7)
    wave = torch.from_numpy(rain.samples)
    muffled = Audio(low_passed(wave, 3000 / rain.rate).numpy(), rain.rate)
    sharp = model("sfx").complete(muffled, "super-resolution", cutoff=3000.0)[0]
    distances = [float(log_spectral_distance(wave, torch.from_numpy(s.samples))) for s in (sharp, muffled)]
    assert distances[0] < 0.5 * distances[1]
    clean = torch.from_numpy(bark.samples)
    drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = Audio(with_noise(clean, drawn, 10.0).numpy(), bark.rate)
    restored = model("sfx").complete(noisy, "denoise")[0]
    quiet = [float(np.quantile(np.abs(sound.samples), 0.2)) for sound in (restored, noisy)]
    assert quiet[0] < 0.3 * quiet[1]
