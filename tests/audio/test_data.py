"""Folders of sounds become captioned clips; bad files are counted, not fatal."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from multidiff import dataset
from multidiff.audio.data import AudioData, examples
from multidiff.audio.media import Audio
from multidiff.errors import InputError


def tone(seconds: float, rate: int = 16000, level: float = 0.3, channels: int = 1) -> Audio:
    wave = level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    return Audio(np.tile(wave, (channels, 1)), rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    dataset.SKIPPED.items.clear()
    (tmp_path / "bell_tower").mkdir()
    for i in range(40):
        tone(0.5, 44100, channels=2).save(tmp_path / "bell_tower" / f"bell_{i}.wav")
    return tmp_path


def test_files_become_mono_clips_of_one_rate_and_peak(folder: Path) -> None:
    clips = list(examples(AudioData(root=str(folder), rate=16000), "train"))
    assert clips
    for clip in clips:
        assert clip.media.samples.shape == (1, 8000)
        assert clip.media.peak == pytest.approx(0.9, abs=0.01)
        assert (clip.text, clip.label) == ("bell tower", "bell_tower")


def test_the_splits_share_no_file(folder: Path) -> None:
    spec = AudioData(root=str(folder))
    train, val = ({clip.source for clip in examples(spec, split)} for split in ("train", "val"))
    assert train
    assert val
    assert not train & val
    assert len(train | val) == 40


def test_levels_are_kept_where_asked(folder: Path) -> None:
    clip = next(examples(AudioData(root=str(folder), peak=None), "train"))
    assert clip.media.peak == pytest.approx(0.3, abs=0.01)


def test_bad_files_are_skipped_counted_and_named(folder: Path) -> None:
    bad = {"empty.wav": b"", "text.mp3": b"no sound " * 99, "cut.flac": tone(2).encode("flac")[:3000]}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    silent = Audio(np.zeros(8000), 8000).save(folder / "silent.wav")
    spec = AudioData(root=str(folder))
    found = [*examples(spec, "train"), *examples(spec, "val")]
    assert len(found) == 40
    assert {Path(path).name for path, _ in dataset.SKIPPED.items} == {*bad, silent.name}
    assert all(reason.startswith(str(folder)) for _, reason in dataset.SKIPPED.items)


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        list(examples(AudioData(root=str(tmp_path / "none")), "train"))
    with pytest.raises(InputError, match="holds no file"):
        list(examples(AudioData(root=str(tmp_path)), "train"))


def test_long_files_become_several_clips_without_their_quiet_parts(tmp_path: Path) -> None:
    dataset.SKIPPED.items.clear()
    quiet = Audio(0.001 * tone(2).samples, 16000)
    parts = [tone(2), quiet, tone(2), tone(0.2)]
    Audio(np.concatenate([part.samples for part in parts], axis=1), 16000).save(tmp_path / "long.wav")
    (tmp_path / "metadata.csv").write_text("file_name,text,split\nlong.wav,a hum,train\n")
    clips = list(examples(AudioData(root=str(tmp_path), rate=16000, seconds=2, val="split=val"), "train"))
    assert [clip.source.rpartition("@")[2] for clip in clips] == [str(tmp_path / "long.wav"), "4s"]
    assert [clip.media.seconds for clip in clips] == [2, 2]
    assert {clip.text for clip in clips} == {"a hum"}


def test_declared_padding_is_cut_off(tmp_path: Path) -> None:
    dataset.SKIPPED.items.clear()
    for name in "ab":
        tone(2).save(tmp_path / f"{name}.wav")
    (tmp_path / "metadata.csv").write_text("file_name,text,active_s,fold\na.wav,a hum,0.75,1\nb.wav,a hum,much,1\n")
    clips = list(examples(AudioData(root=str(tmp_path), val="fold=4"), "train"))
    assert [clip.media.seconds for clip in clips] == pytest.approx([0.75], abs=1e-4)
    assert "active_s is no number" in dataset.SKIPPED.items[0][1]


def test_procedural_sounds_have_splits_and_limits() -> None:
    spec = AudioData(items=50, seconds=0.5, rate=8000)
    train, val = (list(examples(spec, split)) for split in ("train", "val"))
    assert (len(train), len(val)) == (45, 5)
    assert not {e.source for e in train} & {e.source for e in val}
    assert len(list(examples(spec.model_copy(update={"limit": 3}), "train"))) == 3


def test_several_roots_follow_one_another(folder: Path) -> None:
    spec = AudioData(root=("synth", str(folder)), items=10, seconds=0.5)
    labels = [clip.label for clip in examples(spec, "train")]
    assert labels[0] == "tone"
    assert labels[-1] == "bell_tower"


@pytest.mark.parametrize("bad", [{"rate": 10}, {"seconds": 0}, {"peak": 2}, {"sedonds": 1}])
def test_a_wrong_spec_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AudioData.model_validate(bad)
