"""Metrics order sounds as ears do, and know what they cannot know."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from multidiff.audio import metrics, synth
from multidiff.audio.media import Audio

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
REAL = [synth.example(i, 22050, 1.0).media for i in range(40)]
OTHER = [synth.example(i, 22050, 1.0).media for i in range(40, 80)]
WAVES = torch.cat([torch.from_numpy(audio.samples) for audio in REAL[:8]])
NOISE = torch.randn(WAVES.shape, generator=torch.Generator().manual_seed(0))


def white(count: int = 40) -> list[Audio]:
    rng = np.random.default_rng(0)
    return [Audio(0.2 * rng.standard_normal(22050), 22050) for _ in range(count)]


@pytest.mark.parametrize("distance", [metrics.log_spectral_distance, metrics.multi_resolution_stft])
def test_reconstruction_distances_are_zero_for_equals_and_grow_with_noise(distance: Distance) -> None:
    values = [distance(WAVES, WAVES + level * NOISE) for level in (0, 1e-3, 1e-2, 1e-1)]
    means = [value.mean().item() for value in values]
    assert means[0] == 0
    assert means == sorted(means)
    assert values[0].shape == (8,)


def test_log_spectral_distance_is_in_decibels() -> None:
    x = 0.3 * NOISE
    assert metrics.log_spectral_distance(x, 0.1 * x).numpy() == pytest.approx(20, abs=0.01)


def test_multi_resolution_distance_can_be_trained_on() -> None:
    x = WAVES.clone().requires_grad_()
    metrics.multi_resolution_stft(WAVES + 0.01 * NOISE, x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_frechet_distance_of_known_gaussians() -> None:
    """N(0, 1) against N(3, 4) in each of two dimensions: 2 * (9 + (2 - 1)^2)."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1000, 2)), 3 + 2 * rng.standard_normal((1000, 2))
    assert metrics.frechet_distance(a, b) == pytest.approx(20, rel=0.05)


def test_frechet_distance_equals_the_matrix_square_root_form() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((300, 5)), rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5)) + 1
    c, d = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_a_set_like_the_real_one_scores_better_than_silence_noise_and_one_class() -> None:
    silent = [Audio(np.zeros(22050), 22050)] * 40
    tones = [audio for i, audio in enumerate(REAL) if (i + i // 10) % 10 == 0] * 10
    scores = [metrics.metrics(REAL, made)["mel_frechet"] for made in (REAL, OTHER, tones, white(), silent)]
    assert scores[0] == pytest.approx(0, abs=1e-6)
    assert scores[0] < scores[1] < min(scores[2:])


def test_rates_count_silent_and_clipping_sounds() -> None:
    quiet, loud = Audio(np.full(1000, 5e-4), 8000), Audio(np.clip(9 * REAL[0].samples, -1, 1), 22050)
    assert metrics.silence_rate([quiet, REAL[0]]) == 0.5
    assert metrics.clipping_rate([loud, REAL[0], REAL[1], quiet]) == 0.25


def test_the_centroid_of_a_tone_is_its_frequency() -> None:
    tone = Audio(np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100), 44100)
    assert metrics.spectral_centroid(tone) == pytest.approx(1000, abs=1)
    assert metrics.spectral_centroid(Audio(np.zeros(100), 8000)) == 0


def test_a_copied_training_clip_is_found() -> None:
    made = [*OTHER[:3], Audio(REAL[7].samples, 22050)]
    distance, index = metrics.nearest(metrics.mel_statistics(REAL), metrics.mel_statistics(made))
    assert index[3] == 7
    assert distance[3] == pytest.approx(0, abs=1e-6)
    assert distance[:3].min() > 0.05


def test_sets_of_other_rates_channels_and_lengths_can_be_compared() -> None:
    made = [Audio(np.tile(audio.resample(16000).samples[:, :9000], (2, 1)), 16000) for audio in OTHER[:5]]
    values = metrics.metrics(REAL, made)
    assert all(np.isfinite(value) for value in values.values())


def test_the_kernel_distance_has_no_bias_of_size() -> None:
    """Between sets of one kind its mean is 0 at every size; the Frechet distance grows as sets shrink."""
    rng = np.random.default_rng(0)
    for size in (8, 60):
        pairs = [(rng.standard_normal((size, 16)), rng.standard_normal((size, 16))) for _ in range(200)]
        kernel = [metrics.kernel_distance(a, b, width=5.0) for a, b in pairs]
        assert np.mean(kernel) == pytest.approx(0, abs=3 * np.std(kernel) / np.sqrt(200))
    few, many = (
        np.mean([metrics.frechet_distance(*rng.standard_normal((2, size, 16))) for _ in range(20)]) for size in (8, 60)
    )
    assert few > 2 * many


def test_the_kernel_distance_of_known_gaussians() -> None:
    """For N(0, 1) and N(m, 1), E k(x, y) = w / sqrt(w^2 + 2) exp(-m^2 / (2 (w^2 + 2)))."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2000, 1)), 1.5 + rng.standard_normal((2000, 1))
    near = 1 / np.sqrt(3)
    expected = 100 * 2 * near * (1 - np.exp(-(1.5**2) / 6))
    assert metrics.kernel_distance(a, b, width=1.0) == pytest.approx(expected, rel=0.05)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return float(a.mean() - b.mean())

    held = 0
    for _ in range(200):
        a, b = rng.standard_normal((30, 1)), 1 + 2 * rng.standard_normal((50, 1))
        held += abs(difference(a, b) + 1) < metrics.half_interval(difference, a, b)
    assert 0.9 < held / 200 < 0.99


def test_memorised_clips_are_nearer_to_the_training_clips_than_others() -> None:
    copies, others = metrics.memorisation(REAL, REAL[:4]), metrics.memorisation(REAL, OTHER)
    assert copies["nearest_training"] == pytest.approx(0, abs=1e-6)
    assert others["nearest_training"] > others["nearest_training_min"] > 0.005


def test_seam_energy_is_high_for_clicks_low_for_holes_and_near_nothing_elsewhere() -> None:
    noise = white(1)[0]
    tone = Audio(0.5 * np.sin(2 * np.pi * 300 * np.arange(22050) / 22050), 22050)
    click, hole = Audio(tone.samples.copy(), 22050), Audio(noise.samples.copy(), 22050)
    click.samples[:, 11025:] += 0.1
    hole.samples[:, 10900:11150] = 0
    for sound in (noise, tone):
        assert abs(metrics.seam_energy(sound, 11025)) < 1.5
    assert metrics.seam_energy(click, 11025) > 10
    assert metrics.seam_energy(hole, 11025) < -10


def test_the_seam_of_a_loop_is_where_its_end_meets_its_beginning() -> None:
    time = np.arange(22050) / 22050
    loop, broken = (Audio(np.sin(2 * np.pi * frequency * time), 22050) for frequency in (100, 100.5))
    assert abs(metrics.loop_energy(loop)) < 0.1
    assert metrics.loop_energy(broken) > 10


def test_a_seam_that_cannot_be_told_ranks_in_the_middle_and_a_click_at_the_end() -> None:
    noise = white(20)
    found = metrics.loop_metrics(noise)
    assert found["loop_rank"] == pytest.approx(0.5, abs=0.2)
    assert found["loop_seam"] == pytest.approx(found["loop_elsewhere"], abs=0.4)
    time = np.arange(22050) / 22050
    broken = metrics.loop_metrics([Audio(np.sin(2 * np.pi * 100.5 * time), 22050)])
    assert broken["loop_rank"] == 0
    assert broken["loop_seam"] > 10 > broken["loop_elsewhere"]
    assert metrics.loop_metrics([Audio(np.zeros(9000), 22050)])["loop_rank"] == 0.5
