"""Audio: one sound in memory, read from and written to files.

Samples are float32 in [-1, 1], channels first. soundfile (libsndfile) reads wav, flac, ogg, mp3, aiff and
their kin; PyAV (FFmpeg) reads the rest, also the sound of a video. soundfile, PyAV and soxr are loaded when used.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np

from multidiff.errors import MediaError, did_you_mean
from multidiff.files import readable, written_whole

MAX_VALUES = 2**28
"""Samples times channels read at once (1 GiB as float32; 100 minutes of mono at 44.1 kHz)."""
MAX_CHANNELS = 32
MIN_SECONDS = 0.01
SILENCE = 2.0**-15
"""A sound whose peak is below one step of 16-bit audio is silent."""

ENCODINGS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
TAGS = ("title", "comment", "software", "artist", "date", "genre")
_BLOCK = 2**16


@dataclass(frozen=True, eq=False, repr=False)
class Audio:
    """One sound: `samples` (channels, n) float32, `rate` in Hz.

    `samples` may be given as an array or tensor of shape (n,) or (channels, n); integers are taken as PCM of
    their width. Raises MediaError for other shapes and for a rate that is no positive whole number.
    """

    suffixes: ClassVar[tuple[str, ...]] = tuple(
        [
            ".wav",
            ".flac",
            ".ogg",
            ".oga",
            ".mp3",
            ".opus",
            ".aif",
            ".aiff",
            ".au",
            ".caf",
            ".w64",
            ".m4a",
            ".aac",
            ".mp4",
            ".mov",
            ".mkv",
            ".webm",
            ".mka",
            ".wma",
            ".ac3",
        ]
    )
    formats: ClassVar[tuple[str, ...]] = tuple(ENCODINGS)

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = _as_float(self.samples)
        samples = samples[None] if samples.ndim == 1 else samples
        if samples.ndim != 2 or not 0 < samples.shape[0] <= MAX_CHANNELS:
            raise MediaError(f"sound in memory: samples are (n,) or (channels, n), not {tuple(samples.shape)}")
        if self.rate != int(self.rate) or self.rate <= 0:
            raise MediaError(f"sound in memory: rate is a positive whole number of Hz, not {self.rate}")
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "rate", int(self.rate))

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate

    @property
    def peak(self) -> float:
        """The largest magnitude; 0 for no samples."""
        return float(np.abs(self.samples).max(initial=0.0))

    def __repr__(self) -> str:
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        level = f"peak {20 * np.log10(self.peak):.1f} dB" if self.peak > 0 else "silent"
        return f"Audio({self.seconds:.3f} s, {self.rate} Hz, {channels}, {level})"

    def _repr_html_(self) -> str:
        """A player for notebooks."""
        with TemporaryDirectory() as folder:
            data = base64.b64encode(self.save(Path(folder) / "sound.wav").read_bytes()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio><br><code>{self!r}</code>'

    def preview(self, width: int = 60) -> str:
        """One line of text that shows the peaks over time, for terminals."""
        parts = np.array_split(np.abs(self.samples).max(axis=0), width)
        peaks = np.array([part.max(initial=0.0) for part in parts]) / max(self.peak, SILENCE)
        return "".join(" ▁▂▃▄▅▆▇█"[round(8 * float(peak))] for peak in np.nan_to_num(peaks))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read any sound file at its own rate and channels, whatever its bit depth.

        Raises MediaError for a file that is missing, empty, broken, too long, or whose sound is not `usable`.
        """
        path = readable(path, "a sound file")
        decoded = _read_soundfile(path)
        samples, rate = _read_av(path) if decoded is None else decoded
        audio = cls(samples, rate)
        usable(audio, path)
        return audio

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write in the format of the suffix; samples beyond full scale turn the whole sound down, nothing clips.

        Tags that the formats have no field for are listed in the comment as `key=value`.
        Raises MediaError for an unknown suffix, NaN, or a rate or channel count the format cannot hold.
        """
        import soundfile

        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in ENCODINGS:
            raise MediaError(f"{path}: cannot write '{kind}'{did_you_mean(kind, list(ENCODINGS))}")
        if not np.isfinite(self.samples).all():
            raise MediaError(f"{path}: the sound holds NaN or infinite samples; nothing was written")
        samples = (self.samples / max(self.peak, 1.0)).T
        try:
            with (
                written_whole(path) as temporary,
                soundfile.SoundFile(
                    temporary, "w", self.rate, self.channels, ENCODINGS[kind], format=kind.upper()
                ) as file,
            ):
                for key, value in _fields(tags or {}).items():
                    setattr(file, key, value)
                # libsndfile's Vorbis encoder keeps a whole write on the stack: long sounds go in blocks.
                for start in range(0, len(samples), _BLOCK):
                    file.write(samples[start : start + _BLOCK])
        except soundfile.LibsndfileError as error:
            cure = "save as wav, or resample to 44100 Hz stereo first"
            raise MediaError(f"{path}: {kind} cannot hold {self!r} ({error.error_string}); {cure}") from None
        return path

    def resample(self, rate: int) -> Audio:
        """This sound at another rate, through soxr's band-limited high-quality filter."""
        if rate == self.rate:
            return self
        import soxr

        return Audio(soxr.resample(self.samples.T, self.rate, rate).T, rate)

    def mono(self) -> Audio:
        """The mean of the channels."""
        return self if self.channels == 1 else Audio(self.samples.mean(axis=0), self.rate)

    def cut(self, start: float, stop: float) -> Audio:
        """The part from `start` to `stop` seconds, as far as it exists."""
        return Audio(self.samples[:, round(max(start, 0.0) * self.rate) : round(stop * self.rate)], self.rate)


def usable(audio: Audio, source: str | Path) -> None:
    """Raises MediaError, naming `source`, for a sound that nothing can be done with.

    That is: NaN samples, shorter than `MIN_SECONDS`, or silent throughout.
    """
    if not np.isfinite(audio.samples).all():
        raise MediaError(f"{source}: holds NaN or infinite samples; export it again as 16-bit or 24-bit wav")
    if audio.seconds < MIN_SECONDS:
        count = audio.samples.shape[1]
        raise MediaError(
            f"{source}: only {count} sample{'s' * (count != 1)} long; give at least {1000 * MIN_SECONDS:.0f} ms of sound"
        )
    if audio.peak < SILENCE:
        raise MediaError(f"{source}: is silent from start to end; give a sound with something to hear")


def _as_float(samples: Any) -> np.ndarray:
    """float32 values; integer PCM scaled to [-1, 1), unsigned PCM centred."""
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu().float().numpy() if samples.is_floating_point() else samples.cpu().numpy()
    array = np.asarray(samples)
    if array.dtype.kind in "iu":
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        return ((array - half * (array.dtype.kind == "u")) / half).astype(np.float32)
    if array.dtype.kind != "f":
        raise MediaError(f"sound in memory: samples are numbers, not {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _fields(tags: Mapping[str, str]) -> dict[str, str]:
    """`tags` as the fields all four formats have; the others are listed in the comment."""
    fields = {key: str(tags[key]) for key in TAGS if tags.get(key)}
    others = [f"{key}={value}" for key, value in tags.items() if key not in TAGS and value not in (None, "")]
    comment = "; ".join([*filter(None, [fields.get("comment")]), *others])
    return {**fields, "comment": comment} if comment else fields


def _check_size(path: Path, values: int) -> None:
    if values > MAX_VALUES:
        raise MediaError(f"{path}: {values:.2g} samples are more than the {MAX_VALUES:.2g} read at once; cut it")


def _truncated(path: Path, have: int, want: int, rate: int) -> MediaError:
    return MediaError(
        f"{path}: is truncated: {have / rate:.2f} s of {want / rate:.2f} s can be read; copy or download it again"
    )


def _read_soundfile(path: Path) -> tuple[np.ndarray, int] | None:
    """(channels, n) and the rate, or None where libsndfile does not know the format."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless .raw
        return None
    with file:
        _check_size(path, file.frames * file.channels)
        _check_riff(path, file)
        try:
            samples = file.read(dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            raise MediaError(f"{path}: is broken ({error.error_string}); copy or download it again") from None
        if samples.shape[1] < file.frames:
            raise _truncated(path, samples.shape[1], file.frames, file.samplerate)
        return samples, int(file.samplerate)


def _check_riff(path: Path, file: Any) -> None:
    """libsndfile reads a WAV that ends early without a word: compare its header with the file's size.

    Sizes of 0 or near 2^31 and 2^32 are what programs write into a pipe, not knowing the length.
    """
    if file.format != "WAV":
        return
    size = path.stat().st_size
    with path.open("rb") as stream:
        position = 12
        while position + 8 <= size:
            stream.seek(position)
            name, length = stream.read(4), int.from_bytes(stream.read(4), "little")
            position += 8 + length + length % 2
            if name == b"data":
                bytes_per_frame = max((size - stream.tell()) // max(file.frames, 1), 1)
                if 0 < length < 0x7FFF0000 and position - length % 2 > size:
                    raise _truncated(path, file.frames, length // bytes_per_frame, file.samplerate)
                return


def _read_av(path: Path) -> tuple[np.ndarray, int]:
    """(channels, n) and the rate of the first audio stream. Raises MediaError."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None:
                raise MediaError(f"{path}: holds no sound; give a sound file, or a video with sound")
            rate, declared = int(stream.rate), container.duration
            resampler = av.AudioResampler(format="fltp")
            blocks: list[np.ndarray] = []
            total = 0
            for frame in container.decode(stream):
                blocks += [block.to_ndarray() for block in resampler.resample(frame)]
                total += blocks[-1].size if blocks else 0
                _check_size(path, total)
    except av.FFmpegError as error:
        known = path.suffix.lower() in Audio.suffixes
        fault = f"cannot be decoded ({error.strerror})" if known else "is not a sound file"
        raise MediaError(f"{path}: {fault}; give a whole wav, flac, ogg, mp3 or m4a file") from None
    if not blocks:
        raise MediaError(f"{path}: holds no decodable sound; copy or download it again")
    samples = np.concatenate(blocks, axis=1)
    expected = round((declared or 0) / av.time_base * rate)
    # Containers round and pad; half a second and a tenth beyond that is missing.
    if samples.shape[1] < 0.9 * expected - 0.5 * rate:
        raise _truncated(path, samples.shape[1], expected, rate)
    return samples, rate
