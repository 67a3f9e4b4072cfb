"""A classifier of sounds: what it learns, what it refuses, and what the shipped one makes of noise and silence."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import recipe, weights
from multidiff.audio import metrics
from multidiff.audio.augment import MASKED, band
from multidiff.audio.codec import CodecSpec
from multidiff.audio.data import AudioData
from multidiff.audio.media import Audio
from multidiff.audio.modality import AUDIO
from multidiff.audio.objectives import TaggerObjective
from multidiff.audio.tagger import Tagger
from multidiff.errors import MediaError, ModelError
from multidiff.modality import Example

DATA = AudioData(items=24, seconds=1.0)
CLASSES = tuple(recipe.load("classifier").codec.classes)  # type: ignore[attr-defined]


@pytest.fixture
def tagger() -> Tagger:
    torch.manual_seed(0)
    return Tagger(CodecSpec(classes=CLASSES, width=32)).eval()


def rows(tagger: Tagger) -> dict[str, torch.Tensor]:
    prepared = [AUDIO.prepare(example, DATA, tagger) for example in AUDIO.examples(DATA, "train")]
    return {key: torch.stack([row[key] for row in prepared]) for key in prepared[0]}


def test_a_sound_has_the_same_embedding_alone_and_among_others(tagger: Tagger) -> None:
    sounds = [example.media for example in AUDIO.examples(DATA, "val")]
    together = tagger.encode(sounds)
    assert together.shape == (len(sounds), 32)
    assert torch.equal(together[1:], tagger.encode(sounds[1:]))


def test_sounds_of_any_length_rate_and_channels_are_taken(tagger: Tagger) -> None:
    rng = np.random.default_rng(0)
    sounds = [Audio(rng.standard_normal((2, 441)), 44100), Audio(rng.standard_normal(200_000), 16000)]
    assert tagger.encode(sounds).isfinite().all()


def test_it_learns_to_tell_sounds_apart(tagger: Tagger) -> None:
    prepared, objective = rows(tagger), TaggerObjective(tagger)
    generator = torch.Generator().manual_seed(0)
    before = objective.validate(prepared, generator)
    optimizer = torch.optim.Adam(tagger.train().parameters(), lr=3e-3)
    for _ in range(60):
        for _, loss in objective.losses(prepared, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    tagger.eval()
    after = objective.validate(prepared, generator)
    assert after["loss"] < 0.75 * before["loss"]
    assert after["accuracy"] > before["accuracy"] + 0.2


def test_a_loss_is_a_function_of_its_generator(tagger: Tagger) -> None:
    prepared, objective = rows(tagger), TaggerObjective(tagger)

    def loss(seed: int) -> float:
        return float(next(objective.losses(prepared, torch.Generator().manual_seed(seed)))[1].detach())

    assert loss(1) == loss(1) != loss(2)


def test_a_band_hides_up_to_its_share_anywhere() -> None:
    hidden = band(2000, 100, torch.Generator().manual_seed(0))
    assert hidden.sum(dim=1).max() <= 100 * MASKED + 1
    assert hidden.any(dim=0).all()


def test_labels_outside_the_classes_are_refused_by_name(tagger: Tagger) -> None:
    with pytest.raises(MediaError, match=r"x\.wav: label 'moo' is none of codec\.classes \(tone"):
        tagger.label(Example(None, "", "moo", "x.wav"))


def test_it_makes_no_sounds() -> None:
    model = weights.load("classifier", "cpu")
    with pytest.raises(ModelError, match="no denoiser"):
        model.sample()
    with pytest.raises(ModelError, match="no denoiser"):
        model.complete(Audio(np.ones(9000), 22050), extend=1)
    with pytest.raises(ModelError, match="a tagger listens to sounds; it cannot make any"):
        model.codec.decode(torch.zeros(1, 128), None)  # type: ignore[operator]


@cache
def shipped() -> Tagger:
    codec = weights.load("classifier", "cpu").codec
    assert isinstance(codec, Tagger)
    return codec


def test_the_shipped_one_is_small() -> None:
    assert (Path(weights.locate("classifier")) / "model.safetensors").stat().st_size < 5e5


def asked_for(sounds: Iterator[np.ndarray]) -> list[Example]:
    """As if made for each class in turn."""
    return [
        Example(Audio(sound, 22050), label=label)
        for sound, label in zip(sounds, 2 * shipped().spec.classes, strict=True)
    ]


def test_white_noise_and_silence_score_badly_by_the_shipped_one() -> None:
    """Against real-like sounds, noise and silence are much farther than another half of the same sounds."""
    sounds = list(AUDIO.examples(AudioData(items=40, seconds=1.0), "train"))
    rng = np.random.default_rng(0)
    white = asked_for(0.2 * rng.standard_normal(22050) for _ in range(20))
    silent = asked_for(np.zeros(22050) for _ in range(20))
    same, noise, silence = (metrics.judged(shipped(), sounds[::2], made) for made in (sounds[1::2], white, silent))
    for made in (noise, silence):
        assert made["kad"] - made["kad_ci95"] > same["kad"] + same["kad_ci95"] + 10
        assert made["embedding_frechet"] > 1.5 * same["embedding_frechet"]
        assert made["class_accuracy"] <= 0.2
