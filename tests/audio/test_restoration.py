import numpy as np
import pytest
import torch

from multidiff.audio.batch import RESTORE
from multidiff.audio.codec import CodecSpec, MelCodec
from multidiff.audio.data import AudioData
from multidiff.audio.degrade import coloured, low_passed, spoiled, with_noise
from multidiff.audio.media import Audio
from multidiff.audio.modality import AUDIO
from multidiff.audio.restoration import LOUDER, Denoise, SuperResolution, bandwidth
from multidiff.errors import InputError

RATE = 22050
DATA = AudioData(items=40, seconds=1.0)


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    torch.manual_seed(0)
    return AUDIO.codec(CodecSpec(width=32, channels=8, vocoder_width=32, vocoder_depth=2)).eval()


def noise(seconds: float = 1.0, rate: int = RATE, channels: int = 1, seed: int = 0) -> Audio:
    return Audio(0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * rate))), rate)


def spectrum(audio: Audio) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.rfftfreq(audio.samples.shape[1], 1 / audio.rate), np.fft.rfft(audio.samples)


def muffled(cutoff: float, rate: int = RATE, channels: int = 1) -> Audio:
    samples = low_passed(torch.from_numpy(noise(1.0, rate, channels).samples), cutoff / rate)
    return Audio(samples.numpy(), rate)


def test_noise_lies_as_far_below_as_is_asked_for() -> None:
    waves, drawn = torch.randn(2, 3, 4000), torch.randn(3, 4000)
    for wave in waves:
        added = with_noise(wave, drawn, 7.0) - wave
        snr = 10 * (wave.square().mean(dim=-1) / added.square().mean(dim=-1)).log10()
        torch.testing.assert_close(snr, torch.full((3,), 7.0), rtol=0, atol=1e-3)


def test_coloured_noise_falls_six_decibels_an_octave_for_each_unit_of_steepness() -> None:
    power = torch.fft.rfft(coloured(torch.randn(64, 2**14), 1.0)).abs().square().mean(dim=0)
    octaves = torch.stack([power[2**k : 2 ** (k + 1)].mean() for k in range(4, 13)])
    torch.testing.assert_close(octaves[1:] / octaves[:-1], torch.full((8,), 0.25), rtol=0.15, atol=0)


def test_a_low_pass_keeps_what_lies_below_and_nothing_above() -> None:
    wave = torch.randn(2, 1000)
    before, after = torch.fft.rfft(wave), torch.fft.rfft(low_passed(wave, 0.2))
    torch.testing.assert_close(after[:, :201], before[:, :201], rtol=0, atol=1e-3)
    assert after[:, 201:].abs().max() < 1e-3


def test_half_of_what_is_spoiled_is_noisy_and_half_muffled() -> None:
    shares = torch.rand(3, 400, generator=torch.Generator().manual_seed(0))
    waves = torch.randn(400, 1, 512)
    high = torch.fft.rfft(spoiled(waves, shares, torch.Generator().manual_seed(0)))[..., -50:].abs().amax(dim=(1, 2))
    assert torch.equal(high > 1e-2, shares[0] < 0.5)


def test_items_to_restore_show_the_network_a_degraded_version_and_nothing_known(codec: MelCodec) -> None:
    prepared = [AUDIO.prepare(example, DATA, codec) for example in AUDIO.examples(DATA, "train")]
    rows = {key: torch.stack([row[key] for row in prepared]) for key in prepared[0]}
    found = [AUDIO.batch(rows, codec, DATA, torch.Generator().manual_seed(seed)).condition for seed in range(20)]
    shown = torch.cat([condition["degraded"].any(dim=2).any(dim=1) for condition in found])
    known = torch.cat([condition["mask"].any(dim=2)[:, 0] for condition in found])
    assert shown.float().mean() == pytest.approx(RESTORE, abs=0.05)
    assert not (shown & known).any()


def test_a_sound_to_restore_is_given_as_a_condition_and_nothing_is_known(codec: MelCodec) -> None:
    audio = noise(1.3, rate=16000, channels=2)
    given, options = AUDIO.given(audio, "denoise", Denoise(), codec, AUDIO.options())
    torch.testing.assert_close(given.condition["degraded"], codec.encode([audio]))
    assert not given.mask.any()
    assert given.condition["seconds"].tolist() == [[0.0, pytest.approx(1.3)]]
    generated = noise(options.seconds)
    clean = AUDIO.merge(generated, audio, given)
    assert (clean.rate, clean.channels, clean.samples.shape) == (16000, 2, audio.samples.shape)
    quiet = AUDIO.merge(Audio(0.5 * generated.samples, generated.rate), audio, given)
    np.testing.assert_allclose(quiet.samples, clean.samples, atol=1e-4)


def test_what_is_restored_is_as_loud_as_the_given_sound(codec: MelCodec) -> None:
    """Generated exactly, but at another level: the given one is found."""
    audio = noise(1.0)
    given, _ = AUDIO.given(audio, "denoise", Denoise(), codec, AUDIO.options())
    for level in (0.5, 2.0):
        restored = AUDIO.merge(Audio(level * 0.9 / audio.peak * audio.samples, RATE), audio, given)
        np.testing.assert_allclose(restored.samples, audio.samples, atol=1e-4)


@pytest.mark.parametrize(("rate", "cutoff"), [(22050, 3000.0), (44100, 5000.0), (8000, 4000.0)])
def test_the_bandwidth_of_a_muffled_sound_is_measured(rate: int, cutoff: float) -> None:
    assert bandwidth(muffled(cutoff, rate)) == pytest.approx(cutoff, rel=0.03)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_super_resolution_keeps_every_given_frequency_and_adds_those_above(codec: MelCodec, rate: int) -> None:
    audio = muffled(3500.0, rate, channels=2)
    given, _ = AUDIO.given(audio, "super-resolution", SuperResolution(), codec, AUDIO.options())
    sharp = AUDIO.merge(noise(1.0, seed=1), audio, given)
    assert sharp.rate == max(rate, RATE)
    assert sharp.samples.shape == (2, sharp.rate)
    frequency, made = spectrum(sharp)
    _, old = spectrum(audio.resample(sharp.rate))
    low = frequency < 2500
    np.testing.assert_allclose(made[:, low], old[:, low], atol=1e-3 * np.abs(old).max())
    # White noise on both sides: as loud above the cutoff as below.
    levels = [np.abs(made[:, (frequency > a) & (frequency < b)]).mean() for a, b in ((1000, 2500), (4500, 9000))]
    assert levels[1] == pytest.approx(levels[0], rel=0.1)


def test_what_shares_no_frequency_with_the_given_sound_is_not_turned_up_without_bound(codec: MelCodec) -> None:
    time = np.arange(RATE) / RATE
    audio = Audio(0.8 * np.sin(2 * np.pi * 2500 * time), RATE)
    given, _ = AUDIO.given(audio, "super-resolution", SuperResolution(cutoff=3000.0), codec, AUDIO.options())
    generated = Audio(0.2 * np.sin(2 * np.pi * 6000 * time) + 1e-4 * np.sin(2 * np.pi * 2000 * time), RATE)
    sharp = AUDIO.merge(generated, audio, given)
    assert sharp.peak <= 0.981
    quiet = Audio(0.1 * audio.samples, RATE)
    given, _ = AUDIO.given(quiet, "super-resolution", SuperResolution(cutoff=3000.0), codec, AUDIO.options())
    sharp = AUDIO.merge(generated, quiet, given)
    added = sharp.samples - quiet.samples
    assert np.abs(added).max() == pytest.approx(LOUDER * 0.2 * quiet.peak / 0.9, rel=1e-2)


def test_a_sound_with_all_frequencies_has_nothing_to_gain(codec: MelCodec) -> None:
    with pytest.raises(InputError, match=r"up to 11025 Hz: nothing to add; give a --cutoff"):
        AUDIO.given(noise(), "super-resolution", SuperResolution(), codec, AUDIO.options())
    given, _ = AUDIO.given(noise(), "super-resolution", SuperResolution(cutoff=3000), codec, AUDIO.options())
    assert given.context.cutoff == 3000
