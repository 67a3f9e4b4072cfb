"""Files are checked before they are read, and written whole or not at all."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multidiff import files
from multidiff.errors import InputError, MediaError, MultidiffError


def test_a_readable_file_is_given_back_with_its_home_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.wav").write_text("x")
    assert files.readable("~/a.wav", "a sound") == tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.wav", "missing.wav: no such file; give the path of a sound"),
        ("folder", "folder: is a folder; give the path of a sound"),
        ("empty.wav", "empty.wav: the file is empty"),
        ("large.wav", "large.wav: .* is more than .* read at once; cut it"),
        ("pipe", "pipe: is a pipe or device"),
        ("empty.wav/x", "x: cannot be read"),
        ("n" * 300, "n: cannot be read"),
        ("nul\0.wav", "cannot be read"),
    ],
)
def test_an_unreadable_file_is_named_with_its_fault(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.wav").touch()
    (tmp_path / "large.wav").write_bytes(bytes(2000))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match=said):
        files.readable(tmp_path / name, "a sound", max_bytes=1000)


def test_a_folder_is_made_and_must_be_writable(tmp_path: Path) -> None:
    assert files.folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is a file or lies below one; choose a folder"):
            files.folder(path)
    with pytest.raises(MultidiffError, match="cannot write there"):
        files.folder("/proc/multidiff")


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.written_whole(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "plain"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_half_written_is_left_whatever_goes_wrong(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(MultidiffError if isinstance(error, OSError) else type(error)):  # noqa: PT012, SIM117
        with files.written_whole(path) as temporary:
            temporary.write_text("half")
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(MultidiffError, match=r"a\.txt: cannot be written \(No space left on device\); free space"):  # noqa: SIM117
        with files.written_whole(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")


def test_a_folder_that_is_gone_is_an_error_and_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(MultidiffError, match=r"a\.txt: cannot be written"):  # noqa: SIM117
        with files.written_whole(tmp_path / "gone" / "a.txt") as temporary:
            temporary.write_text("x")


def test_files_that_belong_together_come_or_go_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    with pytest.raises(ValueError, match="third"), files.together([old, new, tmp_path / "never"]):  # noqa: PT012
        new.write_text("new")
        raise ValueError("third")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with files.together([new]):
        new.write_text("new")
    assert new.exists()


def test_tensors_are_saved_with_their_metadata(tmp_path: Path) -> None:
    files.save_tensors(tmp_path / "a.safetensors", {"x": torch.arange(3)}, {"k": "v"})
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [0, 1, 2]
    with pytest.raises(MultidiffError, match="cannot be written"):
        files.save_tensors(tmp_path / "gone" / "a.safetensors", {"x": torch.zeros(1)}, {})
