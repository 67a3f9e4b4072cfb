"""Sounds are read and written without surprise, and what cannot be read says why."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
import torch

from multidiff.audio.media import Audio, usable
from multidiff.errors import MediaError, MultidiffError

RATE = 44100
SCIPY_WAVS = Path(scipy.io.__file__).parent / "tests" / "data"


def tones(rate: int = RATE, seconds: float = 1.0, channels: int = 2) -> Audio:
    time = np.arange(round(rate * seconds)) / rate
    return Audio(np.stack([0.5 * np.sin(2 * np.pi * 440 * (c + 1) * time) for c in range(channels)]), rate)


def by_ffmpeg(audio: Audio, path: Path, codec: str) -> Path:
    """The sound as FFmpeg's own encoder and muxer write it."""
    layout = {1: "mono", 2: "stereo"}[audio.channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=audio.rate, layout=layout)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=audio.rate)
        for start in range(0, audio.samples.shape[1], 960):
            block = np.ascontiguousarray(audio.samples[:, start : start + 960])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = audio.rate, start
            for out in resampler.resample(frame):
                container.mux(stream.encode(out))
        container.mux(stream.encode(None))
    return path


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    n = min(a.shape[1], b.shape[1])
    return float(np.corrcoef(a[0, :n], b[0, :n])[0, 1])


def same_tone(audio: Audio, hz: float) -> bool:
    spectrum = np.abs(np.fft.rfft(audio.samples[0]))
    return abs(spectrum.argmax() / audio.seconds - hz) < 3


def test_samples_may_be_arrays_or_tensors_of_one_or_two_axes() -> None:
    for samples in (np.zeros(10), np.zeros((1, 10)), torch.zeros(10), torch.zeros(1, 10, dtype=torch.float16)):
        audio = Audio(samples, RATE)
        assert audio.samples.shape == (1, 10)
        assert audio.samples.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_integer_samples_are_pcm_of_their_width(dtype: str) -> None:
    info = np.iinfo(dtype)
    middle = 128 if dtype == "uint8" else 0
    samples = Audio(np.array([info.min, middle, info.max], dtype=dtype), RATE).samples[0]
    assert samples[0] == -1
    assert samples[1] == 0
    assert 0.99 < samples[2] <= 1


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((RATE, 2)), RATE),
        (np.zeros((2, 2, 9)), RATE),
        (np.array(["a"]), RATE),
        (np.zeros(9), 0),
        (np.zeros(9), 1.5),
    ],
)
def test_samples_of_another_shape_type_or_rate_are_refused(samples: np.ndarray, rate: int) -> None:
    with pytest.raises(MediaError, match="sound in memory"):
        Audio(samples, rate)


@pytest.mark.parametrize("kind", Audio.formats)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_comes_back_with_its_length(kind: str, channels: int, tmp_path: Path) -> None:
    audio = tones(channels=channels)
    back = Audio.read(audio.save(tmp_path / f"x.{kind}"))
    assert (back.rate, back.samples.shape) == (audio.rate, audio.samples.shape)
    assert correlation(audio.samples, back.samples) > 0.999
    if kind in ("wav", "flac"):
        assert np.abs(back.samples - audio.samples).max() <= 2**-16 + 1e-7


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_16_bit_sound_survives_to_the_bit(kind: str, tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    path = Audio(pcm, 22050).save(tmp_path / f"x.{kind}")
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], pcm)
    assert Audio.read(path).save(tmp_path / f"y.{kind}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", Audio.formats)
def test_ffmpeg_reads_the_tags(kind: str, tmp_path: Path) -> None:
    tags = {"title": "ein Hünd bellt", "comment": "hello", "software": "multidiff 0.1", "prompt": "a dog", "seed": "7"}
    path = tones().save(tmp_path / f"x.{kind}", tags)
    with av.open(str(path)) as container:
        found = {k.lower(): v for k, v in {**container.metadata, **container.streams.audio[0].metadata}.items()}
    assert found["title"] == tags["title"]
    assert "hello; prompt=a dog; seed=7" in str(found.get("comment", found.get("description")))
    if kind != "mp3":
        assert found.get("software", found.get("encoder", "")).startswith("multidiff 0.1")


def test_sound_beyond_full_scale_is_turned_down_not_clipped(tmp_path: Path) -> None:
    loud = Audio(3 * tones().samples, RATE)
    back = Audio.read(loud.save(tmp_path / "x.wav"))
    assert correlation(loud.samples, back.samples) > 0.999999
    assert back.peak <= 1


def test_a_long_sound_can_be_written_as_ogg(tmp_path: Path) -> None:
    long = Audio(np.tile(tones(8000, 1.0, 1).samples, 600), 8000)
    assert Audio.read(long.save(tmp_path / "x.ogg")).seconds == 600


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_bit_depth_of_wav_is_read(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tones().samples.T, RATE, subtype)
    assert np.abs(Audio.read(tmp_path / "x.wav").samples - tones().samples).max() < 0.02


@pytest.mark.parametrize("rate", [8000, 11025, 48000, 96000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_files_written_by_scipy_are_read(rate: int, dtype: type, tmp_path: Path) -> None:
    audio = tones(rate, channels=3)
    samples = (audio.samples.T * (32767 if dtype is np.int16 else 1)).astype(dtype)
    scipy.io.wavfile.write(tmp_path / "x.wav", rate, samples)
    back = Audio.read(tmp_path / "x.wav")
    assert (back.rate, back.channels) == (rate, 3)
    assert np.abs(back.samples - audio.samples).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("x.m4a", "aac", 44100),
        ("x.mp4", "aac", 22050),
        ("x.aac", "aac", 44100),
        ("x.webm", "libopus", 48000),
        ("x.opus", "libopus", 48000),
        ("x.mka", "flac", 44100),
        ("x.ogg", "flac", 44100),
        ("x.ac3", "ac3", 48000),
        ("x.wav", "pcm_s24le", 44100),
        ("x.mp3", "libmp3lame", 44100),
    ],
)
def test_files_written_by_ffmpeg_are_read(name: str, codec: str, rate: int, tmp_path: Path) -> None:
    audio = tones(rate)
    back = Audio.read(by_ffmpeg(audio, tmp_path / name, codec))
    assert (back.rate, back.channels) == (rate, 2)
    assert abs(back.seconds - audio.seconds) < 0.1
    assert same_tone(back, 440)


def test_the_sound_of_a_video_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        picture, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=RATE, layout="mono")
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(tones(channels=1).samples, format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux([*picture.encode(None), *sound.encode(frame), *sound.encode(None)])
    assert same_tone(Audio.read(tmp_path / "x.mp4"), 440)


def test_a_wav_written_into_a_pipe_has_no_length_and_is_read(tmp_path: Path) -> None:
    data = bytearray(tones().encode("wav"))
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "x.wav").write_bytes(data)
    assert Audio.read(tmp_path / "x.wav").seconds == 1


@pytest.mark.parametrize("name", ["44100Hz-le-1ch-4bytes", "44100Hz-be-1ch-4bytes", "44100Hz-le-1ch-4bytes-rf64"])
def test_strange_but_whole_wavs_of_scipy_are_read(name: str) -> None:
    assert Audio.read(SCIPY_WAVS / f"test-{name}.wav").seconds == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["early-eof", "early-eof-no-data", "incomplete-chunk"])
def test_broken_wavs_of_scipy_are_refused(name: str) -> None:
    with pytest.raises(MediaError):
        Audio.read(SCIPY_WAVS / f"test-44100Hz-le-1ch-4bytes-{name}.wav")


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff", "m4a", "webm", "mka"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_file_cut_short_is_refused_in_one_line(kind: str, share: float, tmp_path: Path) -> None:
    audio = tones(48000, seconds=8.0)
    whole = tmp_path / f"whole.{kind}"
    if kind in Audio.formats:
        audio.save(whole)
    elif kind == "aiff":
        soundfile.write(whole, audio.samples.T, audio.rate)
    else:
        by_ffmpeg(audio, whole, {"m4a": "aac", "webm": "libopus", "mka": "flac"}[kind])
    Audio.read(whole)
    data = whole.read_bytes()
    part = tmp_path / f"part.{kind}"
    part.write_bytes(data[: round(share * len(data))])
    with pytest.raises(MediaError, match=r"^.*part\.\w+: .*; .*$") as raised:
        Audio.read(part)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("empty.wav", b"", "empty"),
        ("text.wav", b"this is no sound at all\n" * 50, "cannot be decoded"),
        ("notes.txt", b"this is no sound at all\n" * 50, "holds no decodable sound"),
        ("zeros.mp3", bytes(5000), "cannot be decoded"),
        ("x.raw", bytes(5000), "holds no decodable sound"),
    ],
)
def test_what_is_no_sound_file_is_refused(name: str, data: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match=fault):
        Audio.read(tmp_path / name)


def test_a_picture_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    with pytest.raises(MediaError, match="holds no decodable sound"):
        Audio.read(tmp_path / "x.png")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        Audio.read(tmp_path / "x.wav")
    with pytest.raises(MediaError, match="is a folder"):
        Audio.read(tmp_path)


def test_an_absurdly_long_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.wav").open("wb") as stream:
        stream.write(Audio(np.zeros(8), 8000).encode("wav")[:44])
        stream.seek(4)
        stream.write(((1 << 30) + 36).to_bytes(4, "little"))
        stream.seek(40)
        stream.write((1 << 30).to_bytes(4, "little"))
        stream.truncate(44 + (1 << 30))  # sparse: a gigabyte of silence that takes no disk
    with pytest.raises(MediaError, match="more than the"):
        Audio.read(tmp_path / "x.wav")


@pytest.mark.parametrize(
    ("samples", "fault"),
    [
        (np.zeros(RATE), "is silent"),
        (np.full(1, 0.5), "only 1 sample long"),
        (np.zeros(0), "only 0 samples long"),
        (np.array([0.1, np.nan] * 4000), "NaN"),
        (np.array([0.1, np.inf] * 4000), "NaN or infinite"),
    ],
)
def test_a_sound_nothing_can_be_done_with_is_refused(samples: np.ndarray, fault: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", samples.astype(np.float32), RATE, "FLOAT")
    with pytest.raises(MediaError, match=fault):
        Audio.read(tmp_path / "x.wav")
    with pytest.raises(MediaError, match=r"^the given sound: "):
        usable(Audio(samples, RATE), "the given sound")


@pytest.mark.parametrize(("samples", "fault"), [([np.nan, 0.0], "NaN"), ([], "no samples")])
@pytest.mark.parametrize("kind", Audio.formats)
def test_nan_and_nothing_are_never_written(samples: list[float], fault: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=fault):
        Audio(np.array(samples), RATE).save(tmp_path / f"x.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_what_a_format_cannot_hold_is_told_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"x\.mp3: mp3 cannot hold .* save as wav"):
        tones(channels=5).save(tmp_path / "x.mp3")
    with pytest.raises(MediaError, match="cannot write 'flax', did you mean 'flac'"):
        tones().save(tmp_path / "x.flax")
    with pytest.raises(MediaError, match=r"x\.ogg: ogg cannot hold"):  # libsndfile itself would crash
        tones(384_000, 0.1).save(tmp_path / "x.ogg")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_a_full_disk_are_not_the_sounds_fault(tmp_path: Path) -> None:
    with pytest.raises(MultidiffError, match="cannot be written") as raised:
        tones().save(tmp_path / "none" / "x.wav")
    assert raised.value.exit_code == 1
    code = (
        "import resource, signal, sys, numpy as np\n"
        "from multidiff.audio.media import Audio\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "Audio(np.zeros(50_000), 8000).save(sys.argv[1])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.wav")], capture_output=True, text=True, check=False
    )
    assert "MultidiffError" in run.stderr
    assert "cannot be written" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_resampling_keeps_the_tone_and_the_duration() -> None:
    audio = tones()
    low = audio.resample(16000)
    assert (low.rate, low.samples.shape) == (16000, (2, 16000))
    assert same_tone(low, 440)
    assert audio.resample(RATE) is audio


def test_mono_is_the_mean_of_the_channels() -> None:
    audio = Audio(np.array([[1.0, 0.0], [0.0, -1.0]]), RATE)
    assert audio.mono().samples.tolist() == [[0.5, -0.5]]


def test_cutting_takes_seconds_and_stops_at_the_end() -> None:
    audio = tones()
    assert audio.cut(0.25, 0.75).seconds == 0.5
    assert audio.cut(0.9, 5.0).seconds == pytest.approx(0.1)
    assert audio.cut(-1.0, 0.5).seconds == 0.5


def test_a_sound_describes_itself() -> None:
    assert repr(tones()) == "Audio(1.000 s, 44100 Hz, stereo, peak -6.0 dB)"
    assert repr(Audio(np.zeros(50), 100)) == "Audio(0.500 s, 100 Hz, mono, silent)"
    assert tones().preview(10) == "█" * 10
    assert Audio(np.r_[np.zeros(50), 0.5, 1.0], 100).preview(26).strip() == "▄█" or "█" in tones().preview()
    assert "data:audio/wav;base64,UklGR" in tones()._repr_html_()


def test_an_mp3_keeps_a_long_title_in_any_letters(tmp_path: Path) -> None:
    """libsndfile alone labels it Latin-1, and other programs show it garbled."""
    sound = Audio(0.3 * np.sin(np.arange(22050) * 0.05), 22050)
    title = "Ein Hund bellt \u2013 \u00fcn\u00efc\u00f6d\u00e9 \u72ac, und noch einer"
    sound.save(tmp_path / "a.mp3", {"title": title, "seed": "3"})
    with av.open(str(tmp_path / "a.mp3")) as container:
        assert container.metadata["title"] == title
        assert "seed=3" in container.metadata["comment"]
        stored = (tmp_path / "a.mp3").read_bytes()
        assert title.encode() in stored
        assert stored[:4] == b"ID3\x04"
    plain = Audio(sound.samples, 22050).save(tmp_path / "b.mp3", {"title": "a dog"})
    assert np.array_equal(Audio.read(tmp_path / "a.mp3").samples, Audio.read(plain).samples)


@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_a_lossy_format_brings_no_sound_beyond_full_scale(kind: str, tmp_path: Path) -> None:
    loud = np.sign(np.sin(np.arange(22050) * 0.03)) * 0.98  # steep edges overshoot
    path = Audio(loud, 22050).save(tmp_path / f"x.{kind}")
    peak = np.abs(soundfile.read(path)[0]).max()
    assert 0.7 < peak <= 1
