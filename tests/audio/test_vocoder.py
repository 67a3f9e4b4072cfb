import numpy as np
import pytest
import torch

from multidiff.audio import synth
from multidiff.audio.codec import CodecSpec, MelCodec
from multidiff.audio.features import LogMel
from multidiff.audio.vocoder import AmplitudePrior, GriffinLim, RealVocos, Vocos
from multidiff.audio.vocoder_objective import SpectralLoss, VocoderObjective


@pytest.fixture(scope="module")
def features() -> LogMel:
    return LogMel()


@pytest.fixture(scope="module")
def waves() -> torch.Tensor:
    """Four procedural sounds of whole frames, (4, 22016)."""
    return torch.from_numpy(
        np.concatenate([synth.example(i, 22050, 1.0).media.samples for i in (0, 3, 6, 8)])[:, :22016]
    )


def test_the_prior_gives_back_the_mel_spectrogram_it_came_from(features, waves):
    log_mel = features(waves)
    restored = features.log(AmplitudePrior(features.filterbank)(log_mel))
    assert (restored - log_mel).abs().mean() < 0.4


def test_griffin_lim_restores_a_tone_better_than_no_phase_at_all(features, waves):
    log_mel, loss = features(waves), SpectralLoss()
    full = loss(GriffinLim(features)(log_mel), waves)
    assert full < loss(GriffinLim(features, iterations=0)(log_mel), waves)


def test_every_sound_has_whole_frames(features, waves):
    torch.manual_seed(0)
    for vocoder in (Vocos(features, 32, 2), GriffinLim(features, iterations=2)):
        assert vocoder(features(waves)).shape == waves.shape


def test_an_untrained_vocoder_with_the_prior_is_nearer_than_one_without(features, waves):
    torch.manual_seed(0)
    vocoder = Vocos(features, 32, 2)
    log_mel, loss = features(waves), SpectralLoss()
    with torch.no_grad():
        informed = loss(vocoder(log_mel), waves)
        vocoder.prior.inverse.zero_()
        vocoder.head.bias[:513] += features.stft(waves).abs().mean().log() - np.log(1e-5)
        assert informed < 0.8 * loss(vocoder(log_mel), waves)


def test_a_few_steps_lower_the_loss(waves):
    torch.manual_seed(0)
    codec = MelCodec(CodecSpec(vocoder_width=48, vocoder_depth=2))
    objective, generator = VocoderObjective(codec), torch.Generator().manual_seed(0)
    rows = {"wave": (waves[:, None] * 32767).short(), "samples": torch.full((4,), 22016)}
    before = objective.validate(rows, generator)["loss"]
    optimizer = torch.optim.Adam(codec.vocoder.parameters(), lr=2e-3)
    for _ in range(25):
        for _, loss in objective.losses(rows, generator):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert objective.validate(rows, generator)["loss"] < 0.85 * before


def test_the_spectral_loss_is_zero_for_equal_sounds_and_finite_for_silence(waves):
    loss = SpectralLoss()
    assert loss(waves, waves) == 0
    assert torch.isfinite(loss(waves, torch.zeros_like(waves)))


def test_the_vocoder_without_complex_numbers_gives_the_same_waveforms(features, waves):
    torch.manual_seed(0)
    vocoder = Vocos(features, 32, 2)
    real = RealVocos(vocoder)
    for log_mel in (features(waves), features(waves[:1, :200])):
        with torch.no_grad():
            torch.testing.assert_close(real(log_mel), vocoder(log_mel), rtol=0, atol=1e-5)
