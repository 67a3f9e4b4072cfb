"""What the parts of a codec lose: sounds to mel spectrograms or latents and back, and Griffin-Lim for comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from multidiff.audio.codec import MelCodec, MelModule
from multidiff.audio.media import Audio
from multidiff.audio.metrics import log_spectral_distance, multi_resolution_stft
from multidiff.errors import InputError


@torch.no_grad()
def there_and_back(codec: MelModule, audio: Audio) -> dict[str, tuple[Audio, float]]:
    """Way -> (the sound anew, seconds): from the true mel spectrogram by the vocoder and by Griffin-Lim with its 32
    iterations, and from what the autoencoder makes of it by both. The time is that from mel spectrogram to waveform, of
    the autoencoder's decoder and the vocoder.

    Raises InputError for a codec that makes no sounds.
    """
    if not isinstance(codec, MelCodec):
        raise InputError(f"a {type(codec).__name__.lower()} listens to sounds; its codec cannot make any")
    wave = codec.wave(audio).to(codec.log_mel.window.device)
    log_mel = codec.log_mel(wave)
    x, frames = codec.autoencoder.encode(log_mel), log_mel.shape[-1]

    def decoded() -> Tensor:
        return codec.autoencoder.decode(x)[..., :frames]

    ways: dict[str, Callable[[], Tensor]] = {
        "vocoder": lambda: codec.vocoder(log_mel),
        "Griffin-Lim": lambda: codec.griffin_lim(log_mel),
        "autoencoder + vocoder": lambda: codec.vocoder(decoded()),
        "autoencoder + Griffin-Lim": lambda: codec.griffin_lim(decoded()),
    }
    return {way: _timed(make, codec.rate, wave.shape[-1]) for way, make in ways.items()}


def losses(codec: MelCodec, real: Sequence[Audio], made: Sequence[Audio], seconds: float) -> dict[str, float]:
    """Means over sounds. `lsd`: log-spectral distance, dB. `mr_stft`: the multi-resolution STFT distance. `mel_l1`: of
    the codec's log-mels, nats. `times_real_time`: seconds of sound for each of `seconds` that it took."""
    found: dict[str, list[float]] = {"lsd": [], "mr_stft": [], "mel_l1": []}
    for pair in zip(real, made, strict=True):
        a, b = (codec.wave(audio) for audio in pair)
        found["lsd"].append(float(log_spectral_distance(a, b).mean()))
        found["mr_stft"].append(float(multi_resolution_stft(a, b).mean()))
        mel_a, mel_b = (codec.log_mel(wave.to(codec.log_mel.window.device)) for wave in (a, b))
        found["mel_l1"].append(float((mel_a - mel_b).abs().mean()))
    lasting = sum(audio.seconds for audio in made)
    return {name: float(np.mean(each)) for name, each in found.items()} | {"times_real_time": lasting / seconds}


def _timed(make: Callable[[], Tensor], rate: int, samples: int) -> tuple[Audio, float]:
    started = time.perf_counter()
    wave = make()[:, :samples].cpu()  # which waits for the device
    return Audio(wave.numpy(), rate), time.perf_counter() - started
