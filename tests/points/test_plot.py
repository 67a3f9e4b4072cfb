from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from multidiff.points import plot
from multidiff.points.media import PointCloud


def ball(count: int = 600) -> np.ndarray:
    """Evenly spread points (count, 3) on the unit sphere: Fibonacci's spiral."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=1)


def hue(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    """Pixels (H, W) whose colour points in the direction of `color` and is no white or grey."""
    pixels = np.asarray(image, float)
    direction = np.array(color) - np.mean(color)
    offset = pixels - pixels.mean(2, keepdims=True)
    return (offset @ direction > 0.9 * np.linalg.norm(offset, axis=2) * np.linalg.norm(direction)) & (
        np.ptp(pixels, axis=2) > 40
    )


def test_a_plot_is_a_png_of_four_views_on_white(tmp_path: Path) -> None:
    image = Image.open(plot.plot(PointCloud(ball()), tmp_path / "a.png", "a ball"))
    assert image.format == "PNG"
    assert image.width == 4 * 320
    assert np.asarray(image)[-1, 0].tolist() == [255, 255, 255]
    for view in range(4):
        assert hue(image.crop((320 * view, 40, 320 * (view + 1), image.height)), plot.MADE_COLOR).mean() > 0.1


def test_near_points_hide_far_ones() -> None:
    points = np.concatenate([ball(3000), 0.3 * ball(200)])
    colors = np.where(np.arange(len(points))[:, None] < 3000, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    image = plot.render(PointCloud(points, colors), 0, 0)
    assert hue(image, (255, 0, 0)).mean() > 0.3
    assert hue(image, (0, 0, 255)).mean() < 0.02


def test_front_up_and_right_are_where_they_should_be() -> None:
    cloud = ball(4000)
    for axis, (azimuth, elevation), half in (
        (0, (0, 0), np.s_[:, 160:]),
        (1, (0, 0), np.s_[:160]),
        (2, (90, 0), np.s_[:, :160]),
    ):
        red = np.where(cloud[:, axis : axis + 1] > 0.3, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
        seen = hue(plot.render(PointCloud(cloud, red), azimuth, elevation), (255, 0, 0))
        assert seen[half].sum() > 0.95 * seen.sum()
    front = np.where(cloud[:, 2:] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    assert hue(plot.render(PointCloud(cloud, front), 0, 0), (0, 0, 255)).mean() < 0.02


def test_points_of_little_confidence_are_paler() -> None:
    cloud = PointCloud(ball(4000), confidence=(ball(4000)[:, 0] > 0).astype(float))
    for shown in (cloud, plot.marked(cloud, np.zeros(4000, bool))):
        pixels = np.asarray(plot.render(shown, 0, 0), float)[100:220]
        sure, unsure = pixels[:, 200:260].mean((0, 1)), pixels[:, 60:120].mean((0, 1))
        assert (unsure - sure > (40, 20, 10)).all()
    assert (plot.marked(cloud, np.ones(4000, bool)).colors == plot.GIVEN_COLOR).all()


def test_given_points_are_shown_in_another_colour() -> None:
    cloud = ball(2000)
    image = plot.render(plot.marked(PointCloud(cloud), cloud[:, 1] > 0), 0, 0)
    top, bottom = image.crop((0, 0, 320, 150)), image.crop((0, 170, 320, 320))
    assert hue(top, plot.GIVEN_COLOR).mean() > 0.2
    assert hue(bottom, plot.MADE_COLOR).mean() > 0.2
    assert hue(bottom, plot.GIVEN_COLOR).mean() < 0.01


def test_a_sheet_lays_out_rows_with_titles_and_huge_clouds_are_thinned(tmp_path: Path) -> None:
    path = plot.sheet([PointCloud(ball(100_000))] * 3, tmp_path / "s.png", ["a", "b", "a long title " * 9], columns=2)
    image = Image.open(path)
    assert image.width == 480
    assert image.height > 480


def test_a_turntable_is_a_full_turn_that_begins_as_the_picture_does() -> None:
    cloud = PointCloud(ball(300) * [1, 1, 0.3])
    frames = plot.turntable(cloud, 64)
    assert frames.shape == (round(plot.TURN_SECONDS * plot.TURN_FPS), 64, 64, 3)
    np.testing.assert_array_equal(frames[0], np.asarray(plot.render(cloud, *plot.VIEWS[0], size=64)))
    steps = np.abs(np.diff(frames, axis=0, append=frames[:1]).astype(np.int8)).mean((1, 2, 3))
    assert steps.min() > 0
    assert steps[-1] < 2 * steps[:-1].max()  # it ends where it began


def test_what_is_at_the_back_is_seen_half_a_turn_later() -> None:
    points = ball(1500)
    colors = np.where(points[:, 2:] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    frames = plot.turntable(PointCloud(points, colors), 64)
    for number, color in ((-5, (255, 0, 0)), (len(frames) // 2 - 5, (0, 0, 255))):
        assert hue(Image.fromarray(frames[number]), color).mean() > 0.3


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_cloud_is_saved_as_a_turntable_that_other_programs_play(tmp_path: Path, kind: str) -> None:
    path = PointCloud(ball(200)).save(tmp_path / f"ball.{kind}", {"title": "a round ball"})
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert "a round ball" in str(container.metadata)
    assert len(frames) == round(plot.TURN_SECONDS * plot.TURN_FPS)
    assert frames[0].shape == (320, 320, 3)
    assert frames[0][0, 0].min() > 240
    assert frames[0][160, 160].max() < 240
