"""Log-mel equals librosa's, lengths are exact, and torchaudio loads without its compiled part."""

import importlib.util
import subprocess
import sys

import librosa
import numpy as np
import pytest
import torch

from multidiff.audio.features import LogMel, mel_filterbank
from multidiff.torchaudio_door import import_torchaudio, torchaudio_state


def noise(n: int, batch: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, n, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "f_min", "f_max"),
    [(22050, 1024, 64, 0.0, None), (16000, 1024, 64, 0.0, 8000.0), (44100, 2048, 128, 20.0, 16000.0)],
)
def test_the_filterbank_is_librosas(rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float | None) -> None:
    ours = mel_filterbank(rate, n_fft, n_mels, f_min, f_max).numpy()
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max)
    assert np.abs(ours - theirs).max() < 1e-6


@pytest.mark.parametrize("n", [25600, 25601, 1100])
def test_log_mel_is_librosas(n: int) -> None:
    wave = noise(n)
    mel = librosa.feature.melspectrogram(
        y=wave[0].numpy(), sr=22050, n_fft=1024, hop_length=256, n_mels=64, power=1.0, pad_mode="constant"
    )
    ours = LogMel()(wave)[0].numpy()
    assert np.abs(ours - np.log(np.maximum(mel, 1e-5))[:, : ours.shape[1]]).max() < 1e-5


@pytest.mark.parametrize("n", [1, 255, 256, 257, 2560, 2561])
def test_frames_are_samples_over_hop_rounded_up(n: int) -> None:
    mel = LogMel()
    frames = mel(noise(n)).shape[-1]
    assert frames == mel.frames(n) == int(np.ceil(n / 256))
    assert mel.samples(frames) == 256 * frames >= n


@pytest.mark.parametrize("n", [256 * 20, 256 * 20 + 100])
def test_istft_inverts_stft_up_to_the_end(n: int) -> None:
    mel, wave = LogMel(), noise(n, batch=2)
    back = mel.istft(mel.stft(wave))
    assert back.shape == (2, mel.samples(mel.frames(n)))
    torch.testing.assert_close(back[:, :n], wave, atol=1e-5, rtol=0)


def test_a_click_lies_in_the_middle_of_its_frame() -> None:
    wave = torch.zeros(1, 256 * 40)
    wave[0, 256 * 17] = 1
    assert LogMel(n_mels=8)(wave)[0].sum(dim=0).argmax() == 17


def test_silence_is_the_floor() -> None:
    torch.testing.assert_close(LogMel()(torch.zeros(1, 2560)), torch.full((1, 64, 10), np.log(1e-5)).float())


def test_a_sound_does_not_depend_on_its_batch() -> None:
    mel, waves = LogMel(), noise(5000, batch=3)
    torch.testing.assert_close(mel(waves)[1:2], mel(waves[1:2]), atol=1e-6, rtol=0)


def test_checkpoints_hold_nothing_of_it() -> None:
    assert LogMel().state_dict() == {}


def test_torchaudios_transform_works_and_agrees() -> None:
    transforms = import_torchaudio().transforms
    theirs = transforms.MelSpectrogram(
        22050, 1024, hop_length=256, n_mels=64, power=1.0, pad_mode="constant", norm="slaney", mel_scale="slaney"
    )
    wave = noise(10_000)
    torch.testing.assert_close(LogMel()(wave), theirs(wave).clamp(min=1e-5).log()[..., :40], atol=1e-5, rtol=0)


def test_the_stand_in_can_be_looked_up_like_any_module() -> None:
    assert torchaudio_state() in ("whole", "pure")
    assert importlib.util.find_spec("torchaudio._extension") is not None


def test_diffusers_schedulers_load_beside_the_stand_in() -> None:
    assert "torchaudio._extension" in sys.modules
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    assert DDIMScheduler(num_train_timesteps=10).config["num_train_timesteps"] == 10
    assert DPMSolverMultistepScheduler(num_train_timesteps=10).config["solver_order"] == 2


def test_an_extension_that_cannot_load_is_replaced() -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torchaudio._extension': raise OSError('libcudart.so.13: cannot open')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from multidiff.audio.features import mel_filterbank\n"
        "from multidiff.torchaudio_door import torchaudio_state\n"
        "print(torchaudio_state(), tuple(mel_filterbank(16000, 512, 40).shape))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "pure (40, 257)", run.stderr


def test_features_need_no_sound_library() -> None:
    code = (
        "import sys\n"
        "for name in ('soundfile', 'librosa', 'soxr', 'av', 'matplotlib', 'scipy'): sys.modules[name] = None\n"
        "import torch\n"
        "from multidiff.audio import data, media, synth\n"
        "from multidiff.audio.features import LogMel\n"
        "print(LogMel()(torch.zeros(1, 512)).shape[-1])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "2", run.stderr
