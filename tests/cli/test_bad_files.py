"""A media file that cannot be used: one clear line that names it and the cure, exit code 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from multidiff import files as disk
from multidiff.video.media import Video
from tests.cli.conftest import SUFFIX, Run

RNG = np.random.default_rng(0)
models = pytest.mark.parametrize("model", SUFFIX)


def refused(run: Run, model: str, path: Path | str, *words: str) -> bool:
    """Whether both complete and edit refuse a file before anything is written."""
    for arguments in (("complete", model, path), ("edit", model, path, "a dog")):
        assert run(*arguments, "--steps", 1).is_refused(2, Path(path).name, *words)
    return not Path("out").exists()


@models
def test_a_missing_file(run: Run, model: str) -> None:
    assert refused(run, model, f"none.{SUFFIX[model]}", "no such file", "give the path of")


@models
def test_an_empty_file(run: Run, tmp_path: Path, model: str) -> None:
    path = tmp_path / f"empty.{SUFFIX[model]}"
    path.touch()
    assert refused(run, model, path, "empty")


@models
def test_a_truncated_file(run: Run, files: dict[str, Path], model: str) -> None:
    path = files[model]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(run, model, path)


@models
def test_a_file_of_noise(run: Run, tmp_path: Path, model: str) -> None:
    path = tmp_path / f"noise.{SUFFIX[model]}"
    path.write_bytes(RNG.bytes(4000))
    assert refused(run, model, path)


@models
def test_a_folder_a_pipe_and_a_file_below_a_file(run: Run, files: dict[str, Path], tmp_path: Path, model: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / f"pipe.{SUFFIX[model]}")
    assert refused(run, model, tmp_path / "folder", "is a folder")
    assert refused(run, model, tmp_path / f"pipe.{SUFFIX[model]}", "pipe")
    assert refused(run, model, files[model] / f"below.{SUFFIX[model]}", "Not a directory")
    assert refused(run, model, f"{'long' * 100}.{SUFFIX[model]}", "too long")
    assert refused(run, model, f"~nobody.at.all/x.{SUFFIX[model]}", "home")


@models
def test_an_absurdly_large_file(run: Run, tmp_path: Path, model: str) -> None:
    path = tmp_path / f"huge.{SUFFIX[model]}"
    with path.open("wb") as stream:
        stream.truncate(disk.MAX_BYTES + 1)  # sparse: it takes no room
    assert refused(run, model, path, "cut it")


@pytest.mark.parametrize(
    ("model", "given", "taker"),
    [
        ("shapes", "sfx", "use sfx"),
        ("sfx", "shapes", "use shapes"),
        ("clips", "sfx", "use sfx"),
        ("clips", "shapes", "use shapes"),
    ],
)
def test_a_file_of_another_medium_names_the_model_that_takes_it(
    run: Run, files: dict[str, Path], model: str, given: str, taker: str
) -> None:
    assert refused(run, model, files[given], f"and {model} takes", taker)


def test_a_silent_video_given_to_a_model_of_sound(run: Run, files: dict[str, Path]) -> None:
    assert refused(run, "sfx", files["clips"], "no decodable sound")


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (np.full((50, 3), np.nan), "50 of 50 points are NaN or infinite; remove them"),
        (RNG.random((3, 3)), "3 points are too few"),
        (np.ones((50, 3)), "all points are the same"),
        (1e30 * RNG.random((50, 3)), "absurd"),
        (RNG.random((50, 2)), "not (N, 3)"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
    ids=["NaN", "three", "same", "absurd", "flat", "pickled"],
)
def test_points_that_are_no_cloud(run: Run, tmp_path: Path, points: np.ndarray, word: str) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, points)
    assert refused(run, "shapes", path, word)


def test_a_ply_of_three_points(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "three.ply"
    properties = "\n".join(f"property float {axis}" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex 3\n{properties}\nend_header\n0 0 0\n1 0 0\n0 1 0\n")
    assert refused(run, "shapes", path, "3 points are too few", "at least 16")


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (np.zeros(5000), "silent"),
        (np.full(1, 0.5), "only 1 sample long"),
        (np.full(5000, np.nan), "NaN"),
        (RNG.random(8000 * 90) - 0.5, "cut"),
    ],
    ids=["silent", "one sample", "NaN", "90 seconds"],
)
def test_sounds_that_cannot_be_used(run: Run, tmp_path: Path, samples: np.ndarray, word: str) -> None:
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples.astype(np.float32), 8000, subtype="FLOAT")
    for arguments in (("complete", "sfx", path), ("edit", "sfx", path, "a dog")):
        assert run(*arguments, "--steps", 1).is_refused(2, path, word)


def video(tmp_path: Path, frames: int, height: int, width: int) -> Path:
    return Video(RNG.integers(0, 256, (frames, height, width, 3), np.uint8)).save(tmp_path / "given.mkv")


def test_a_video_of_one_frame_is_a_first_frame(run: Run, tmp_path: Path) -> None:
    path = video(tmp_path, 1, 8, 8)
    (made,) = run("complete", "clips", path, "--frames", 5, "--steps", 1, "--format", "mkv").paths
    frames = Video.read(made).frames
    assert len(frames) == 5
    np.testing.assert_array_equal(frames[:1], Video.read(path).frames)
    assert run("complete", "clips", path, "--task", "interpolate").is_refused(2, path, "1 frame", "--task predict")


def test_a_picture_is_a_first_frame(run: Run, tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (30, 20, 3), np.uint8)).save(tmp_path / "first.png")
    (made,) = run("complete", "clips", tmp_path / "first.png", "--steps", 1).paths
    assert Video.read(made).frames.shape == (4, 30, 20, 3)


@pytest.mark.parametrize("task", ["predict", "interpolate"])
def test_a_video_of_odd_size_keeps_its_frames_and_size(run: Run, tmp_path: Path, task: str) -> None:
    path = video(tmp_path, 5, 9, 13)
    options = ("--task", task, "--steps", 1, "--format", "mkv,mp4", "--frames", 6)
    lossless, playable = run("complete", "clips", path, *options).paths
    frames = Video.read(lossless).frames
    assert frames.shape[1:] == (9, 13, 3)
    np.testing.assert_array_equal(frames[0], Video.read(path).frames[0])
    assert Video.read(playable).frames.shape[1:] == (10, 14, 3), "H.264 wants even sizes"


def test_a_strip_of_pixels_costs_no_more_than_it_holds(run: Run, tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (1, 60_000, 3), np.uint8)).save(tmp_path / "strip.png")
    # Squared, as a frame with bars, it would be 10 GiB.
    done = run("complete", "clips", tmp_path / "strip.png", "--steps", 1, "--format", "gif")
    assert done.code == 0
    assert run("complete", "clips", tmp_path / "strip.png", "--steps", 1, "--format", "mkv").is_refused(
        2, "mkv cannot hold", "another format", notes=1
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sfx", "--from", "5", "--to", "6"), ("0.27 s long",)),
        (("sfx", "--from", "0.2", "--to", "0.1"), ("from < to",)),
        (("sfx", "--from", "0.1"), ("say what to complete", "--from --to")),
        (("sfx", "--from", "0.1", "--extend", "1"), ("say what to complete", "--extend")),
        (("clips", "--frames", "1"), ("leaves none to generate",)),
        (("clips", "--task", "predic"), ("did you mean 'predict'?",)),
        (("clips", "--keep", "0"), ("keep", "greater than 0")),
        (("clips", "--box", "1,2,3"), ("box", "for example 16,16,48,48")),
        (("clips", "--box", "4,4,9,8"), ("in.mkv", "box 4,4,9,8", "8 x 8 pixels")),
        (("clips", "--task", "fill"), ("say what to make anew",)),
        (("clips", "--mask", "none.png"), ("none.png", "no such file")),
        (("clips", "--from", "1", "--to", "0.5"), ("in.mkv", "0.50 s long")),
        (("shapes", "--known", "1"), ("known", "16")),
        (("shapes", "--from", "1"), ("no option 'from'",)),
    ],
)
def test_tasks_that_cannot_be_done(
    run: Run, files: dict[str, Path], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    model, *options = arguments
    assert run("complete", model, files[model], *options).is_refused(2, *words)


def test_inspect_names_what_a_file_holds_or_lacks(run: Run, files: dict[str, Path], tmp_path: Path) -> None:
    reprs = {"sfx": "Audio(0.272 s", "clips": "Video(4 frames of 8x8", "shapes": "PointCloud(40 points"}
    for model, path in files.items():
        assert run("inspect", path).out.startswith(reprs[model])
    (tmp_path / "x.docx").write_text("no media")
    assert run("inspect", tmp_path / "x.docx").is_refused(2, "x.docx", "unknown kind")
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    assert run("inspect", tmp_path / "x.mp4").is_refused(2, "x.mp4")
