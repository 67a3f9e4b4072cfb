"""Frames, uint8 arrays (T, H, W, 3), -> files: what a clip is written as, and a cloud that turns.

mp4   H.264 yuv420p, plays everywhere; colours are stored at half resolution.
webm  VP9 yuv420p.
gif   one palette for the whole clip: exact up to 256 colours, dithered beyond; at most 50 frames per second.
mkv   H.264 RGB, lossless, any size; for data sets and pixel art, not for browsers.
apng  every frame a PNG, in one file that browsers play: lossless, any size, at most 60 frames per second;
      `ffmpeg -i clip.apng frame%03d.png` takes them apart.
png   one frame, a still picture.
frames  a folder `clip.frames` of PNG pictures 0001.png, 0002.png, ..., each with the tags and the rate.

yuv420p wants even sizes: an odd edge is repeated once. Colours are BT.709 and say so. One encoder thread and no
time stamps or random ids in the file, so equal frames give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import InputError, did_you_mean
from multidiff.files import folder_written_whole, written_whole

if TYPE_CHECKING:
    from PIL import Image, PngImagePlugin

Frames = NDArray[np.uint8]
"""(T, H, W, 3)."""
GIF_MAX_FPS, APNG_MAX_FPS = 50, 60
"""Browsers show what is faster than about 90 at 10."""
BT709 = 1
"""Its number in the tables of colour spaces, primaries and transfer functions (ITU-T H.273)."""


@dataclass(frozen=True)
class Container:
    """How one file format is written through PyAV."""

    codec: str
    pixels: str
    options: Mapping[str, str]
    container_options: Mapping[str, str]


CONTAINERS = {
    "mp4": Container(
        "libx264",
        "yuv420p",
        {"crf": "12", "preset": "slow"},
        {"movflags": "+faststart", "fflags": "+bitexact"},
    ),
    "webm": Container(
        "libvpx-vp9",
        "yuv420p",
        {"crf": "12", "b": "0", "deadline": "good", "cpu-used": "2"},
        {"fflags": "+bitexact"},
    ),
    "mkv": Container("libx264rgb", "rgb24", {"crf": "0", "preset": "slow"}, {"fflags": "+bitexact"}),
}
FORMATS = ("mp4", "webm", "gif", "mkv", "apng", "png", "frames")


def encode(frames: Frames, fps: float, path: str | Path, tags: Mapping[str, str]) -> Path:
    """Write frames (T, H, W, 3) in the format of the path's suffix, whole or not at all.

    `title` becomes the file's title; all tags together are its comment, as JSON. Raises InputError for a
    suffix that cannot be written, MultidiffError when the disk refuses.
    """
    path = Path(path).expanduser()
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: cannot write '{path.suffix}' video{did_you_mean(kind, FORMATS)}")
    comment = json.dumps(dict(tags), ensure_ascii=False) if tags else ""
    title = tags.get("title", "")
    if kind == "frames":
        with folder_written_whole(path) as folder:
            for number, frame in enumerate(frames, 1):
                _write_png(
                    frame, folder / f"{number:04d}.png", {"title": title, "comment": comment, "fps": f"{fps:.12g}"}
                )
        return path
    if kind == "png" and len(frames) > 1:
        raise InputError(
            f"{path}: a PNG picture holds one frame, not {len(frames)}; ask for one, or write frames or apng"
        )
    with written_whole(path) as temporary:
        if kind == "gif":
            _write_gif(*_thinned(frames, fps, GIF_MAX_FPS), temporary, comment)
        elif kind == "apng":
            _write_apng(*_thinned(frames, fps, APNG_MAX_FPS), temporary, title, comment)
        elif kind == "png":
            _write_png(frames[0], temporary, {"title": title, "comment": comment})
        else:
            _write_container(frames, fps, temporary, kind, title, comment)
    return path


def even_sized(frames: Frames) -> Frames:
    """Frames whose last row and column are repeated where the height or width is odd."""
    H, W = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, H % 2), (0, W % 2), (0, 0)), mode="edge") if H % 2 or W % 2 else frames


def _write_container(frames: Frames, fps: float, path: Path, kind: str, title: str, comment: str) -> None:
    import av
    from av.video.reformatter import Interpolation

    careful = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP
    how = CONTAINERS[kind]
    is_yuv = how.pixels == "yuv420p"
    frames = np.ascontiguousarray(even_sized(frames)) if is_yuv else frames
    with _explained(kind, frames), av.open(str(path), "w", container_options=dict(how.container_options)) as container:
        for key, value in (("title", title), ("comment", comment)):
            if value:
                container.metadata[key] = value
        stream: Any = container.add_stream(
            how.codec, rate=Fraction(fps).limit_denominator(1001), options=dict(how.options)
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = how.pixels
        context = stream.codec_context
        context.thread_count = 1
        if is_yuv:
            context.colorspace = context.color_primaries = context.color_trc = BT709
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if is_yuv:
                frame = frame.reformat(format=how.pixels, dst_colorspace="ITU709", interpolation=careful)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextmanager
def _explained(kind: str, frames: Frames) -> Iterator[None]:
    """An encoder's refusal as an InputError; a disk's stays an OSError."""
    import av

    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        H, W = frames.shape[1:3]
        raise InputError(f"{kind} cannot hold frames of {W}x{H} pixels ({error}); choose another format") from None


def _thinned(frames: Frames, fps: float, most: float) -> tuple[Frames, float]:
    """The same seconds with at most so many frames in each."""
    if fps <= most:
        return frames, fps
    count = max(1, round(len(frames) * most / fps))
    return frames[np.arange(count) * len(frames) // count], most


def _text(chunks: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """The text chunks of a PNG, by their keywords."""
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        if value:
            text.add_text(key, value)
    return text


def _write_png(frame: Frames, path: Path, chunks: Mapping[str, str]) -> None:
    """One frame (H, W, 3)."""
    from PIL import Image

    Image.fromarray(frame).save(path, format="PNG", pnginfo=_text(chunks))


def _write_apng(frames: Frames, fps: float, path: Path, title: str, comment: str) -> None:
    from PIL import Image, PngImagePlugin

    images = [Image.fromarray(frame) for frame in frames]
    over, source = PngImagePlugin.Blend.OP_OVER, PngImagePlugin.Blend.OP_SOURCE
    images[0].save(
        path,
        format="PNG",
        save_all=True,
        append_images=images[1:],
        duration=1000 / fps,
        loop=0,
        pnginfo=_text({"title": title, "comment": comment}),
        # Of opaque frames both are the same, and Pillow merges equal frames only where their blend is.
        blend=[source if i % 2 == 0 else over for i in range(len(images))],
    )


def _write_gif(frames: Frames, fps: float, path: Path, comment: str) -> None:
    images = _indexed(frames)
    # GIF counts in hundredths of a second: rounding the ends, not the lengths, keeps the total right.
    ends = np.round(np.arange(len(frames) + 1) * 100 / fps).astype(int)
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[int(d) * 10 for d in np.diff(ends)],
        loop=0,
        comment=comment.encode(),
        optimize=False,
    )


def _indexed(frames: Frames) -> list[Image.Image]:
    """The frames with one palette: exact up to 256 colours, dithered beyond."""
    from PIL import Image

    packed = frames.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        sample = frames[:: max(1, len(frames) // 32)]
        rows = Image.fromarray(sample.reshape(-1, *frames.shape[2:]))
        palette = rows.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=3)
        return [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for f in frames]
    # Pillow's own mapping to a palette takes colours that differ by less than 4 levels for one.
    table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8)
    images = [Image.fromarray(each) for each in index.reshape(packed.shape).astype(np.uint8)]
    for image in images:
        image.putpalette(table.tobytes())
    return images
