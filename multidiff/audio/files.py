"""Sound files decoded: by libsndfile (soundfile) where it knows the format, else by FFmpeg (PyAV).

Both read a file that was cut short without a word, so what its header or container promises is checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from multidiff.audio import ogg
from multidiff.errors import MediaError

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"),
    *(".m4a", ".aac", ".ac3", ".wma", ".mka", ".mp4", ".mov", ".mkv", ".webm"),
)
"""What data sets look for: libsndfile's formats, then FFmpeg's."""
MAX_VALUES = 2**28
"""Samples times channels read at once (1 GiB as float32; 100 minutes of mono at 44.1 kHz)."""
_UNKNOWN_SIZE = 0x7FFF0000
"""Lengths from here on are what programs put in a header when they write into a pipe."""
_STATES_DURATION = ("mov,", "matroska", "asf")


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples (channels, n) float32 and the rate in Hz of an existing file.

    Raises MediaError for a file that is no sound, broken, cut short or longer than `MAX_VALUES`.
    """
    decoded = _soundfile(path)
    return _av(path) if decoded is None else decoded


def _soundfile(path: Path) -> tuple[np.ndarray, int] | None:
    """None where libsndfile does not know the format."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a headerless .raw, whose rate nobody knows
        return None
    with file:
        _check_size(path, file.frames * file.channels)
        if _cut_short(path):
            raise _truncated(path, f"after {file.frames / file.samplerate:.2f} s")
        try:
            samples = file.read(dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            raise MediaError(f"{path}: is broken ({error.error_string}); copy or download it again") from None
        if samples.shape[1] < file.frames:
            raise _truncated(path, _promise(samples.shape[1], file.frames, file.samplerate))
        return samples, int(file.samplerate)


def _av(path: Path) -> tuple[np.ndarray, int]:
    """The first audio stream of anything FFmpeg demuxes, a video's sound too."""
    import av

    blocks: list[np.ndarray] = []
    total = 0
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None:
                raise MediaError(f"{path}: holds no decodable sound; give a sound file or a video with sound")
            rate, declared = int(stream.rate), _declared_seconds(container, stream)
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                for block in resampler.resample(frame):
                    blocks.append(block.to_ndarray())
                    total += blocks[-1].size
                _check_size(path, total)
    except av.FFmpegError as error:
        cure = "give a whole wav, flac, ogg, mp3 or m4a file"
        raise MediaError(f"{path}: cannot be decoded ({error.strerror}); {cure}") from None
    if not blocks:
        raise MediaError(f"{path}: holds no decodable sound; copy or download it again")
    samples = np.concatenate(blocks, axis=1)
    # Containers round, and count the encoder's padding.
    if samples.shape[1] / rate < 0.97 * declared - 0.1:
        raise _truncated(path, _promise(samples.shape[1], round(declared * rate), rate))
    return samples, rate


def _declared_seconds(container: Any, stream: Any) -> float:
    """How long the sound is by the container's own word; 0 where it gives none.

    FFmpeg guesses a raw stream's duration from its bit rate, and a Matroska video's is that of its pictures.
    """
    if not container.format.name.startswith(_STATES_DURATION):
        return 0.0
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.video else (container.duration or 0) / 1e6


def _check_size(path: Path, values: int) -> None:
    if values > MAX_VALUES:
        raise MediaError(f"{path}: {values:.2g} samples are more than the {MAX_VALUES:.2g} read at once; cut it")


def _promise(have: int, want: int, rate: int) -> str:
    return f"{have / rate:.2f} s of {want / rate:.2f} s can be read"


def _truncated(path: Path, what: str) -> MediaError:
    return MediaError(f"{path}: is truncated ({what}); copy or download it again")


def _cut_short(path: Path) -> bool:
    """Whether a WAV or AIFF ends before its header says it does, or an Ogg stream without its end mark."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        kind, length = stream.read(4), stream.read(4)
        if kind in (b"RIFF", b"RIFX", b"FORM"):
            declared = int.from_bytes(length, "little" if kind == b"RIFF" else "big")
            # The length leaves out these eight bytes, but some writers count them.
            return declared < _UNKNOWN_SIZE and declared > size
        if kind == b"OggS":
            stream.seek(max(size - 2**17, 0))  # a page has at most 65307 bytes
            return not ogg.ends_with_last_page(stream.read())
    return False
