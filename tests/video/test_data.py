"""Folders of films become clips of one size; what is broken is left out and listed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from multidiff.dataset import SKIPPED
from multidiff.errors import InputError
from multidiff.video.data import VideoData, examples
from multidiff.video.media import Video


@pytest.fixture(autouse=True)
def _no_reports() -> Iterator[None]:
    SKIPPED.items.clear()
    yield
    SKIPPED.items.clear()


def numbered(frames: int, height: int = 16, width: int = 16) -> Video:
    """A clip whose frame i has brightness 8 i."""
    return Video(8 * np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((height, width, 3), np.uint8), 10)


def folder(root: Path, rows: list[tuple[str, str, str, Video | bytes]]) -> Path:
    with (root / "metadata.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file_name", "text", "split"))
        for name, text, split, content in rows:
            table.writerow((name, text, split))
            if isinstance(content, Video):
                content.save(root / name)
            else:
                (root / name).write_bytes(content)
    return root


def numbers(video: Video) -> list[int]:
    return (video.frames[:, 4, 4, 0] // 8).tolist()


def test_a_folder_with_captions_gives_clips_of_one_size(tmp_path: Path) -> None:
    rows = [("a.mkv", "a wide film", "train", numbered(20, 18, 40)), ("b.mkv", "held out", "val", numbered(20))]
    spec = VideoData(root=str(folder(tmp_path, rows)), frames=8, size=16)
    (train,) = examples(spec, "train")
    (val,) = examples(spec, "val")
    assert (train.text, val.text) == ("a wide film", "held out")
    assert train.media.frames.shape == (8, 16, 16, 3)
    assert train.source.endswith("a.mkv")


def test_bad_and_short_files_are_skipped_and_listed(tmp_path: Path) -> None:
    whole = numbered(8).save(tmp_path / "whole.mp4").read_bytes()
    rows = [
        ("good.mkv", "good", "train", numbered(8)),
        ("cut.mp4", "cut", "train", whole[: len(whole) // 2]),
        ("text.mp4", "text", "train", b"not a film"),
        ("empty.gif", "empty", "train", b""),
        ("short.mkv", "short", "train", numbered(3)),
    ]
    spec = VideoData(root=str(folder(tmp_path, rows)), frames=8, size=16)
    assert [e.text for e in examples(spec, "train")] == ["good"]
    assert [Path(source).name for source, _ in SKIPPED.items] == ["cut.mp4", "text.mp4", "empty.gif", "short.mkv"]
    assert "gives 3 frames where a clip has 8; lower data.frames" in SKIPPED.items[-1][1]


def test_a_missing_file_of_the_table_is_skipped(tmp_path: Path) -> None:
    root = folder(tmp_path, [("a.mkv", "a", "train", numbered(8)), ("b.mkv", "b", "train", numbered(8))])
    (root / "a.mkv").unlink()
    assert [e.text for e in examples(VideoData(root=str(root), frames=8, size=16), "train")] == ["b"]
    assert len(SKIPPED) == 1


def test_rate_stride_and_several_clips_of_one_film(tmp_path: Path) -> None:
    root = folder(tmp_path, [("a.mkv", "a", "train", numbered(24))])
    cut = lambda **how: [
        numbers(e.media) for e in examples(VideoData(root=str(root), frames=4, size=16, **how), "train")
    ]
    assert cut() == [[0, 1, 2, 3]]
    assert cut(stride=2) == [[0, 2, 4, 6]]
    assert cut(fps=5) == [[0, 2, 4, 6]]
    assert cut(clips=3) == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert cut(loop=True) == [[0, 6, 12, 18]]


def test_pixel_art_is_enlarged_without_blur(tmp_path: Path) -> None:
    board = np.tile((np.indices((16, 16)).sum(0) % 2 * 255).astype(np.uint8)[None, :, :, None], (4, 1, 1, 3))
    root = folder(tmp_path, [("a.mkv", "a", "train", Video(board, 8))])
    (example,) = examples(VideoData(root=str(root), frames=4, size=64), "train")
    assert set(np.unique(example.media.frames)) == {0, 255}


def test_synthetic_splits_share_nothing_and_repeat_exactly() -> None:
    spec = VideoData(count=60, frames=4, size=16)
    train, val = (list(examples(spec, split)) for split in ("train", "val"))
    assert len(train) + len(val) == 60
    assert len(val) >= 2
    assert not {e.source for e in train} & {e.source for e in val}
    again = next(iter(examples(spec, "train")))
    assert (again.media.frames == train[0].media.frames).all()
    red = VideoData(count=60, frames=4, size=16, where={"colour": "red"})
    assert all("red" in e.text for e in examples(red, "train"))


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        list(examples(VideoData(root=str(tmp_path / "nothing")), "train"))
    with pytest.raises(InputError, match="holds no file"):
        list(examples(VideoData(root=str(tmp_path)), "train"))
