"""Clips with planted faults are what the faults are called."""

import numpy as np

from multidiff.modality import Example
from multidiff.video.faults import FLICKER, faults
from multidiff.video.synth import scene


def test_faults_are_what_they_are_called() -> None:
    examples = [Example(scene(i).render(), scene(i).text) for i in range(2)]
    found = faults(examples, seed=0)
    assert list(found) == ["frozen", "reversed", "shuffled", "flickering"]
    for index, example in enumerate(examples):
        frames = example.media.frames
        made = {name: each[index].media.frames for name, each in found.items()}
        assert all(each[index].text == example.text for each in found.values())
        assert (made["frozen"] == frames[0]).all()
        np.testing.assert_array_equal(made["reversed"], frames[::-1])
        pictures = [sorted(each.tobytes() for each in clip) for clip in (made["shuffled"], frames)]
        assert pictures[0] == pictures[1]
        assert (made["shuffled"] != frames).any()
        light = made["flickering"].mean((1, 2, 3)) / frames.mean((1, 2, 3))
        assert 0.01 < light.std() < FLICKER
