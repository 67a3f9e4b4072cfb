"""A classifier of sounds that may be of several classes."""

import pytest
import torch

from multidiff.audio.codec import CodecSpec
from multidiff.audio.modality import AUDIO
from multidiff.audio.multilabel import MultiLabelTagger, f1
from multidiff.audio.objectives import TaggerObjective
from multidiff.errors import MediaError
from multidiff.modality import Example
from tests.tiny import given

CLASSES = ("kick", "hihat", "low_tom")


@pytest.fixture
def tagger() -> MultiLabelTagger:
    torch.manual_seed(0)
    made = AUDIO.codec(CodecSpec(classes=CLASSES, multi_label=True, width=16))
    assert isinstance(made, MultiLabelTagger)
    return made.eval()


def test_labels_are_a_list(tagger: MultiLabelTagger) -> None:
    assert tagger.label(Example(None, label="kick|low_tom")).tolist() == [1, 0, 1]
    assert tagger.label(Example(None)).tolist() == [0, 0, 0]
    with pytest.raises(MediaError, match=r"x\.wav: label 'clap' is none of codec\.classes \(kick, hihat, low_tom\)"):
        tagger.label(Example(None, label="kick|clap", source="x.wav"))


def test_texts_name_classes_by_words(tagger: MultiLabelTagger) -> None:
    assert tagger.named("a drum loop with Kick, hi-hats and low-toms").tolist() == [True, True, True]
    assert tagger.named("a low tom, and hi-hat").tolist() == [False, True, True]
    assert tagger.named("customs kicked, low").tolist() == [False, False, False]


def test_f1_is_that_of_the_counts() -> None:
    heard = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 0]]).bool()
    true = torch.tensor([[1, 0, 0], [1, 0, 0], [1, 1, 0]]).bool()
    assert f1(heard, true).tolist() == pytest.approx([4 / 5, 2 / 3, float("nan")], nan_ok=True)


def test_it_learns_to_tell_what_is_heard_apart(tagger: MultiLabelTagger) -> None:
    """Three bands of frequency, each there or not."""
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(24, 3, generator=generator) < 0.5).float()
    mel = -9 + 0.5 * torch.randn(24, 1, 64, 40, generator=generator)
    for k in range(3):
        mel[:, 0, 20 * k : 20 * k + 10] += 7 * label[:, k, None, None]
    silence = torch.zeros(24, 1, 40 * 256, dtype=torch.int16)
    rows = {"wave": silence, "mel": mel.half(), "label": label, "samples": torch.full((24,), 40 * 256)}
    objective = TaggerObjective(tagger)
    before = objective.validate(rows, generator)
    optimizer = torch.optim.Adam(tagger.train().parameters(), lr=1e-2)
    for _ in range(60):
        for _, loss in objective.losses(rows, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    tagger.eval()
    after = objective.validate(rows, generator)
    assert after["loss"] < 0.7 * before["loss"]
    assert after["f1"] > max(0.8, before["f1"])
    assert set(after) == {"loss", "f1", "f1_kick", "f1_hihat", "f1_low_tom"}


def test_agreement_is_with_what_texts_name(tagger: MultiLabelTagger) -> None:
    embeddings = tagger.encode([given("audio"), given("audio", seed=1)])
    assert tagger.agreement(embeddings, [Example(None, "a dog")] * 2) == {}
    with torch.no_grad():
        tagger.head[1].weight.zero_()
        tagger.head[1].bias.copy_(torch.tensor([1.0, -1.0, 1.0]))  # always kick and low tom
    found = tagger.agreement(embeddings, [Example(None, "kick and hi-hat"), Example(None, "kick")])
    assert found == {"named_f1": pytest.approx(0.5), "named_heard": pytest.approx(2 / 3)}
