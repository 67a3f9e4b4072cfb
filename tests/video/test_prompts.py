"""What captions say is looked for in clips, and planted clips that do otherwise are seen."""

from dataclasses import replace

import numpy as np
import pytest

from multidiff.modality import Example
from multidiff.video.faults import faults
from multidiff.video.media import Video
from multidiff.video.prompts import SMOKE, prompt_accuracy, smoke_colour, smoke_side
from multidiff.video.synth import scene

SIDES = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}


def plume(colour: str, side: str, step: float = 2.0, disc: bool = False) -> Video:
    """A growing blob that goes from a side across the middle, so many pixels a frame, perhaps around a grey disc."""
    y, x = np.indices((64, 64)) - 31.5
    toward = np.array(SIDES[side])
    frames = []
    for t in range(12):
        cover = np.zeros((64, 64))
        for behind in range(t + 1):
            at = toward * (26 - step * behind)
            cover = np.maximum(cover, np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * (3 + 0.3 * behind) ** 2)))
        frame = 15 + 0.8 * cover[..., None] * (np.array(SMOKE[colour]) - 15)
        if disc:
            frame[np.hypot(y, x) < 6] = 100
        frames.append(frame)
    return Video(np.round(frames).astype(np.uint8), 12)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("disc", [False, True])
def test_smoke_is_told_by_its_colour_and_side(side: str, disc: bool) -> None:
    for colour in ("red", "yellow", "green", "blue", "purple", "white"):
        clip = plume(colour, side, disc=disc)
        assert smoke_colour(clip) == colour
        assert smoke_side(clip) == side


def test_smoke_that_is_what_it_is_said_to_be_scores_one_and_another_less() -> None:
    texts = ["red smoke flowing quickly from the left", "blue smoke flowing gently from the top"]
    right = [Example(plume("red", "left", 3), texts[0]), Example(plume("blue", "top", 1), texts[1])]
    names = {"flow_direction_accuracy", "flow_speed_order", "smoke_colour_accuracy", "smoke_side_accuracy"}
    assert prompt_accuracy(right) == dict.fromkeys(names, 1.0)
    swapped = [Example(a.media, b.text) for a, b in zip(right, right[::-1], strict=True)]
    assert prompt_accuracy(swapped) == dict.fromkeys(names, 0.0)


def test_reversed_smoke_flows_the_wrong_way_and_frozen_smoke_nowhere() -> None:
    examples = [Example(plume("red", side), f"red smoke from the {side}") for side in SIDES]
    wrong = faults(examples, 0)
    assert prompt_accuracy(examples)["flow_direction_accuracy"] == 1
    assert prompt_accuracy(wrong["reversed"])["flow_direction_accuracy"] == 0
    frozen = prompt_accuracy(wrong["frozen"])
    assert set(frozen.values()) == {0.0}


def test_shapes_that_move_as_their_captions_say() -> None:
    scenes = [s for s in map(scene, range(100)) if s.motion.startswith("moving")]
    clips = [Example(s.render(12, 32), s.text) for s in scenes]
    assert len(clips) > 20
    assert prompt_accuracy(clips)["flow_direction_accuracy"] > 0.9
    mirrored = [replace(c, media=Video(c.media.frames[:, ::-1, ::-1], 8)) for c in clips]
    assert prompt_accuracy(mirrored)["flow_direction_accuracy"] < 0.1


def test_nothing_is_told_of_what_captions_do_not_say() -> None:
    clip = plume("red", "left")
    assert prompt_accuracy([Example(clip, "a man walking left, sky blue background"), Example(clip)]) == {}
    assert prompt_accuracy([Example(clip, "rain moving left")]).keys() == {"flow_direction_accuracy"}
    assert prompt_accuracy([Example(clip, "smoke flowing quickly")]) == {}
