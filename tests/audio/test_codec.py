from types import SimpleNamespace

import numpy as np
import pytest
import torch

from multidiff.audio.codec import CodecSpec, MelCodec, MelSpec
from multidiff.audio.edges import EDGE, limited, stretched
from multidiff.audio.media import Audio
from multidiff.audio.objectives import AutoencoderObjective
from multidiff.audio.options import AudioOptions
from multidiff.errors import ModelError

SMALL = CodecSpec(width=32, channels=8, vocoder_width=32, vocoder_depth=2)


PLANE = SMALL.model_copy(update={"autoencoder": "2d"})
BOTH = pytest.mark.parametrize("spec", [SMALL, PLANE], ids=["1d", "2d"])


@pytest.fixture(scope="module", params=[SMALL, PLANE], ids=["1d", "2d"])
def codec(request: pytest.FixtureRequest) -> MelCodec:
    torch.manual_seed(0)
    return MelCodec(request.param).eval()


def chord(seconds: float, rate: int = 22050, channels: int = 1) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * f * time) for f in (220, 550, 1300)) * 0.2 * np.exp(-time)
    return Audio(np.tile(wave.astype(np.float32), (channels, 1)), rate)


def rows(codec: MelCodec, seconds: float = 2.5) -> dict[str, torch.Tensor]:
    wave = codec.wave(chord(seconds))
    return {
        "mel": codec.mel(wave[None]).half(),
        "wave": (wave[None] * 32767).short(),
        "samples": torch.tensor([wave.shape[1]]),
    }


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.2345, 3.0])
def test_decoding_returns_exactly_the_samples_asked_for(codec, seconds):
    x = codec.encode([chord(seconds, rate=16000, channels=2)])
    samples = round(seconds * 22050)
    assert x.shape == (1, 8, codec.length(samples))
    (sound,) = codec.decode(x, SimpleNamespace(seconds=seconds))
    assert (sound.rate, sound.channels, sound.samples.shape[1]) == (22050, 1, samples)


def test_griffin_lim_is_the_vocoder_without_weights():
    codec = MelCodec(SMALL.model_copy(update={"vocoder": "griffin-lim"}))
    (sound,) = codec.decode(codec.encode([chord(0.5)]), SimpleNamespace(seconds=0.5))
    assert sound.samples.shape == (1, 11025)
    assert np.isfinite(sound.samples).all()


def test_sounds_of_different_lengths_share_a_batch_padded_with_silence(codec):
    short, long = chord(1.0), chord(2.0)
    padded = Audio(np.pad(short.samples, ((0, 0), (0, 22050))), 22050)
    assert torch.equal(codec.encode([short, long]), codec.encode([padded, long]))


def test_the_latent_statistics_standardise_x(codec):
    mel = codec.log_mel(codec.wave(chord(2.0)))
    plain = codec.autoencoder.encode(mel)
    other = MelCodec(codec.spec)
    other.load_state_dict(codec.state_dict())
    other.autoencoder.latent_mean.fill_(0.5)
    other.autoencoder.latent_std.fill_(2.0)
    assert torch.allclose(other.autoencoder.encode(mel), (plain - 0.5) / 2)
    assert torch.allclose(other.autoencoder.decode((plain - 0.5) / 2), codec.autoencoder.decode(plain), atol=1e-4)


def test_weights_of_another_mel_spectrogram_are_refused(codec):
    other = MelCodec(codec.spec.model_copy(update={"mel": MelSpec(hop=200)}))
    with pytest.raises(ModelError, match=r"hop=256.*set codec\.mel"):
        other.load_state_dict(codec.state_dict())


@BOTH
def test_the_autoencoder_overfits_one_sound_and_its_latents_get_unit_variance(spec: CodecSpec) -> None:
    torch.manual_seed(0)
    codec = MelCodec(spec)
    objective, generator = AutoencoderObjective(codec), torch.Generator().manual_seed(0)
    row = rows(codec)
    before = objective.validate(row, generator)
    optimizer = torch.optim.Adam(codec.autoencoder.parameters(), lr=3e-3)
    for _ in range(60):
        for group, loss in objective.losses(row, generator):
            assert group in objective.groups
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = objective.validate(row, generator)
    assert after["mel_l1"] < 0.5 * before["mel_l1"]
    assert 0.4 < after["latent_std"] < 2.5


def test_validation_is_a_function_of_its_rows(codec):
    objective = AutoencoderObjective(codec)
    first, second = (objective.validate(rows(codec), torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert first == second


def test_a_long_sound_decoded_in_pieces_is_the_one_decoded_at_once(codec: MelCodec) -> None:
    x = torch.randn(2, 8, 70, generator=torch.Generator().manual_seed(0))
    samples = 70 * codec.stride - 300
    whole = torch.cat(list(codec.stream(x, samples, chunk=70)), dim=-1)
    assert whole.shape == (2, 1, samples)
    for chunk in (7, 32):
        torch.testing.assert_close(torch.cat(list(codec.stream(x, samples, chunk)), dim=-1), whole, rtol=0, atol=1e-6)


def test_nothing_beyond_its_reach_changes_a_latent_frames_sound(codec: MelCodec) -> None:
    x = torch.randn(1, 8, 60, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[..., 40:] = 0
    first, second = (next(codec.stream(each, 60 * codec.stride, 60))[0, 0] for each in (x, other))
    same = (40 - codec.reach) * codec.stride
    torch.testing.assert_close(first[:same], second[:same], rtol=0, atol=1e-6)
    assert not torch.allclose(first[same:], second[same:], atol=1e-4)


def test_a_sound_begins_and_ends_in_silence(codec: MelCodec) -> None:
    x = torch.randn(1, 8, 22, generator=torch.Generator().manual_seed(0))
    sound = codec.decode(x, SimpleNamespace(seconds=1.0))[0].samples[0]
    raw = next(codec.stream(x, 22050))[0, 0].numpy()
    edge = round(EDGE * 22050)
    assert np.abs(sound[[0, -1]]).max() < 0.01 * np.abs(sound).max()
    np.testing.assert_array_equal(sound[edge:-edge], raw[edge:-edge])
    short = codec.decode(x, SimpleNamespace(seconds=0.004))[0].samples[0]
    assert short.shape == (88,)
    assert np.isfinite(short).all()


def test_a_stereo_sound_is_two_sounds_side_by_side(codec: MelCodec) -> None:
    both = MelCodec(codec.spec.model_copy(update={"stereo": True})).eval()
    both.load_state_dict(codec.state_dict())
    left, right = chord(1.0), Audio(chord(1.0).samples[:, ::-1].copy(), 22050)
    right = Audio(right.samples * left.peak / right.peak, 22050)
    x = both.encode([Audio(np.concatenate([left.samples, right.samples]), 22050)])
    torch.testing.assert_close(x, torch.cat([codec.encode([left]), codec.encode([right])], dim=1))
    sound = both.decode(x, SimpleNamespace(seconds=1.0))[0]
    assert sound.channels == 2
    for half, side in zip(x.chunk(2, dim=1), sound.samples, strict=True):
        alone = codec.decode(half, SimpleNamespace(seconds=1.0))[0].samples[0]
        np.testing.assert_allclose(side, alone, atol=1e-5)
    mono = both.encode([chord(1.0)])
    torch.testing.assert_close(*mono.chunk(2, dim=1))


@pytest.mark.parametrize("seconds", [1.0, 22 * 1024 / 22050])
def test_a_loop_is_one_period_of_its_latents_repeated(codec: MelCodec, seconds: float) -> None:
    x = torch.randn(1, 8, 22, generator=torch.Generator().manual_seed(0))
    sound = codec.decode_loop(x, SimpleNamespace(seconds=seconds))[0].samples[0]
    length, period = round(seconds * 22050), 22 * codec.stride
    once = next(codec.stream(x.repeat(1, 1, 5), 5 * period, 200))[0, :, 2 * period : 3 * period]
    np.testing.assert_allclose(sound, stretched(once, length)[0], atol=1e-5)


def test_what_goes_round_is_encoded_wherever_it_begins(codec: MelCodec) -> None:
    noise = 0.1 * torch.randn(20 * codec.stride, generator=torch.Generator().manual_seed(0))
    loop, longer, later = (
        Audio(wave, codec.rate) for wave in (noise, stretched(noise, len(noise) + 300), noise.roll(7 * codec.stride))
    )
    x, of_longer, of_later = (
        codec.encode_loop([audio], AudioOptions(seconds=audio.seconds)) for audio in (loop, longer, later)
    )
    assert x.shape == (1, 8, 20)
    torch.testing.assert_close(of_later, x.roll(7, -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(of_longer, x, rtol=0, atol=0.02)


@pytest.mark.parametrize(("before", "after"), [(1000, 990), (1000, 1003), (999, 1200)])
def test_what_goes_round_is_stretched_without_a_seam(before: int, after: int) -> None:
    def wave(size: int) -> torch.Tensor:
        angle = 2 * torch.pi * torch.arange(size, dtype=torch.float64) / size
        return 0.3 + (5 * angle + 1).sin() + 0.5 * (170 * angle).cos()

    torch.testing.assert_close(stretched(wave(before), after), wave(after))


@pytest.mark.parametrize("after", [990, 1000, 1200])
def test_half_the_rate_belongs_to_no_stretched_wave(after: int) -> None:
    """There a wave has no phase, and a longer one would be twice as loud."""
    assert stretched(torch.tensor([1.0, -1.0] * 500), after).abs().max() < 1e-6


def test_a_closed_loop_fills_its_latents_and_keeps_its_beats(codec: MelCodec) -> None:
    asked = AudioOptions(seconds=3.84, bpm=125)
    closed = codec.closed(asked)
    frames = closed.seconds * codec.rate / codec.stride
    assert frames == pytest.approx(round(frames), abs=1e-9)
    assert abs(closed.seconds - asked.seconds) <= codec.stride / codec.rate / 2
    assert closed.bpm * closed.seconds == pytest.approx(asked.bpm * asked.seconds)
    assert codec.closed(AudioOptions()).bpm is None


def test_only_what_lies_about_a_peak_is_turned_down() -> None:
    wave = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    wave[0, 2000] = 5
    quiet = limited(wave, 0.9, 100)
    assert quiet.abs().max() < 0.9001
    far = torch.ones(4000, dtype=torch.bool)
    far[1799:2202] = False
    torch.testing.assert_close(quiet[:, far], wave[:, far])
    gain = (quiet / wave)[1]
    assert (gain.diff().abs() < 0.02).all()
    torch.testing.assert_close(limited(wave, 10.0, 100), wave)
