"""Video files: what goes in comes out, and what cannot be used is refused in one line."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from multidiff.errors import InputError, MediaError, MultidiffError
from multidiff.video import decode
from multidiff.video.media import Video
from multidiff.video.synth import Scene

MOVING = [kind for kind in Video.formats if kind not in ("png", "frames")]
"""Files of many frames."""


@pytest.fixture(scope="module")
def clip() -> Video:
    return Scene("star", "orange", "dark blue", "moving right", 1, 0.5, 0.5, 0.2, 0.1).render(16, 64, fps=8)


def pyav_frames(path: Path) -> tuple[np.ndarray, list[float]]:
    """An independent reading: no code of ours."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [f.time for f in frames]


def error_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def write_mp4(path: Path, frames: np.ndarray, times_ms: list[int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=1000, options={"crf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, ms in zip(frames, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix == ".mp4" else "libmp3lame", rate=44100)
        if cover:
            picture = container.add_stream("png", rate=1)
            picture.height = picture.width = 16
            picture.pix_fmt = "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), "fltp", "mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if cover:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
            container.mux(picture.encode())
    return path


@pytest.mark.parametrize(("suffix", "worst"), [("mp4", 2.0), ("webm", 2.0), ("gif", 0.5), ("mkv", 0.0), ("apng", 0.0)])
def test_a_clip_survives_every_format(clip: Video, tmp_path: Path, suffix: str, worst: float) -> None:
    path = clip.save(tmp_path / f"clip.{suffix}")
    again = Video.read(path)
    assert again.frames.shape == clip.frames.shape
    assert again.fps == 8
    assert error_between(again.frames, clip.frames) <= worst
    if suffix == "gif":
        # Another program's reading: Pillow merges nothing here, all frames differ.
        with Image.open(path) as image:
            assert (image.n_frames, image.info["loop"]) == (16, 0)
    else:
        frames, times = pyav_frames(path)
        assert error_between(frames, clip.frames) <= 1.5 * worst
        np.testing.assert_allclose(times, np.arange(16) / 8, atol=1e-3)


def test_mp4_can_be_played_while_it_loads_and_in_every_browser(clip: Video, tmp_path: Path) -> None:
    path = clip.save(tmp_path / "clip.mp4")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 215, 50), (128, 128, 128)])
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_colours_are_kept(tmp_path: Path, colour: tuple[int, int, int], suffix: str) -> None:
    frames = np.tile(np.array(colour, np.uint8), (3, 32, 32, 1))
    again = Video.read(Video(frames, 8).save(tmp_path / f"flat.{suffix}"))
    assert np.abs(again.frames.astype(int) - frames).max() <= 4


@pytest.mark.parametrize("suffix", MOVING)
def test_equal_clips_give_equal_bytes(clip: Video, tmp_path: Path, suffix: str) -> None:
    one, two = (clip.save(tmp_path / f"{i}.{suffix}", {"title": "x"}).read_bytes() for i in (1, 2))
    assert one == two


@pytest.mark.parametrize("suffix", MOVING)
def test_tags_are_read_back(clip: Video, tmp_path: Path, suffix: str) -> None:
    tags = {"title": "ein Stern", "prompt": 'a "star" \u2605, moving', "seed": "7"}
    path = clip.save(tmp_path / f"clip.{suffix}", tags)
    assert decode.read_tags(path) == tags
    assert decode.read_tags(clip.save(tmp_path / f"bare.{suffix}")).keys() <= {
        *("major_brand", "minor_version", "compatible_brands", "encoder")
    }


@pytest.mark.parametrize(
    ("suffix", "size"),
    [("mp4", (34, 52)), ("webm", (34, 52)), ("gif", (33, 51)), ("mkv", (33, 51)), ("apng", (33, 51))],
)
def test_odd_sizes_can_be_written(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    odd = Video(np.arange(50, 250, 50, dtype=np.uint8)[:, None, None, None] * np.ones((33, 51, 3), np.uint8), 12)
    again = Video.read(odd.save(tmp_path / f"odd.{suffix}"))
    assert (again.height, again.width, len(again)) == (*size, 4)
    assert error_between(again.frames[:, :33, :51], odd.frames) < 2


@pytest.mark.parametrize("suffix", MOVING)
def test_one_frame_can_be_written_and_read(tmp_path: Path, suffix: str) -> None:
    again = Video.read(Video(np.full((1, 32, 32, 3), 90, np.uint8), 8).save(tmp_path / f"one.{suffix}"))
    assert again.frames.shape == (1, 32, 32, 3)
    assert again.fps == pytest.approx(8, rel=0.05)


@pytest.mark.parametrize("fps", [7.5, 12, 24000 / 1001, 25, 30000 / 1001, 30])
@pytest.mark.parametrize("suffix", MOVING)
def test_the_rate_is_kept(tmp_path: Path, suffix: str, fps: float) -> None:
    rising = Video(
        np.arange(24, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3) * 10, fps
    )
    again = Video.read(rising.save(tmp_path / f"rate.{suffix}"))
    assert len(again) == 24
    # GIF counts in hundredths of a second.
    assert again.fps == pytest.approx(fps, rel=1e-2 if suffix == "gif" else 1e-6)


def test_gif_holds_up_to_256_colours_exactly_and_many_well(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    few = random.integers(0, 256, (200, 3), np.uint8)[random.integers(0, 200, (6, 40, 40))]
    assert (Video.read(Video(few, 10).save(tmp_path / "few.gif")).frames == few).all()
    near = np.arange(240, dtype=np.uint8).reshape(4, 6, 10)[..., None].repeat(3, -1)
    assert (Video.read(Video(near, 10).save(tmp_path / "near.gif")).frames == near).all()
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    many = np.stack(np.broadcast_arrays(ramp[None, :, None], ramp[None, None], ramp[:6, None, None]), -1)
    assert error_between(Video.read(Video(many, 10).save(tmp_path / "many.gif")).frames, many) < 6


def test_a_frozen_gif_keeps_its_seconds(tmp_path: Path) -> None:
    frames = np.zeros((16, 16, 16, 3), np.uint8)
    frames[6:] = 255
    again = Video.read(Video(frames, 8).save(tmp_path / "still.gif"))
    assert again.seconds == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(("suffix", "fps"), [("gif", 60), ("apng", 120)])
def test_what_is_too_fast_for_browsers_is_thinned(tmp_path: Path, suffix: str, fps: float) -> None:
    fast = Video(np.arange(fps, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3), fps)
    again = Video.read(fast.save(tmp_path / f"fast.{suffix}"))
    assert again.seconds == pytest.approx(1, abs=0.02)
    assert 45 < again.fps <= 60


@pytest.mark.parametrize("suffix", ["mkv", "apng"])
def test_lossless_files_keep_equal_frames(tmp_path: Path, suffix: str) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)[[0, 0, 0, 1, 1, 2, 2, 2]]
    again = Video.read(Video(frames, 24000 / 1001).save(tmp_path / f"held.{suffix}"))
    assert np.array_equal(again.frames, frames)
    assert again.fps == pytest.approx(24000 / 1001)


def test_uneven_times_become_even_without_losing_a_frame(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), np.uint8)
    video = Video.read(write_mp4(tmp_path / "vfr.mp4", frames, [0, 100, 200, 700, 800]))
    assert video.fps == 10
    shown = [int(np.argmin([error_between(f, g) for g in frames])) for f in video.frames]
    assert shown[:9] == [0, 1, 2, 2, 2, 2, 2, 3, 4]


def test_one_endless_pause_is_refused_not_filled(tmp_path: Path) -> None:
    frames = np.zeros((4, 256, 256, 3), np.uint8)
    with pytest.raises(MediaError, match=r"pause\.mp4: .*uneven times.*constant rate"):
        Video.read(write_mp4(tmp_path / "pause.mp4", frames, [0, 20, 40, 3_000_000]))


def test_times_that_jitter_are_even(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), np.uint8)
    video = Video.read(write_mp4(tmp_path / "jitter.mp4", frames, [0, 33, 67, 100, 133, 167]))
    assert (video.frames == frames).all()
    assert video.fps == pytest.approx(30, rel=1e-2)


@pytest.mark.parametrize(
    ("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)]
)
def test_a_turned_film_is_read_upright(tmp_path: Path, matrix: tuple[int, ...], turns: int) -> None:
    """The matrices of a phone held in four ways (ISO 14496-12, 6.2.2)."""
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :8, :8] = 255
    data = bytearray(write_mp4(tmp_path / "phone.mp4", frames, [0, 100, 200]).read_bytes())
    start = data.index(b"tkhd") + 4
    a, b, c, d = (value << 16 for value in matrix)
    data[start + 40 : start + 76] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    assert np.array_equal(Video.read(tmp_path / "phone.mp4").frames, np.rot90(frames, turns, axes=(1, 2)))


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        *(("avi", "mpeg4", "yuv420p"), ("mov", "mjpeg", "yuvj420p"), ("mov", "prores_ks", "yuv422p10le")),
        *(("mpg", "mpeg2video", "yuv420p"), ("ts", "libx264", "yuv420p"), ("mkv", "ffv1", "yuv444p")),
        *(("webm", "libvpx", "yuv420p"), ("mp4", "libx265", "yuv420p"), ("flv", "flv1", "yuv420p")),
    ],
)
def test_files_of_other_programs_are_read(tmp_path: Path, suffix: str, codec: str, pixels: str) -> None:
    rising = np.linspace(40, 220, 10).astype(np.uint8)[:, None, None, None].repeat(48, 1).repeat(64, 2).repeat(3, 3)
    with av.open(str(tmp_path / f"film.{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        stream.bit_rate = 4_000_000
        for image in rising:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    video = Video.read(tmp_path / f"film.{suffix}")
    assert video.frames.shape == rising.shape
    assert video.fps == pytest.approx(25, rel=1e-2)
    assert error_between(video.frames, rising) < 6


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    image = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    Image.fromarray(image).save(tmp_path / f"p.{suffix}")
    video = Video.read(tmp_path / f"p.{suffix}")
    assert video.frames.shape == (1, 20, 30, 3)
    assert error_between(video.frames[0], image) < 6


def test_transparency_is_read_on_white_and_exif_turns_pictures(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (Video.read(tmp_path / "clear.png").frames == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert Video.read(tmp_path / "turned.jpg").frames.shape == (1, 30, 20, 3)


def test_an_animated_webp_is_a_video(clip: Video, tmp_path: Path) -> None:
    images = [Image.fromarray(f) for f in clip.frames]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=125, lossless=True)
    video = Video.read(tmp_path / "a.webp")
    assert (video.frames == clip.frames).all()
    assert video.fps == 8


@pytest.mark.parametrize("suffix", MOVING)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = Video(np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8), 8)
    data = noise.save(tmp_path / f"whole.{suffix}").read_bytes()
    bad = tmp_path / f"cut.{suffix}"
    bad.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError, match=r"cut\.\w+: .*(truncated|broken)"):
        Video.read(bad)


def test_truncated_mp4_without_faststart_is_refused(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (10, 32, 32, 3), np.uint8)
    data = write_mp4(tmp_path / "whole.mp4", frames, list(range(0, 1000, 100))).read_bytes()
    for share in (0.01, 0.2, 0.5, 0.8, 0.98):
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MediaError, match=r"cut\.mp4"):
            Video.read(tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"this is only some text\n" * 40),
        ("text.gif", b"GIF89a but not really"),
        ("noise.mp4", np.random.default_rng(0).bytes(5000)),
        ("noise.png", b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(500)),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"),
        ("table.csv", b"a,b\n1,2\n"),
        ("art.txt", b"\x1b[31mhello\n" * 50),
        ("page.mp4", b"<html><body>404 not found</body></html>"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=name) as error:
        Video.read(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "cover"), [("sound.mp4", False), ("song.mp3", False), ("album.mp3", True)])
def test_a_sound_file_is_no_video_even_with_a_cover(tmp_path: Path, name: str, cover: bool) -> None:
    with pytest.raises(MediaError, match="holds no video"):
        Video.read(write_sound(tmp_path / name, cover))


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        Video.read(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        Video.read(tmp_path)


def test_absurdly_large_files_are_refused_early(clip: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip.save(tmp_path / "long.mp4")
    monkeypatch.setattr(decode, "MAX_BYTES", 5 * 64 * 64 * 3)
    with pytest.raises(MediaError, match=r"more than 5 frames of 64x64.*cut it"):
        Video.read(path)
    assert len(decode.decode(path, lambda frame: frame[:, ::4, ::4])[0]) == 16
    monkeypatch.setattr(decode, "MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match="too large"):
        Video.read(path)
    Image.new("RGB", (100, 100)).save(tmp_path / "huge.png")
    with pytest.raises(MediaError, match="too large"):
        Video.read(tmp_path / "huge.png")


def test_nothing_half_written_is_left(clip: Video, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write '\.mpp4' video, did you mean 'mp4'"):
        clip.save(tmp_path / "clip.mpp4")
    with pytest.raises(MultidiffError, match="cannot be written"):
        clip.save(tmp_path / "missing" / "clip.mp4")
    with pytest.raises(MultidiffError, match="cannot be written"):
        clip.save(tmp_path / "missing" / "clip.gif")
    assert not list(tmp_path.iterdir())


def test_frames_in_memory_are_checked() -> None:
    assert len(Video(torch.zeros(3, 8, 8, 3, dtype=torch.uint8), 8)) == 3
    for frames in (np.zeros((3, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)):
        with pytest.raises(MediaError, match="uint8 of shape"):
            Video(frames, 8)  # type: ignore[arg-type]
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MediaError, match="fps"):
            Video(np.zeros((1, 8, 8, 3), np.uint8), fps)


def test_resampling_shows_what_was_shown_at_that_time(clip: Video) -> None:
    numbered = Video(np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(3, 3), 12)
    ids = lambda video: video.frames[:, 0, 0, 0].tolist()
    assert ids(numbered.resample(fps=6)) == [0, 2, 4, 6, 8, 10]
    assert ids(numbered.resample(fps=24)) == [i // 2 for i in range(24)]
    assert ids(numbered.resample(frames=4)) == [0, 3, 6, 9]
    assert numbered.resample(frames=4).seconds == pytest.approx(1)
    assert ids(numbered.resample(fps=12)) == list(range(12))
    with pytest.raises(InputError):
        numbered.resample()
    with pytest.raises(InputError):
        numbered.resample(fps=-1)


def test_resizing_keeps_pixels_crisp_or_antialiases() -> None:
    board = np.indices((8, 8)).sum(0) % 2 * 255
    video = Video(board[None, :, :, None].repeat(3, 3).astype(np.uint8), 8)
    assert set(np.unique(video.resize(24, 32).frames)) == {0, 255}
    grey = video.resize(2, 2).frames
    assert np.abs(grey.astype(int) - 127).max() < 30
    assert video.resize(5, 7).frames.shape == (1, 5, 7, 3)
    with pytest.raises(InputError):
        video.resize(0, 4)


def test_fitting_does_not_distort() -> None:
    wide = np.zeros((1, 20, 60, 3), np.uint8)
    wide[:, :, 20:40] = 255
    assert (Video(wide, 8).fit(10, 10).frames > 200).mean() > 0.7
    barred = Video(wide, 8).fit(30, 30, "pad").frames[0]
    assert barred[:9].max() == barred[-9:].max() == 0
    assert barred[15, 15].min() == 255


def test_a_video_says_what_it_is(clip: Video) -> None:
    assert repr(clip) == "Video(16 frames of 64x64, 8 fps, 2.00 s)"


def test_one_frame_is_a_png_picture_with_its_tags(clip: Video, tmp_path: Path) -> None:
    tags = {"title": "ein Stern", "prompt": 'a "star" \u2605', "seed": "7"}
    path = Video(clip.frames[:1]).save(tmp_path / "still.png", tags)
    with Image.open(path) as image:
        assert (image.format, getattr(image, "n_frames", 1), image.info["title"]) == ("PNG", 1, "ein Stern")
        assert np.array_equal(np.asarray(image), clip.frames[0])
    assert decode.read_tags(path) == tags
    assert np.array_equal(Video.read(path).frames, clip.frames[:1])
    with pytest.raises(InputError, match=r"more\.png: a PNG picture holds one frame, not 16; .* frames or apng"):
        clip.save(tmp_path / "more.png")
    assert [path.name for path in tmp_path.iterdir()] == ["still.png"]


def test_frames_are_a_folder_of_numbered_pictures(clip: Video, tmp_path: Path) -> None:
    tags, turned = {"title": "ein Stern", "seed": "7"}, Video(clip.frames[::-1], 30000 / 1001)
    for video in (clip, turned):  # what lay there is replaced as a whole
        path = video.save(tmp_path / "clip.frames", tags)
        names = sorted(each.name for each in path.iterdir())
        assert names == [f"{i:04d}.png" for i in range(1, 17)]
        with Image.open(path / "0003.png") as image:
            assert np.array_equal(np.asarray(image), video.frames[2])
        again = Video.read(path)
        assert np.array_equal(again.frames, video.frames)
        assert again.fps == pytest.approx(video.fps, rel=1e-9)
        assert decode.read_tags(path) == tags
    shorter = Video(clip.frames[:2]).save(path)
    assert len(list(shorter.iterdir())) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["clip.frames"]


def test_a_folder_of_pictures_is_read_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    for number in (1, 2, 10, 9, 100):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"walk 2 frame{number}.png")
    (tmp_path / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    video = Video.read(tmp_path)
    assert video.frames[:, 0, 0, 0].tolist() == [1, 2, 9, 10, 100]
    assert video.fps == decode.STILL_FPS


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is a folder without pictures"):
        Video.read(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"2\.png: cannot be decoded"):
        Video.read(tmp_path)
