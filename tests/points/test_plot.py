from pathlib import Path

import numpy as np
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
