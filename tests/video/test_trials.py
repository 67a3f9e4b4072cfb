"""Predictions and interpolations are judged on the new frames alone, beside what simpler ways get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multidiff.errors import InputError
from multidiff.evaluate import evaluate_completion
from multidiff.video import metrics as m
from multidiff.video import nowcast
from multidiff.video.advection import advected, motion
from multidiff.video.media import Video
from multidiff.video.synth import scene
from multidiff.video.trials import ROUNDED, completion_metrics, trials
from tests.tiny import tiny_model
from tests.video.moving import drifting

CLIPS = [scene(i).render(12, 32) for i in range(3)]


def test_a_part_of_each_clip_is_given_and_the_rest_is_asked_for() -> None:
    few, half = trials(CLIPS[0], "predict")
    assert (few.kind, half.kind) == ("after-4", "after-6")
    assert np.array_equal(half.given.frames, CLIPS[0].frames[:6])
    assert half.options == {"keep": 6, "frames": 12}
    (between,) = trials(CLIPS[0], "interpolate")
    assert np.array_equal(between.given.frames, CLIPS[0].frames[[0, 11]])
    assert between.options == {"keep": 1, "frames": 12}
    assert between.context == slice(1, 11)


def test_short_clips_are_tried_as_far_as_they_go() -> None:
    short = lambda frames: Video(CLIPS[0].frames[:frames], 8)
    assert [t.kind for t in trials(short(8), "predict")] == ["after-4"]
    assert [t.kind for t in trials(short(3), "predict")] == ["after-1"]
    assert trials(short(1), "predict") == trials(short(2), "interpolate") == []
    with pytest.raises(InputError, match="at least 11 x 11 pixels, not 8 x 8"):
        trials(CLIPS[0].resize(8, 8), "predict")


def test_tasks_without_figures_are_refused() -> None:
    with pytest.raises(InputError, match="'fill' are not measured; take --task predict or interpolate"):
        trials(Video(np.zeros((8, 16, 16, 3), np.uint8)), "fill")


def test_the_truth_is_best_and_given_frames_count_for_nothing() -> None:
    of = [trials(clip, "predict")[0] for clip in CLIPS]
    whole = lambda frames: np.concatenate([255 - frames[:4], frames[4:]])
    found = completion_metrics(of, [[Video(whole(t.whole.frames), 8)] for t in of], [])
    assert list(found) == ["completed", "persistence", "advection", *["pysteps"] * nowcast.installed()]
    best = {
        "psnr": ROUNDED,
        "psnr_best": ROUNDED,
        "ssim": 1,
        "ssim_best": 1,
        "mse": 0,
        "crps": 0,
        "spread_skill": 0,
        "outside": 1,
    }
    assert found["completed"] == pytest.approx(best)
    for row in ("persistence", "advection"):
        assert found[row]["psnr"] < 30
        assert found[row]["crps"] > 0.001


def test_rows_are_means_over_trials_of_means_and_bests_over_hypotheses() -> None:
    of = [trials(clip, "predict")[0] for clip in CLIPS]
    futures = [[t.whole, Video(t.whole.frames // 2, 8)] for t in of]
    completed = completion_metrics(of, futures, [])["completed"]
    new = lambda video: Video(video.frames[4:], 8)
    similar = [[m.ssim(new(made), new(t.whole)) for made in both] for t, both in zip(of, futures, strict=True)]
    assert completed["ssim"] == pytest.approx(np.mean(similar))
    assert completed["ssim_best"] == pytest.approx(1)
    assert completed["psnr_best"] == pytest.approx(ROUNDED)
    assert completed["mse"] == pytest.approx(
        np.mean([np.square((t.whole.frames[4:] - t.whole.frames[4:] // 2) / 255).mean() / 2 for t in of])
    )


def test_the_rank_histogram_says_how_an_ensemble_errs() -> None:
    """Honest members are flat; all too bright, the truth lies below them; all alike, it lies beyond either end."""
    random = np.random.default_rng(0)
    grey = lambda low, high: Video(random.integers(low, high, (8, 24, 24, 1), np.uint8).repeat(3, -1))
    (trial,) = trials(grey(0, 200), "predict")
    ranks = lambda members: completion_metrics([trial], [members], [])["completed"]
    honest, bright, narrow = (
        [found[f"rank/{i}"] for i in range(4)]
        for found in (ranks([grey(*around) for _ in range(3)]) for around in ((0, 200), (199, 255), (95, 105)))
    )
    assert honest == pytest.approx([1] * 4, abs=0.1)
    assert bright == pytest.approx([4, 0, 0, 0], abs=0.05)
    assert min(narrow[0], narrow[3]) > 1.7
    assert "rank/0" not in ranks([grey(0, 200)])


def test_simple_ways_to_interpolate() -> None:
    fade = Video((20 * np.arange(12, dtype=np.uint8))[:, None, None, None] * np.ones((16, 16, 3), np.uint8), 8)
    (trial,) = trials(fade, "interpolate")
    found = completion_metrics([trial], [[fade]], [])
    assert found["blend"]["psnr"] == pytest.approx(ROUNDED)
    steps = 20 / 255 * np.minimum(np.arange(1, 11), 11 - np.arange(1, 11))
    assert found["nearer end"]["crps"] == pytest.approx(steps.mean())


def test_the_training_clip_that_begins_alike_goes_on_as_its_own() -> None:
    of = [trials(clip, "predict")[1] for clip in CLIPS]
    others = [*CLIPS, Video(CLIPS[0].frames[:5], 8)]
    found = completion_metrics(of, [[t.whole] for t in of], others)
    assert found["analogue"]["psnr"] == pytest.approx(ROUNDED)
    assert "analogue" not in completion_metrics(of, [[t.whole] for t in of], others[3:])


def test_the_motion_of_a_drift_is_found_and_carried_on() -> None:
    whole = drifting(10, 0.75, -1.5)
    known = Video(whole.frames[:4], 8)
    inner = motion(known)[:, 8:-8, 8:-8]
    np.testing.assert_allclose(inner.mean((1, 2)), (0.75, -1.5), atol=0.03)
    future = advected(known, 6)
    assert (len(future), future.fps) == (6, 8)
    # What comes in over the edge cannot be known: 6 x 1.5 pixels on the right.
    inside = lambda frames: Video(frames[:, 6:-6, 2:-11], 8)
    assert m.psnr(inside(future.frames), inside(whole.frames[4:])) > 30
    assert m.psnr(inside(m.copy_last(known, 6).frames), inside(whole.frames[4:])) < 22


def test_a_still_picture_stays_and_one_frame_has_no_motion() -> None:
    still = Video(drifting(1, 0, 0).frames.repeat(3, 0), 8)
    assert np.array_equal(advected(still, 2).frames, still.frames[:2])
    with pytest.raises(InputError, match="motion of 1 frame"):
        advected(drifting(1, 0, 0), 2)


@pytest.mark.parametrize(("task", "kinds"), [("predict", {"after-4", "after-6"}), ("interpolate", {"between"})])
def test_a_model_is_measured(task: str, kinds: set[str], tiny_codec: Path, tmp_path: Path) -> None:
    model = tiny_model("video", tiny_codec, "codec.size=16", "data.size=16", "data.frames=12", "data.count=80")
    report = evaluate_completion(model, task, ("synth",), tmp_path, count=4, hypotheses=2, steps=1)
    assert set(report.figures) == kinds
    page = (tmp_path / "index.html").read_text()
    for kind, rows in report.figures.items():
        assert f"| {kind}: rank | 0 | 1 | 2 |" in report.table()
        assert f"<th scope=col>{kind}: rank</th>" in page
        assert sum(rows["completed"][f"rank/{i}"] for i in range(3)) == pytest.approx(3)
        assert rows["completed"]["psnr"] < rows["completed"]["psnr_best"] < ROUNDED
        assert rows["completed"]["spread_skill"] > 0
    assert "persistence" in report.table() or task == "interpolate"
