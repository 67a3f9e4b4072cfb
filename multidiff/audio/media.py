"""Audio: one sound in memory, read from and written to files.

Samples are float32 in [-1, 1], channels first. soundfile and soxr are loaded when used.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from multidiff.audio import files, mp3, ogg
from multidiff.errors import MediaError, Notice, did_you_mean
from multidiff.files import readable, written_whole

MAX_CHANNELS = 32
MIN_SECONDS = 0.01
SILENCE = 2.0**-15
"""A sound whose peak is below one step of 16-bit audio is silent."""

ENCODINGS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
LOUD = 0.01
"""Peak beyond full scale, 0.1 dB, from which turning a sound down is said."""
FULL_SCALE = 0.98
"""The highest peak of a generated sound: room for rounding and, mostly, for the filters of lossy formats."""
LOSSY = ("ogg", "mp3")
"""Formats whose filters raise peaks."""
TAGS = ("title", "comment", "software", "artist", "date", "genre")
VORBIS_RATES = range(1, 192_001)
"""libsndfile 1.2 crashes at Vorbis rates from 200 kHz on."""
_BLOCK = 2**16


@dataclass(frozen=True, eq=False, repr=False)
class Audio:
    """One sound: `samples` (channels, n) float32, `rate` in Hz.

    `samples` may be given as an array or tensor of shape (n,) or (channels, n); integers are taken as PCM of
    their width. Raises MediaError for other shapes and for a rate that is no positive whole number.
    """

    suffixes: ClassVar[tuple[str, ...]] = files.SUFFIXES
    formats: ClassVar[tuple[str, ...]] = tuple(ENCODINGS)

    samples: np.ndarray
    rate: int

    def __post_init__(self) -> None:
        samples = _as_float(self.samples)
        samples = samples[None] if samples.ndim == 1 else samples
        if samples.ndim != 2 or not 0 < samples.shape[0] <= MAX_CHANNELS:
            raise MediaError(f"sound in memory: samples are (n,) or (channels, n), not {samples.shape}")
        if not isinstance(self.rate, int | np.integer) or self.rate <= 0:
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
        if not np.isfinite(self.peak):
            return f"Audio({self.seconds:.3f} s, {self.rate} Hz, {channels}, NaN or infinite)"
        level = f"peak {20 * np.log10(self.peak):.1f} dB" if self.peak > 0 else "silent"
        return f"Audio({self.seconds:.3f} s, {self.rate} Hz, {channels}, {level})"

    def _repr_html_(self) -> str:
        """A player for notebooks."""
        data = base64.b64encode(self.encode("wav")).decode()
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
        audio = cls(*files.decode(path))
        usable(audio, path)
        return audio

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write in the format of the suffix, whole or not at all; see `encode`.

        Raises MediaError for an unknown suffix, MultidiffError where the disk refuses.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in ENCODINGS:
            raise MediaError(f"{path}: cannot write '{kind}'{did_you_mean(kind, list(ENCODINGS))}")
        try:
            data = self.encode(kind, tags)
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
        with written_whole(path) as temporary:
            temporary.write_bytes(data)
        return path

    def encode(self, kind: str, tags: Mapping[str, str] | None = None) -> bytes:
        """A whole file in one of `formats`.

        A sound beyond full scale is turned down as a whole, and one that a lossy format would bring beyond it as well,
        so nothing clips. Tags that the formats have no
        field for are listed in the comment as `key=value`. Raises MediaError for no samples, NaN samples, and for
        a rate or channel count that the format cannot hold.
        """
        import soundfile

        cure = "save as wav, or resample to 44100 Hz stereo first"
        if kind == "ogg" and self.rate not in VORBIS_RATES:
            raise MediaError(f"ogg cannot hold {self!r}; {cure}")
        if self.samples.size == 0:
            raise MediaError("the sound has no samples; nothing was written")
        if not np.isfinite(self.samples).all():
            raise MediaError("the sound holds NaN or infinite samples; nothing was written")
        if self.peak > 1 + LOUD:
            down = 20 * np.log10(self.peak)
            warnings.warn(f"the sound is louder than {kind} holds and is turned down by {down:.1f} dB", Notice, 2)
        fields, gain = _fields(tags or {}), 1 / max(self.peak, 1.0)
        try:
            data = self._encoded(kind, fields, gain)
            while kind in LOSSY and (peak := np.abs(soundfile.read(BytesIO(data))[0]).max()) > 1:
                gain *= FULL_SCALE / peak
                data = self._encoded(kind, fields, gain)
        except soundfile.LibsndfileError as error:
            raise MediaError(f"{kind} cannot hold {self!r} ({error.error_string}); {cure}") from None
        return data

    def _encoded(self, kind: str, fields: Mapping[str, str], gain: float) -> bytes:
        import soundfile

        samples, data = (gain * self.samples).T, BytesIO()
        if ENCODINGS[kind] == "PCM_16":  # libsndfile would truncate where this rounds
            samples = np.minimum(np.rint(2**15 * samples), 2**15 - 1).astype(np.int16)
        ascii_only = all(value.isascii() for value in fields.values())
        with soundfile.SoundFile(data, "w", self.rate, self.channels, ENCODINGS[kind], format=kind.upper()) as file:
            for key, value in fields.items() if ascii_only or kind != "mp3" else ():
                setattr(file, key, value)
            # libsndfile's Vorbis encoder keeps a whole write on the stack: long sounds go in blocks.
            for start in range(0, len(samples), _BLOCK):
                file.write(samples[start : start + _BLOCK])
        if kind == "mp3" and not ascii_only:
            return mp3.tagged(data.getvalue(), fields)
        return ogg.with_fixed_serial(data.getvalue()) if kind == "ogg" else data.getvalue()

    def resample(self, rate: int) -> Audio:
        """This sound at another rate, through soxr's band-limited high-quality filter."""
        if rate == self.rate:
            return self
        import soxr

        return Audio(soxr.resample(self.samples.T, self.rate, rate).T, rate)

    def mono(self) -> Audio:
        """The mean of the channels."""
        return self if self.channels == 1 else Audio(self.samples.mean(axis=0), self.rate)

    def remix(self, channels: int) -> Audio:
        """With so many channels: this sound if it has them, else the mean of its channels in each."""
        if channels == self.channels:
            return self
        return Audio(np.repeat(self.mono().samples, channels, axis=0), self.rate)

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
        least = f"{1000 * MIN_SECONDS:.0f} ms"
        raise MediaError(f"{source}: only {count} sample{'s' * (count != 1)} long; give at least {least} of sound")
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
