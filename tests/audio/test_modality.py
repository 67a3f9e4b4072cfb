import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from multidiff.audio.batch import known_frames
from multidiff.audio.codec import CodecSpec, MelCodec
from multidiff.audio.data import AudioData
from multidiff.audio.media import Audio
from multidiff.audio.modality import AUDIO
from multidiff.errors import InputError, MediaError

DATA = AudioData(items=12, seconds=1.5)
FILL, EXTEND = AUDIO.tasks["fill"], AUDIO.tasks["extend"]


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    torch.manual_seed(0)
    return AUDIO.codec(CodecSpec(width=32, channels=8, vocoder_width=32, vocoder_depth=2)).eval()


@pytest.fixture(scope="module")
def rows(codec) -> dict[str, torch.Tensor]:
    prepared = [AUDIO.prepare(example, DATA, codec) for example in AUDIO.examples(DATA, "train")]
    return {key: torch.stack([row[key] for row in prepared]) for key in prepared[0]}


def noise(seconds: float, rate: int = 22050, channels: int = 1) -> Audio:
    return Audio(0.1 * np.random.default_rng(0).standard_normal((channels, round(seconds * rate))), rate)


def test_importing_the_modality_loads_no_media_library():
    heavy = ("soundfile", "librosa", "av", "trimesh", "matplotlib", "scipy", "skimage", "torchaudio", "soxr")
    program = f"import sys, multidiff.audio.modality; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_rows_are_of_one_compact_size(rows, codec):
    assert {key: (value.dtype, tuple(value.shape[1:])) for key, value in rows.items()} == {
        "wave": (torch.int16, (1, 33075)),
        "mel": (torch.float16, (1, 64, codec.log_mel.frames(33075))),
        "samples": (torch.int64, ()),
        "bpm": (torch.float32, ()),
        "begin": (torch.float32, ()),
    }


def test_a_batch_is_a_function_of_its_generator(rows, codec):
    first, second, third = (AUDIO.batch(rows, codec, DATA, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first.x0, second.x0)
    assert all(torch.equal(first.condition[key], second.condition[key]) for key in first.condition)
    assert first.x0.shape != third.x0.shape or not torch.equal(first.x0, third.x0)


def test_a_whole_clip_is_encoded_as_the_codec_would(rows, codec):
    expected = codec.encode_mel(rows["mel"].float())
    for seed in range(40):
        batch = AUDIO.batch(rows, codec, DATA, torch.Generator().manual_seed(seed))
        if batch.x0.shape[-1] == expected.shape[-1]:
            whole = ~batch.condition["degraded"].any(dim=(1, 2))
            assert torch.allclose(batch.x0[whole, :, :-8], expected[whole, :, :-8], atol=1e-3)
            return
    pytest.fail("no batch had the whole clip's length")


def test_padding_has_no_weight_and_the_condition_says_where_sound_ends(rows, codec):
    short = dict(rows, samples=torch.full_like(rows["samples"], 11025))
    batch = AUDIO.batch(short, codec, DATA, torch.Generator().manual_seed(0))
    sounding = codec.length(11025)
    assert batch.weight[:, :, :sounding].eq(1).all()
    assert batch.weight[:, :, sounding:].eq(0).all()
    assert torch.allclose(batch.condition["seconds"], torch.tensor([0.0, 0.5]).expand(len(batch.x0), 2), atol=0.02)


def test_known_frames_mix_free_generation_holes_and_beginnings():
    known = known_frames(torch.full((2000,), 40), 50, torch.Generator().manual_seed(0))
    begins, ends = known[:, 0], known[:, -1]
    assert (~known.any(dim=1)).float().mean() == pytest.approx(0.5, abs=0.05)
    assert ends.float().mean() == pytest.approx(0.3, abs=0.05)
    assert (begins & ~ends).float().mean() == pytest.approx(0.2, abs=0.05)
    assert not known[:, :40].all(dim=1).any()


def test_a_filled_gap_changes_no_sample_outside_its_crossfades(codec):
    audio = noise(1.3, rate=44100, channels=2)
    given, options = AUDIO.given(audio, "fill", FILL(**{"from": 0.4, "to": 0.7}), codec, AUDIO.options())
    assert AUDIO.event_shape(codec, options) == given.known.shape[1:]
    assert 0.3 < given.mask.mean() < 0.8
    assert given.condition["seconds"].tolist() == [[0.0, pytest.approx(1.3)]]
    merged = AUDIO.merge(noise(1.3), audio, given)
    changed = np.flatnonzero((merged.samples != audio.samples).any(axis=0)) / 44100
    assert merged.samples.shape == audio.samples.shape
    assert 0.38 <= changed.min() < 0.385
    assert 0.715 < changed.max() <= 0.72


def test_an_extended_sound_begins_with_the_given_one(codec):
    audio = noise(1.0, rate=16000)
    given, options = AUDIO.given(audio, "extend", EXTEND(seconds=0.5), codec, AUDIO.options())
    assert options.seconds == 1.5
    merged = AUDIO.merge(noise(1.5), audio, given)
    assert merged.samples.shape == (1, 24000)
    assert np.array_equal(merged.samples[:, :15680], audio.samples[:, :15680])
    assert np.abs(merged.samples[:, 16000:]).mean() > 0


def test_what_is_in_the_gap_does_not_reach_the_known_latents(codec):
    audio = noise(1.3)
    other = Audio(audio.samples.copy(), audio.rate)
    other.samples[:, round(0.5 * 22050) : round(0.7 * 22050)] *= 0.5
    task = FILL(**{"from": 0.5, "to": 0.7})
    first, second = (AUDIO.given(a, "fill", task, codec, AUDIO.options())[0] for a in (audio, other))
    assert torch.allclose(first.known, second.known, atol=1e-4)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.4), (0.2, 9.0)])
def test_a_gap_outside_the_sound_is_refused(codec, start, end):
    with pytest.raises(InputError, match="cannot fill from"):
        AUDIO.given(noise(1.0), "fill", FILL(**{"from": start, "to": end}), codec, AUDIO.options())


def test_silent_and_overlong_sounds_are_refused(codec):
    with pytest.raises(MediaError, match="silent"):
        AUDIO.given(Audio(np.zeros(22050), 22050), "extend", EXTEND(), codec, AUDIO.options())
    with pytest.raises(InputError, match="cut or lengthen it"):
        AUDIO.options_of(Audio(np.ones(100 * 1000), 1000), AUDIO.options())


def test_a_generated_sound_is_never_louder_than_full_scale(codec, monkeypatch):
    wave = 3 * torch.sin(torch.arange(22050 * 5) / 20)[None]
    monkeypatch.setattr(codec.vocoder, "forward", lambda log_mel: wave)
    sound = codec.decode(torch.zeros(1, *AUDIO.event_shape(codec, AUDIO.options())), AUDIO.options())[0]
    assert sound.peak == pytest.approx(0.98)
    inner = slice(200, -200)  # the ends are faded
    np.testing.assert_allclose(sound.samples[0, inner] / 0.98 * 3, wave[0, : sound.samples.shape[1]][inner], atol=1e-3)


def test_the_filled_part_is_as_loud_as_the_given_one(codec):
    """A generated sound that came out at another level is brought to that of the given one."""
    audio, task = noise(1.0), FILL(**{"from": 0.4, "to": 0.6})
    given, _ = AUDIO.given(audio, "fill", task, codec, AUDIO.options())
    quiet = Audio(0.25 * audio.samples, audio.rate)
    np.testing.assert_allclose(AUDIO.merge(quiet, audio, given).samples, audio.samples, atol=1e-4)


def test_a_sound_extended_backwards_ends_with_the_given_one(codec):
    audio = noise(1.0, rate=16000)
    given, options = AUDIO.given(audio, "extend", EXTEND(seconds=-0.5), codec, AUDIO.options())
    assert options.seconds == 1.5
    assert not given.mask[..., : codec.length(round(0.5 * codec.rate))].any()
    assert given.mask[..., codec.length(round(0.55 * codec.rate)) : -1].all()
    merged = AUDIO.merge(noise(1.5), audio, given)
    assert merged.samples.shape == (1, 24000)
    assert np.array_equal(merged.samples[:, 8320:], audio.samples[:, 320:])
    assert np.abs(merged.samples[:, :8000]).mean() > 0


def test_extending_by_nothing_is_refused():
    with pytest.raises(ValidationError, match="0 s add nothing"):
        EXTEND(seconds=0)


def test_the_generated_part_is_turned_down_before_it_clips(codec):
    audio = noise(1.0)
    given, _ = AUDIO.given(audio, "fill", FILL(**{"from": 0.4, "to": 0.6}), codec, AUDIO.options())
    wild = Audio(audio.samples.copy(), audio.rate)
    wild.samples[:, 9000:13000] *= 100
    merged = AUDIO.merge(wild, audio, given)
    assert merged.peak < 0.981
    assert np.array_equal(merged.samples[:, :8000], audio.samples[:, :8000])
