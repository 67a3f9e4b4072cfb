"""Procedural clips show what their captions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multidiff.video.media import Video
from multidiff.video.synth import COLOURS, FIGURE, FIGURE_MOTIONS, SHAPE_MOTIONS, SHAPES, Scene, scene

BALL = Scene("ball", "red", "black", "moving left", 1, 0.5, 0.5, 0.15, 0.0)


def centres(video: Video) -> np.ndarray:
    """(T, 2): centre of what is not background, x and y in picture widths, on the torus."""
    light = video.frames.max(-1) / 255
    turn = np.exp(2j * np.pi * (np.arange(video.width) + 0.5) / video.width)
    return np.stack([np.angle((light.sum(axis) * turn).sum(1)) / (2 * np.pi) % 1 for axis in (1, 2)], -1)


def test_the_same_index_is_the_same_clip_and_others_differ() -> None:
    assert scene(3) == scene(3)
    assert (scene(3).render().frames == scene(3).render().frames).all()
    assert len({scene(i) for i in range(200)}) == 200
    assert len({scene(i).text for i in range(200)}) > 120


def test_every_shape_colour_and_motion_occurs() -> None:
    scenes = [scene(i) for i in range(600)]
    assert {s.shape for s in scenes} == {*SHAPES, FIGURE}
    assert {s.colour for s in scenes} == set(COLOURS)
    assert {s.motion for s in scenes} == {*SHAPE_MOTIONS, *FIGURE_MOTIONS}
    assert not [s for s in scenes if s.shape == "ball" and s.motion.startswith("rotating")]


def test_captions_name_shape_colour_motion_speed_and_background() -> None:
    assert replace(BALL, colour="orange", cycles=2).text == "an orange ball moving left quickly, black background"
    assert BALL.fields == {
        "shape": "ball",
        "colour": "red",
        "background": "black",
        "motion": "moving left",
        "speed": "slow",
    }


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_moving_goes_where_it_says(direction: str, axis: int, sign: int) -> None:
    track = centres(replace(BALL, motion=f"moving {direction}").render())
    steps = (np.diff(track, axis=0) + 0.5) % 1 - 0.5
    np.testing.assert_allclose(steps[:, axis], sign / 16, atol=0.01)
    np.testing.assert_allclose(steps[:, 1 - axis], 0, atol=0.01)


def test_figures_walk_where_they_say() -> None:
    for direction, sign in (("left", -1), ("right", 1)):
        track = centres(replace(BALL, shape=FIGURE, motion=f"walking {direction}").render())
        steps = (np.diff(track[:, 0]) + 0.5) % 1 - 0.5
        assert (np.sign(steps) == sign).mean() > 0.9


def test_clockwise_and_counterclockwise_are_each_other_backwards() -> None:
    one = replace(BALL, shape="triangle", motion="rotating clockwise").render().frames
    other = replace(BALL, shape="triangle", motion="rotating counterclockwise").render().frames
    np.testing.assert_array_equal(np.roll(one[::-1], 1, axis=0), other)
    # The top corner of the triangle goes to the right first.
    top = one[1].max(-1)[: np.flatnonzero(one[1].max((1, 2)))[0] + 2]
    assert np.average(np.arange(64), weights=top.sum(0)) > 32


def test_growing_changes_the_area_and_nothing_else() -> None:
    area = replace(BALL, motion="growing and shrinking").render().frames[..., 0].sum((1, 2)).astype(float)
    assert area.max() > 3 * area.min()
    assert centres(replace(BALL, motion="growing and shrinking").render()).std(0).max() < 1e-3


@pytest.mark.parametrize("index", range(12))
def test_clips_are_seamless_cycles(index: int) -> None:
    light = scene(index).render().frames / 255
    jumps = np.abs(light - np.roll(light, 1, axis=0)).mean((1, 2, 3))
    assert jumps[0] <= 1.05 * jumps[1:].max()


def test_edges_are_smooth_and_size_changes_only_the_sampling() -> None:
    small, large = (BALL.render(2, size).frames[0, :, :, 0].astype(float) for size in (32, 128))
    np.testing.assert_allclose(small, large.reshape(32, 4, 32, 4).mean((1, 3)), atol=20)
    assert len(np.unique(small)) > 4
