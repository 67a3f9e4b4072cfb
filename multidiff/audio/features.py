"""Mel features, and the one door to torchaudio.

A log-mel frame is log(max(M |STFT(x)|, 1e-5)), natural log of magnitudes, with Slaney's mel scale and area
normalisation (librosa's defaults, as in HiFi-GAN and AudioLDM).

Lengths: n samples make ceil(n / hop) frames and F frames make F * hop samples. Frame i is centred on sample
i * hop, and zeros are taken for what lies outside the sound; so F frames and F * hop samples imply each other,
where librosa and torchaudio make one frame more whenever hop divides n.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType

import torch
from torch import Tensor, nn

from multidiff.errors import MultidiffError

_EXTENSION = "torchaudio._extension"


def torchaudio_state() -> str:
    """For `multidiff doctor`: "missing", "whole", or "pure" (compiled extension replaced by a stand-in)."""
    if find_spec("torchaudio") is None:
        return "missing"
    import_torchaudio()
    return "pure" if getattr(sys.modules[_EXTENSION], "stand_in", False) else "whole"


def import_torchaudio() -> ModuleType:
    """torchaudio, also where its compiled extension cannot load.

    The wheel of the package index links CUDA libraries that a CPU-only torch does not bring. The extension is
    used by none of the transforms, but torchaudio imports it first of all; where that fails, a stand-in
    takes its place in `sys.modules` for this process. Raises MultidiffError where torchaudio is not installed.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise MultidiffError("torchaudio is not installed; run `make`, or `pip install --no-deps torchaudio`") from None
    except (OSError, ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules[_EXTENSION] = _stand_in()
        return importlib.import_module("torchaudio")


def _stand_in() -> ModuleType:
    """What torchaudio asks of its extension, saying that nothing compiled is there.

    It has a spec, because `importlib.util.find_spec`, which other packages call, refuses modules without one.
    """
    module = module_from_spec(ModuleSpec(_EXTENSION, loader=None))
    vars(module).update(
        stand_in=True,
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        _load_lib=lambda name: False,
        fail_if_no_align=lambda function: function,
    )
    return module


def mel_filterbank(rate: int, n_fft: int, n_mels: int, f_min: float = 0.0, f_max: float | None = None) -> Tensor:
    """Triangular filters M (n_mels, n_fft/2 + 1) on Slaney's scale, each of unit area in Hz."""
    functional = import_torchaudio().functional
    high = rate / 2 if f_max is None else f_max
    with torch.device("cpu"):  # torchaudio cannot compute it on the meta device, where networks are only counted
        bank: Tensor = functional.melscale_fbanks(n_fft // 2 + 1, f_min, high, n_mels, rate, "slaney", "slaney")
    return bank.T.contiguous()


class LogMel(nn.Module):
    """Waveform (B, n) -> log-mel (B, n_mels, ceil(n / hop)).

    Buffers, kept out of checkpoints because the arguments say all: `window` (n_fft,) and `filterbank`
    (n_mels, n_fft/2 + 1), whose pseudo-inverse leads a vocoder back to magnitudes.
    """

    window: Tensor
    filterbank: Tensor

    def __init__(
        self,
        rate: int = 22050,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        self.rate, self.n_fft, self.hop, self.n_mels, self.floor = rate, n_fft, hop, n_mels, floor
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filterbank", mel_filterbank(rate, n_fft, n_mels, f_min, f_max), persistent=False)

    def frames(self, samples: int) -> int:
        """Frames of a sound: ceil(samples / hop)."""
        return -(-samples // self.hop)

    def samples(self, frames: int) -> int:
        """Samples of so many frames: frames * hop."""
        return frames * self.hop

    def stft(self, waveform: Tensor) -> Tensor:
        """(B, n) -> complex (B, n_fft/2 + 1, ceil(n / hop))."""
        spectrum = torch.stft(
            waveform, self.n_fft, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        return spectrum[..., : self.frames(waveform.shape[-1])]

    def istft(self, spectrum: Tensor) -> Tensor:
        """Complex (B, n_fft/2 + 1, F) -> (B, F * hop), the inverse of `stft` for whole frames."""
        length = self.samples(spectrum.shape[-1])
        return torch.istft(spectrum, self.n_fft, self.hop, window=self.window, center=True, length=length)

    def log(self, magnitude: Tensor) -> Tensor:
        """Magnitudes (B, n_fft/2 + 1, F) -> log-mel (B, n_mels, F)."""
        return torch.log((self.filterbank @ magnitude).clamp(min=self.floor))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.log(self.stft(waveform).abs())
