"""Procedural sounds whose captions can be checked by measurement.

Each kind is a function (rng, rate, seconds) -> (samples (n,), caption). A caption names only what the samples
show: the direction of a sweep, how many beeps, a tempo in beats per minute, low, middle or high pitch.
Sound i depends on i alone, so data sets are the same everywhere, in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from multidiff.audio.media import Audio
from multidiff.modality import Example

PITCHES = {"low": (110.0, 220.0), "middle": (392.0, 784.0), "high": (1400.0, 2800.0)}
"""Ranges of fundamental frequency in Hz, an octave each, with a gap between neighbours."""
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}
TEMPOS = (80, 100, 120, 140)

Kind = Callable[[np.random.Generator, int, float], tuple[np.ndarray, str]]


def example(index: int, rate: int, seconds: float) -> Example:
    """Sound number `index`: kinds take turns, everything else is drawn from the index.

    Each round starts one kind further, so that every tenth sound (the validation split) meets all kinds.
    """
    label = list(KINDS)[(index + index // len(KINDS)) % len(KINDS)]
    samples, caption = KINDS[label](np.random.default_rng((index, 7)), rate, seconds)
    samples = 0.9 * samples / np.abs(samples).max()
    return Example(Audio(samples.astype(np.float32), rate), caption, label, f"synth:{index}")


def _time(rate: int, seconds: float) -> np.ndarray:
    return np.arange(round(rate * seconds)) / rate


def _tone(frequency: np.ndarray | float, time: np.ndarray, partials: int = 1) -> np.ndarray:
    """Harmonic partials 1/k of a frequency in Hz that may change over time."""
    step = np.diff(time, prepend=0.0)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, time.shape) * step)
    return sum((np.sin(k * phase) / k for k in range(1, partials + 1)), np.zeros_like(time))


def _fade(samples: np.ndarray, rate: int, seconds: float = 0.01) -> np.ndarray:
    """Raised-cosine ends, so that nothing clicks."""
    n = min(round(rate * seconds), len(samples) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / max(n, 1))
    window = np.ones(len(samples))
    window[:n], window[len(samples) - n :] = ramp, ramp[::-1]
    return samples * window


def _decay(time: np.ndarray, constant: float) -> np.ndarray:
    """exp(-t / constant), brought to 0 at the end of the hit."""
    return np.exp(-time / constant) * (1 - time / time[-1])


def _band(rng: np.random.Generator, rate: int, n: int, low: float, high: float) -> np.ndarray:
    """Gaussian noise between two frequencies in Hz, unit variance."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 1 / rate)
    spectrum[(frequency < low) | (frequency > high)] = 0
    noise = np.fft.irfft(spectrum, n)
    return noise / max(noise.std(), 1e-9)


def _pitch(rng: np.random.Generator) -> tuple[str, float]:
    name = str(rng.choice(list(PITCHES)))
    low, high = PITCHES[name]
    return name, float(low * (high / low) ** rng.random())


def tone(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """A steady tone, pure or with overtones."""
    name, frequency = _pitch(rng)
    time = _time(rate, seconds)
    bright = bool(rng.random() < 0.5)
    partials = max(min(6, int(0.45 * rate / frequency)), 1) if bright else 1
    samples = _fade(_tone(frequency, time, partials), rate, 0.05)
    return samples, f"a {name} steady {'buzzing' if bright else 'pure'} tone"


def sweep(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """An exponential sweep over two to four octaves, filling the clip or its first part."""
    rising, fast = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    time = _time(rate, seconds * (0.25 if fast else 1.0))
    start, octaves = 150 * 2 ** rng.random(), 2 + 2 * rng.random()
    frequency = start * 2 ** (octaves * time / time[-1])
    samples = _fade(_tone(frequency if rising else frequency[::-1], time), rate, 0.02)
    return _padded(samples, rate, seconds), f"a {'fast' if fast else 'slow'} {'rising' if rising else 'falling'} sweep"


def beeps(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """One to four short beeps of one pitch, evenly spaced."""
    count = int(rng.integers(1, 5))
    name, frequency = _pitch(rng)
    spacing = min(0.4, seconds / (count + 0.5))
    out = np.zeros(round(rate * seconds))
    beep = _fade(_tone(frequency, _time(rate, 0.45 * spacing)), rate)
    for i in range(count):
        _mix(out, beep, round(rate * (0.1 + i) * spacing))
    return out, f"{COUNTS[count]} short {name} beep{'s' * (count > 1)}"


def noise(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Band noise: a burst that dies away, or noise that swells or fades over the clip."""
    time = _time(rate, seconds)
    name, low, high = (("dull", 60.0, 600.0), ("bright", min(3000.0, 0.3 * rate), 0.45 * rate))[int(rng.integers(2))]
    shape = str(rng.choice(["burst", "fading in", "fading out"]))
    x = time / seconds
    envelope = {"burst": np.exp(-time / (0.1 + 0.1 * rng.random())), "fading in": x**2, "fading out": (1 - x) ** 2}
    samples = _fade(_band(rng, rate, len(time), low, high) * envelope[shape], rate, 0.003)
    return samples, f"a {name} noise burst" if shape == "burst" else f"{name} noise {shape}"


def rain(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Hiss with drops: short decaying noise at random times, few or many per second."""
    heavy = bool(rng.random() < 0.5)
    n = round(rate * seconds)
    out = (0.25 if heavy else 0.03) * _band(rng, rate, n, min(800.0, 0.2 * rate), 0.45 * rate)
    drop_time = _time(rate, 0.03)
    for start in rng.integers(0, n, size=round((120 if heavy else 12) * seconds)):
        drop = _tone(min(rng.uniform(1500, 5000), 0.45 * rate), drop_time) * _decay(drop_time, 0.006)
        _mix(out, drop * rng.uniform(0.2, 1.0), int(start))
    return out, f"{'heavy' if heavy else 'light'} rain"


def siren(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """A tone whose pitch wails smoothly or jumps between two notes."""
    time = _time(rate, seconds)
    fast, smooth = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    phase = np.sin(2 * np.pi * (rng.uniform(2.5, 3.5) if fast else rng.uniform(0.5, 0.8)) * time)
    swing = phase if smooth else np.sign(phase)
    samples = _fade(_tone(rng.uniform(600, 800) * 2 ** (0.5 * swing), time, 3), rate, 0.03)
    return samples, f"a {'fast' if fast else 'slow'} {'wailing' if smooth else 'two-tone'} siren"


def string(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """A plucked string (Karplus and Strong 1983): noise in a delay line that averages neighbours as it turns."""
    from scipy.signal import lfilter

    name, frequency = _pitch(rng)
    period = max(round(rate / frequency - 0.5), 2)
    pluck = np.zeros(round(rate * seconds))
    burst = rng.uniform(-1, 1, period)
    pluck[:period] = (burst - burst.mean())[: len(pluck)]  # a mean would turn for ever: the loop's loss is 0 at 0 Hz
    loss = np.zeros(period + 2)
    loss[0], loss[period], loss[period + 1] = 1.0, -0.498, -0.498
    return _fade(lfilter([1.0], loss, pluck), rate, 0.002), f"a {name} plucked string"


def drum(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """One hit of a drum."""
    name = str(rng.choice(list(DRUMS)))
    return _padded(DRUMS[name](rng, rate), rate, seconds), f"a {name} hit"


def loop(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Kick on beats 1 and 3, snare on 2 and 4 and a hi-hat on eighths or quarters, at a tempo in the caption."""
    bpm = int(rng.choice(TEMPOS))
    beat, eighths = 60 / bpm, bool(rng.random() < 0.5)
    out = np.zeros(round(rate * seconds))
    hits = {name: make(rng, rate) for name, make in DRUMS.items()}
    for i in range(int(np.ceil(seconds / (beat / 2)))):
        at = round(rate * i * beat / 2)
        if i % 2 == 0:
            _mix(out, hits["kick drum" if i % 4 == 0 else "snare drum"], at)
        if eighths or i % 2 == 0:
            _mix(out, 0.4 * hits["hi-hat"], at)
    return out, f"{'an eighth' if eighths else 'a quarter'} note drum loop at {bpm} bpm"


def clock(rng: np.random.Generator, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Ticks at one or four a second."""
    fast = bool(rng.random() < 0.5)
    period = 0.25 if fast else 1.0
    out = np.zeros(round(rate * seconds))
    time = _time(rate, 0.04)
    frequencies = np.minimum(rng.uniform(2000, 3500, size=2), 0.45 * rate)
    for i in range(int(np.ceil(seconds / period))):
        tick = _tone(float(frequencies[i % 2]), time) * _decay(time, 0.004)
        _mix(out, tick, round(rate * (i + 0.1) * period))
    return out, f"a clock ticking {'fast' if fast else 'slowly'}"


def _kick(rng: np.random.Generator, rate: int) -> np.ndarray:
    time = _time(rate, 0.35)
    return _tone(rng.uniform(45, 60) * (1 + 3 * np.exp(-time / 0.03)), time) * _decay(time, 0.1)


def _snare(rng: np.random.Generator, rate: int) -> np.ndarray:
    time = _time(rate, 0.25)
    rattle = 0.3 * _band(rng, rate, len(time), min(1000.0, 0.2 * rate), 0.45 * rate) * _decay(time, 0.06)
    return rattle + 0.6 * _tone(rng.uniform(170, 210), time) * _decay(time, 0.05)


def _hat(rng: np.random.Generator, rate: int) -> np.ndarray:
    time = _time(rate, 0.1)
    return 0.3 * _band(rng, rate, len(time), min(6000.0, 0.3 * rate), 0.48 * rate) * _decay(time, 0.02)


DRUMS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "kick drum": _kick,
    "snare drum": _snare,
    "hi-hat": _hat,
}

KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (tone, sweep, beeps, noise, rain, siren, string, drum, loop, clock)
}


def _padded(samples: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    out = np.zeros(round(rate * seconds))
    _mix(out, samples, 0)
    return out


def _mix(out: np.ndarray, samples: np.ndarray, at: int) -> None:
    """Add `samples` to `out` from index `at`, as far as it fits."""
    room = max(min(len(samples), len(out) - at), 0)
    out[at : at + room] += samples[:room]
