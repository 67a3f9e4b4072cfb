"""A classifier of clips: what it learns, how that is varied, what it refuses, and what it takes for asked."""

import numpy as np
import pytest
import torch

from multidiff.errors import MediaError, ModelError, RecipeError
from multidiff.modality import Example
from multidiff.recipe import from_dict
from multidiff.video import augment
from multidiff.video.classifier import ClassifierObjective, ClassifierSpec, ClipClassifier
from multidiff.video.data import VideoData
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO
from multidiff.video.synth import scene

DATA = VideoData(size=32, count=60, frames=8)
TOLD = {"direction": ("left", "right"), "colour": ("red", "blue")}


@pytest.fixture
def classifier() -> ClipClassifier:
    torch.manual_seed(0)
    return ClipClassifier(ClassifierSpec(width=32)).eval()


def clip(frames: int = 8, height: int = 32, width: int = 32, seed: int = 0) -> Video:
    return Video(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8))


def test_a_clip_has_the_same_embedding_alone_and_among_others(classifier: ClipClassifier) -> None:
    clips = [clip(), clip(5, 48, 40, 1), clip(1, seed=2)]
    together, frames = classifier.watched(clips)
    assert together.shape == (3, 32)
    assert frames.shape == (14, 32)
    assert torch.equal(together[1:], classifier.encode(clips[1:]))
    assert together.isfinite().all()


def test_what_frames_look_like_does_not_depend_on_their_order_but_the_clip_does(classifier: ClipClassifier) -> None:
    forward = clip()
    backward = Video(forward.frames[::-1], forward.fps)
    clips, frames = classifier.watched([forward, backward])
    assert torch.allclose(frames[:8], frames[8:].flip(0), atol=1e-5)
    assert not torch.allclose(clips[0], clips[1], rtol=1e-3, atol=1e-5)


def test_it_learns_to_tell_several_things_at_once(classifier: ClipClassifier) -> None:
    examples = list(VIDEO.examples(DATA, "train"))
    prepared = [VIDEO.prepare(example, DATA, classifier) for example in examples]
    rows = {key: torch.stack([row[key] for row in prepared]) for key in prepared[0]}
    objective, generator = ClassifierObjective(classifier), torch.Generator().manual_seed(0)
    before = objective.validate(rows, generator)
    optimizer = torch.optim.Adam(classifier.train().parameters(), lr=3e-3)
    for _ in range(60):
        for _, loss in objective.losses(rows, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    classifier.eval()
    after = objective.validate(rows, generator)
    assert after["loss"] < 0.75 * before["loss"]
    for column in ("motion", "colour"):
        assert after[f"{column}_accuracy"] > before[f"{column}_accuracy"] + 0.3
    asked = [found for example in examples if (found := classifier.asked_for(example)) is not None]
    found = classifier.agreement(classifier.encode([example.media for example in examples]), asked)
    assert found["motion_accuracy"] == pytest.approx(after["motion_accuracy"], abs=1e-6)
    assert found["all_accuracy"] <= min(found["motion_accuracy"], found["colour_accuracy"])


def test_a_loss_is_a_function_of_its_generator(classifier: ClipClassifier) -> None:
    objective = ClassifierObjective(classifier)
    rows = {"frames": torch.from_numpy(clip().frames)[None], "label": torch.tensor([[0, 1]])}

    def loss(seed: int) -> float:
        return float(next(objective.losses(rows, torch.Generator().manual_seed(seed)))[1].detach())

    assert loss(1) == loss(1) != loss(2)


def test_variation_keeps_the_order_of_frames_and_colours_names() -> None:
    red = np.zeros((40, 16, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    red[:, np.arange(16), 8:24, np.arange(16) + 8] = 255  # a white line that moves right
    varied = augment.varied(torch.from_numpy(red), torch.Generator().manual_seed(0))
    assert 12 <= varied.shape[1] <= 16
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert (varied[..., 0].mean((1, 2, 3)) > varied[..., 1].mean((1, 2, 3)) + 80).all()
    place = varied[..., 1].mean(2).argmax(-1).float()
    assert (place[:, -1] - place[:, 0] > 6).all()
    assert place[:, 0].unique().numel() > 3


def test_values_outside_the_classes_are_refused_by_name() -> None:
    classifier = ClipClassifier(ClassifierSpec(labels=TOLD, width=8))
    told = Example(None, source="x.mp4", fields={"direction": "left", "colour": "blue"})
    assert classifier.label(told).tolist() == [0, 1]
    with pytest.raises(MediaError, match=r"x\.mp4: colour 'mauve' is none of codec\.labels\.colour \(red, blue\)"):
        classifier.label(Example(None, source="x.mp4", fields={"direction": "left", "colour": "mauve"}))
    with pytest.raises(MediaError, match="direction '' is none"):
        classifier.label(Example(None, source="x.mp4"))


def test_what_is_asked_for_is_in_the_columns_or_else_in_the_caption() -> None:
    classifier = ClipClassifier(ClassifierSpec(labels=TOLD, words={"left": ["to the left", "leftwards"]}, width=8))
    asked = lambda text, **fields: classifier.asked_for(Example(None, text, fields=fields))
    assert asked("", direction="left", colour="red") == {"direction": "left", "colour": "red"}
    assert asked("a Blue ball moving leftwards") == {"direction": "left", "colour": "blue"}
    assert asked("a blue ball", direction="right", colour="mauve") == {"direction": "right", "colour": "blue"}
    assert asked("a blue ball") is None
    assert asked("a blue ball that was left behind") is None
    assert asked("a red and blue ball moving right") is None
    assert asked("a reddish ball moving right") is None


def test_it_makes_no_clips(classifier: ClipClassifier) -> None:
    with pytest.raises(ModelError, match="a classifier watches clips; it cannot make any"):
        classifier.decode(torch.zeros(1, 32), None)


@pytest.mark.parametrize(
    ("codec", "fault"),
    [
        ("size: 40", "size: 40 is no multiple of 32"),
        ("labels: {action: [walk]}", "labels: 'action' needs two or more different classes"),
        ("labels: {action: [walk, walk]}", "labels: 'action' needs two or more different classes"),
        ("labelz: {}", "labelz: unknown key, did you mean 'labels'"),
    ],
)
def test_a_wrong_recipe_is_refused(codec: str, fault: str) -> None:
    import yaml

    section = {"kind": "classifier", **yaml.safe_load(codec)}
    with pytest.raises(RecipeError, match=fault):
        from_dict({"name": "x", "modality": "video", "codec": section, "data": {}, "network": {}, "options": {}}, "x")


def test_the_classes_of_a_clip_follow_its_scene() -> None:
    (example,) = (e for i, e in enumerate(VIDEO.examples(DATA, "all")) if i == 3)
    assert example.fields == scene(3).fields
