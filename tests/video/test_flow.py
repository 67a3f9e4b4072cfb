"""Flow points where the picture's content goes, and is as fast."""

import numpy as np
import pytest

from multidiff.video.flow import drift, speed, way
from multidiff.video.media import Video
from multidiff.video.synth import Scene
from tests.video.moving import drifting


@pytest.mark.parametrize(("down", "right", "named"), [(0, -1, "left"), (0, 1, "right"), (-1, 0, "up"), (1, 0, "down")])
def test_a_moving_picture_has_the_velocity_it_moves_with(down: int, right: int, named: str) -> None:
    """At 64 pixels, by so many a frame."""
    velocity, pace = drift(drifting(6, down, right, size=64))
    assert np.abs(velocity * 64 - (down, right)).max() < 0.3
    assert pace * 64 == pytest.approx(1, abs=0.3)
    assert way(velocity) == named


@pytest.mark.parametrize("named", ["left", "right", "up", "down"])
def test_a_shape_that_moves_says_so_and_backwards_the_contrary(named: str) -> None:
    clip = Scene("star", "red", "white", f"moving {named}", 1, 0.5, 0.5, 0.16, 0.2).render(16, 64)
    contrary = {"left": "right", "right": "left", "up": "down", "down": "up"}
    assert way(drift(clip)[0]) == named
    assert way(drift(Video(clip.frames[::-1], clip.fps))[0]) == contrary[named]


def test_twice_as_fast_is_faster() -> None:
    assert speed(drifting(6, 0, 2)) > 1.5 * speed(drifting(6, 0, 1)) > 0


def test_what_stands_still_has_no_way() -> None:
    for frames in (1, 5):
        velocity, pace = drift(Video(np.full((frames, 32, 32, 3), 90, np.uint8)))
        assert not velocity.any()
        assert pace == 0
        assert way(velocity) == ""


def test_a_character_on_the_spot_drifts_far_less_than_one_that_walks_off() -> None:
    size = lambda motion: np.hypot(
        *drift(Scene("stick figure", "red", "white", motion, 1, 0.5, 0.5, 0.16, 0.2).render())[0]
    )
    assert size("waving") < 0.2 * size("walking left")
