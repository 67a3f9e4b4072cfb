import math

import pytest
import torch

from multidiff.audio.beat import PARTS, PHASES, beat
from multidiff.audio.codec import CodecSpec, MelCodec
from multidiff.audio.completion import Extend
from multidiff.audio.data import AudioData
from multidiff.audio.media import Audio
from multidiff.audio.modality import AUDIO
from multidiff.modality import Example


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    torch.manual_seed(0)
    return AUDIO.codec(CodecSpec(width=32, channels=8, vocoder_width=32, vocoder_depth=2)).eval()


def test_the_phases_are_those_of_a_bar_and_of_its_parts(codec: MelCodec) -> None:
    found = beat(codec, torch.tensor([120.0, 0.0]), torch.tensor([0.25, 1.0]), 40)
    assert found.shape == (2, PHASES, 40)
    assert not found[1].any()
    middle = 0.25 + 7.5 * codec.stride / codec.rate
    for index, part in enumerate(PARTS):
        angle = 2 * math.pi * part * 2 * middle  # 120 a minute are 2 a second
        assert found[0, index, 7] == pytest.approx(math.sin(angle), abs=1e-4)
        assert found[0, index + len(PARTS), 7] == pytest.approx(math.cos(angle), abs=1e-4)


def test_training_and_sampling_tell_the_same_beat(codec: MelCodec) -> None:
    """A row whose caption states a tempo, in a crop that begins with its sound, against options of that tempo."""
    data = AudioData(seconds=2.0)
    click = Audio(torch.randn(44100, generator=torch.Generator().manual_seed(0)).numpy() * 0.1, 22050)
    texts, starts = ("a loop at 140 bpm", "rain falling", "a loop at 140 bpm"), (0.0, 0.0, 3.1)
    examples = [Example(click, text, start=start) for text, start in zip(texts, starts, strict=True)]
    rows = [AUDIO.prepare(example, data, codec) for example in examples]
    stacked = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    assert stacked["bpm"].tolist() == [140.0, 0.0, 140.0]
    batch = AUDIO.batch(stacked, codec, data, torch.Generator().manual_seed(0))
    told = batch.condition["beat"]
    assert not told[1].any()
    # The third is a later part of a long file, whose first beat was 3.1 s before.
    start = batch.condition["seconds"][[0, 2], 0] + torch.tensor([0.0, 3.1])
    torch.testing.assert_close(told[[0, 2]], beat(codec, torch.full((2,), 140.0), start, batch.x0.shape[-1]))
    options = AUDIO.options(seconds=2.0, bpm=140)
    own = AUDIO.extra_condition(codec, options, 1)["beat"]
    torch.testing.assert_close(own, beat(codec, torch.tensor([140.0]), torch.zeros(1), own.shape[-1]))


def test_what_is_put_before_a_sound_leads_up_to_its_first_beat(codec: MelCodec) -> None:
    audio = Audio(torch.randn(22050, generator=torch.Generator().manual_seed(0)).numpy() * 0.1, 22050)
    given, _ = AUDIO.given(audio, "extend", Extend(seconds=-1.0), codec, AUDIO.options(bpm=90))
    expected = beat(codec, torch.tensor([90.0]), torch.tensor([-1.0]), given.known.shape[-1])
    torch.testing.assert_close(given.condition["beat"], expected)
