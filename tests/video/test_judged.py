"""What a judge finds of clips: how many are what was asked for, how far their features are, when it is silent."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import weights
from multidiff.errors import InputError
from multidiff.modality import Example, Judged, Prompted
from multidiff.video.classifier import ClassifierObjective, ClassifierSpec, ClipClassifier
from multidiff.video.data import VideoData
from multidiff.video.faults import faults
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO

DATA = VideoData(size=32, count=240, frames=8)
LABELS = {"motion": ("moving left", "moving right"), "background": ("black", "white")}
WHERE = {"motion": LABELS["motion"], "background": LABELS["background"]}


@cache
def examples() -> tuple[Example, ...]:
    return tuple(VIDEO.examples(DATA.model_copy(update={"where": WHERE, "count": 600}), "all"))


@cache
def judge() -> ClipClassifier:
    """One that learned which way synthetic shapes move, and before what."""
    torch.manual_seed(0)
    classifier = ClipClassifier(ClassifierSpec(labels=LABELS, width=32))
    prepared = [VIDEO.prepare(example, DATA, classifier) for example in examples()[::2]]
    rows = {key: torch.stack([row[key] for row in prepared]) for key in prepared[0]}
    objective, generator = ClassifierObjective(classifier), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=5e-3)
    for _ in range(60):
        for _, loss in objective.losses(rows, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def test_video_is_judged_and_prompted() -> None:
    assert isinstance(VIDEO, Judged)
    assert isinstance(VIDEO, Prompted)


def test_real_clips_are_right_and_planted_faults_are_seen() -> None:
    real, rest = examples()[::2], examples()[1::2]
    same = VIDEO.judged(judge(), real, rest)
    wrong = {name: VIDEO.judged(judge(), real, each) for name, each in faults(rest, 0).items()}
    assert same["background_accuracy"] > 0.9
    assert same["motion_accuracy"] > 0.85
    assert wrong["reversed"]["motion_accuracy"] < 0.3
    assert wrong["reversed"]["background_accuracy"] > 0.9
    assert wrong["frozen"]["motion_accuracy"] < 0.75
    for name in ("reversed", "shuffled", "frozen"):
        assert wrong[name]["all_accuracy"] < same["all_accuracy"]
    assert wrong["frozen"]["clip_embedding_frechet"] > 2 * same["clip_embedding_frechet"]
    assert wrong["shuffled"]["frame_embedding_frechet"] == pytest.approx(same["frame_embedding_frechet"], rel=1e-3)
    noise = np.random.default_rng(0)
    noisy = [
        replace(each, media=Video(noise.integers(0, 256, each.media.frames.shape, np.uint8), each.media.fps))
        for each in rest
    ]
    assert VIDEO.judged(judge(), real, noisy)["frame_embedding_frechet"] > 3 * same["frame_embedding_frechet"]


def test_clips_of_which_its_classes_are_not_told_are_not_judged() -> None:
    """As of radar: no column is one of its own, and no caption names its classes."""
    rain = [Example(each.media, "rain on radar", fields={"coverage": "broken"}) for each in examples()[:4]]
    assert VIDEO.judged(judge(), rain, rain) == {}
    assert VIDEO.judged(judge(), rain, examples()[:4]) == {}
    assert VIDEO.judged(judge(), examples()[:4], [*rain, examples()[0]]) == {}
    mixed = VIDEO.judged(judge(), examples()[:4], [*rain, *examples()[:4]])
    assert mixed == VIDEO.judged(judge(), examples()[:4], examples()[:4])


def test_a_codec_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(InputError, match=r"no classifier; train one by recipes/video/clips-classifier\.yaml"):
        VIDEO.judged(VIDEO.codec(VIDEO.codec_spec()), examples()[:2], examples()[:2])


@cache
def shipped() -> ClipClassifier:
    codec = weights.load("clip-classifier", "cpu").codec
    assert isinstance(codec, ClipClassifier)
    return codec


def test_the_shipped_one_is_small_and_knows_the_sprites() -> None:
    assert (Path(weights.locate("clip-classifier")) / "model.safetensors").stat().st_size < 1e6
    assert set(shipped().spec.labels) == {"action", "direction"}
    told = lambda text: shipped().asked_for(Example(None, text))
    background = ", sky blue background"
    assert told("a man walking left" + background) == {"action": "walk", "direction": "left"}
    assert told("an elf shooting a bow facing towards the viewer") == {"action": "shoot", "direction": "down"}
    assert told("an orc casting a spell facing away from the viewer") == {"action": "spellcast", "direction": "up"}
    assert told("a woman falling down, black background") == {"action": "hurt", "direction": "down"}
    assert told("purple smoke flowing quickly from the left") is None
    assert told("a red ball moving left, black background") is None


def test_the_shipped_one_sees_where_the_clips_of_the_shipped_model_walk() -> None:
    model = weights.load("clips", "cpu")
    ways = {"left": "left", "right": "right", "towards the viewer": "down", "away from the viewer": "up"}
    made = [
        Example(
            model.sample(f"a man walking {way}, sand background", seed=1)[0], fields={"action": "walk", "direction": d}
        )
        for way, d in ways.items()
    ]
    found = shipped().guesses(shipped().encode([each.media for each in made]))
    assert sum(a == b for a, b in zip(found["direction"], ways.values(), strict=True)) >= 3
