"""Metrics see what is planted and stay at their floor when nothing is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from multidiff.errors import InputError
from multidiff.video import metrics as m
from multidiff.video.media import Video
from multidiff.video.synth import scene

Fault = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _flicker(f: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.clip(f * (1 + 0.15 * (-1) ** np.arange(len(f)))[:, None, None, None], 0, 255)


FAULTS: dict[str, Fault] = {
    "freeze": lambda f, r: f[:1].repeat(len(f), 0),
    "reverse": lambda f, r: f[::-1],
    "shuffle": lambda f, r: f[r.permutation(len(f))],
    "flicker": _flicker,
    "half speed": lambda f, r: f[np.arange(len(f)) // 2],
    "stutter": lambda f, r: f[np.arange(len(f)) // 2 * 2],
}


@pytest.fixture(scope="module")
def clips() -> list[Video]:
    """Clips that all go one way: run backwards they are something else."""
    scenes = [s for s in map(scene, range(1100)) if s.motion.split()[-1] in ("left", "clockwise", "up")]
    return [s.render() for s in scenes[:160]]


@pytest.fixture(scope="module")
def motion(clips: list[Video]) -> np.ndarray:
    return np.stack([m.motion_features(v) for v in clips[::2]])


def test_other_real_clips_score_their_floor(clips: list[Video]) -> None:
    scores = m.metrics(clips[::2], clips[1::2])
    for name in ("frame_distance", "motion_distance"):
        assert 0.6 < scores[name] / scores[f"{name}_floor"] < 1.6
    assert scores["clips"] == 40
    assert scores["nearest"] == pytest.approx(scores["nearest_real"], rel=0.3)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_of_motion_score_several_times_the_floor(
    clips: list[Video], motion: np.ndarray, fault: str
) -> None:
    random = np.random.default_rng(0)
    bad = [Video(FAULTS[fault](v.frames, random).astype(np.uint8), v.fps) for v in clips[1::2]]
    distance, floor = m.distance_and_floor(motion, np.stack([m.motion_features(v) for v in bad]))
    assert distance > 3 * floor


def faint(video: Video, random: np.random.Generator) -> Video:
    """With a noise of one grey level."""
    return Video(np.clip(np.round(video.frames + random.normal(size=video.frames.shape)), 0, 255).astype(np.uint8), 8)


def test_faint_noise_on_what_repeats_exactly_is_a_small_fault(clips: list[Video]) -> None:
    cycles = [Video(np.concatenate([v.frames[::2]] * 2), v.fps) for v in clips]
    real, random = np.stack([m.motion_features(v) for v in cycles[::2]]), np.random.default_rng(0)
    distance = lambda bad: m.distance_and_floor(real, np.stack([m.motion_features(v) for v in bad]))
    noisy, floor = distance([faint(v, random) for v in cycles[1::2]])
    shuffled, _ = distance([Video(v.frames[random.permutation(16)], v.fps) for v in cycles[1::2]])
    frozen, _ = distance([Video(v.frames[:1].repeat(16, 0), v.fps) for v in cycles[1::2]])
    assert noisy < 4 * floor
    assert noisy < min(shuffled, frozen) / 4


def test_a_faint_tint_of_grey_clips_is_a_small_fault(clips: list[Video]) -> None:
    grey = [Video(v.frames.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8), 8) for v in clips]
    real, random = np.stack([m.frame_features(v) for v in grey[::2]]), np.random.default_rng(0)
    tinted, floor = m.distance_and_floor(real, np.stack([m.frame_features(faint(v, random)) for v in grey[1::2]]))
    assert tinted < 10 * floor


def test_the_frame_distance_sees_looks_not_order(clips: list[Video]) -> None:
    looks = np.stack([m.frame_features(v) for v in clips[::2]])
    random = np.random.default_rng(0)
    grey = [Video(v.frames.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8), 8) for v in clips[1::2]]
    mixed = [Video(v.frames[random.permutation(len(v))], 8) for v in clips[1::2]]
    for bad, least, most in ((grey, 2.0, np.inf), (mixed, 0.5, 1.6)):
        distance, floor = m.distance_and_floor(looks, np.stack([m.frame_features(v) for v in bad]))
        assert least < distance / floor < most


def test_frechet_of_gaussians_has_its_closed_form() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, (200_000, 2)), random.normal((3, 0), (2, 1), (200_000, 2))
    assert m.frechet(a, b) == pytest.approx(9 + 1, rel=0.02)
    assert m.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_psnr_and_ssim_agree_with_scikit_image() -> None:
    skimage = pytest.importorskip("skimage.metrics")
    clip = scene(4).render(4)
    noisy = np.clip(clip.frames + np.random.default_rng(0).normal(0, 20, clip.frames.shape), 0, 255).astype(np.uint8)
    bad = Video(noisy, clip.fps)
    expected = skimage.peak_signal_noise_ratio(clip.frames, bad.frames)
    assert m.psnr(clip, bad) == pytest.approx(expected)
    similar = [
        skimage.structural_similarity(a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5, data_range=255)
        for a, b in zip(clip.frames, bad.frames, strict=True)
    ]
    assert m.ssim(clip, bad) == pytest.approx(np.mean(similar), abs=1e-6)
    assert m.psnr(clip, clip) == float("inf")
    assert m.ssim(clip, clip) == pytest.approx(1)


def test_a_cycle_has_no_seam_and_a_cut_one_has() -> None:
    whole = scene(0).render(32)
    assert m.loop_seam(whole) < 1.3
    assert m.loop_seam(Video(whole.frames[:6], 8)) > 1.5
    assert m.loop_seam(Video(whole.frames[:1], 8)) == 1


def test_a_seam_that_stands_out_has_the_lowest_rank() -> None:
    whole = scene(0).render(32)
    cut = Video(whole.frames[:6], 8)
    found = m.loop_metrics([whole, cut])
    assert found["loop_seam_worst"] == m.loop_seam(cut)
    assert m.loop_metrics([cut])["loop_rank"] == 0
    assert m.loop_metrics([whole])["loop_rank"] > 0.2
    assert m.loop_metrics([Video(whole.frames[:1], 8)])["loop_rank"] == 0.5
    # The smallest step of a clip that hurries between them.
    jumps = (np.array([0, 50, 0, 50, 1])[:, None, None, None] * np.ones((8, 8, 3))).astype(np.uint8)
    assert m.loop_metrics([Video(jumps, 8)])["loop_rank"] == 1


def test_flicker_is_seen_and_a_steady_fade_is_none() -> None:
    fade = Video((np.arange(16) * 10)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3).astype(np.uint8), 8)
    assert m.flicker(fade) == pytest.approx(0, abs=1e-9)
    assert m.flicker(Video(_flicker(fade.frames, np.random.default_rng()).astype(np.uint8), 8)) > 0.05


def test_copies_of_training_clips_are_found(clips: list[Video]) -> None:
    index, distance = m.nearest([clips[7], clips[3]], clips)
    assert index.tolist() == [7, 3]
    assert distance.max() == 0
    assert m.nearest(clips, clips)[1].min() > 0


def test_copy_last_repeats_the_last_known_frame() -> None:
    known = scene(1).render(4)
    future = m.copy_last(known, 5)
    assert len(future) == 5
    assert (future.frames == known.frames[-1]).all()


def test_features_do_not_depend_on_size_or_length_and_survive_one_frame() -> None:
    thing = scene(5)
    small, large = (m.frame_features(thing.render(16, size)) for size in (32, 128))
    assert np.abs(small - large).max() < 0.04
    for frames in (1, 2, 3):
        assert np.isfinite(m.motion_features(thing.render(frames))).all()


def test_what_cannot_be_compared_is_refused() -> None:
    a, b = scene(0).render(4), scene(0).render(5)
    with pytest.raises(InputError, match="different shapes"):
        m.psnr(a, b)
    with pytest.raises(InputError, match="at least 4 real"):
        m.metrics([a] * 3, [a] * 3)
    with pytest.raises(InputError, match="nearest wants"):
        m.nearest([a], [])
    with pytest.raises(InputError, match="11 x 11"):
        m.ssim(a.resize(8, 8), a.resize(8, 8))
