"""Files -> frames: moving containers through PyAV, pictures and animated pictures through Pillow.

A folder of pictures is a video too, its frames in the order in which people count (2.png before 10.png).

Decoding uses one thread: a frame-threaded decoder that is left early can hang (PyAV 1962, 1849, 2344), and
data-loading workers are already one per core. A file is decoded whole or refused: a truncated MP4 may have no
streams, no decoder, frames that end without an error, or raise midway, and all four must end in one MediaError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidiff.errors import MediaError
from multidiff.files import readable
from multidiff.frames import Frames
from multidiff.video.frames import resized

IMAGE_FORMATS = ("PNG", "GIF", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Suffixes of the frames in a folder."""
SCRIPTED_FORMATS = ("tty", "hls", "dash", "concat", "imf")
"""Demuxers that draw text or open other files; neither is a video file."""
MAX_BYTES = 1024**3
"""Most bytes of RGB frames kept in memory from one file."""
MAX_PIXELS = 64 * 1024**2
"""Most pixels of one frame (8K is 33 million)."""
STILL_FPS = 8.0
"""Frames per second of a picture, which has no time."""
MAX_RATE = 1000.0
"""Of frames a second that a text may claim."""
MAX_FPS = 60.0
"""Uneven frame times are not resolved more finely."""
CLOCK = 0.0015
"""Seconds: rates read off a clock of milliseconds are only known so well."""
MIN_DELAY = 0.011
"""Animated pictures with delays below this (seconds) are shown at 0.1 s by every browser."""

Shown = tuple[Frames, float, float]
"""A frame (H, W, 3), when it appears and for how long, in seconds (0: the file does not say)."""


def decode(path: str | Path, each: Callable[[Frames], Frames] | None = None) -> tuple[Frames, float]:
    """Frames (T, H, W, 3) and their rate, frames per second.

    `each` maps every frame (1, H, W, 3) as it is decoded: a long film fits into memory when made small.

    Uneven frame times are made even by repeating frames; the order and the timing are kept. Raises MediaError.
    """
    path = _readable(path)
    frames: list[Frames] = []
    times: list[float] = []
    last = 0.0
    kept = 0
    for frame, time, duration in _shown(path):
        frame = frame if each is None else each(frame[None])[0]
        if frames and frame.shape != frames[0].shape:
            frame = resized(frame[None], *frames[0].shape[:2])[0]
        kept += frame.nbytes
        if kept > MAX_BYTES:
            raise MediaError(
                f"{path}: more than {len(frames)} frames of {frame.shape[1]}x{frame.shape[0]} pixels do not fit into "
                f"the {MAX_BYTES / 1024**3:g} GiB kept in memory; cut it or make it smaller"
            )
        frames.append(frame)
        times.append(time)
        last = duration
    if not frames:
        raise MediaError(f"{path}: no frame can be decoded; the file is broken or truncated, get it again")
    most = max(len(frames), MAX_BYTES // frames[0].nbytes)
    order, fps = _even(np.array(times), last, most)
    if len(order) > most:
        raise MediaError(
            f"{path}: its {len(frames)} frames have such uneven times that over {most} would be needed for a constant "
            "rate; convert it to a constant rate first"
        )
    return np.stack([frames[i] for i in order]), fps


def read_tags(path: str | Path) -> dict[str, str]:
    """What `Video.save` wrote into a file as tags, or the file's own tags in lower case. Raises MediaError."""
    path = _readable(path)
    path = _pictures(path)[0] if path.is_dir() else path
    image = _opened_image(path)
    if image is not None:
        with image:
            comment = image.info.get("comment", b"")
        found = {"comment": comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)}
    else:
        import av

        try:
            with _opened(path) as container:
                found = {key.lower(): value for key, value in container.metadata.items()}
        except (av.error.FFmpegError, ValueError) as error:
            raise _unreadable(path, error) from None
    try:
        own = json.loads(found.get("comment", ""))
    except ValueError:
        own = None
    return {str(k): str(v) for k, v in own.items()} if isinstance(own, dict) else {k: v for k, v in found.items() if v}


def _readable(path: str | Path) -> Path:
    with suppress(OSError, RuntimeError, ValueError):  # `readable` says what is wrong
        if (found := Path(path).expanduser()).is_dir():
            return found
    return readable(path, "a video")


def _shown(path: Path) -> Iterator[Shown]:
    if path.is_dir():
        return _from_folder(path)
    image = _opened_image(path)
    return _from_container(path) if image is None else _from_image(path, image)


def _unreadable(path: Path, error: object) -> MediaError:
    reason = getattr(error, "strerror", None) or error
    return MediaError(f"{path}: cannot be decoded as video ({reason}); it is truncated, broken or another kind of file")


def _opened(path: Path) -> Any:
    """A PyAV container that may not reach for the network."""
    import av

    return av.open(str(path), metadata_errors="ignore", options={"protocol_whitelist": "file"})


def _from_container(path: Path) -> Iterator[Shown]:
    import av

    try:
        with _opened(path) as container:
            if container.format.name in SCRIPTED_FORMATS:
                raise MediaError(f"{path}: is a text or playlist file, not a video; give a video")
            stream = next((s for s in container.streams.video if not _is_cover(s)), None)
            if stream is None:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "no streams"
                raise MediaError(f"{path}: holds no video (only {kinds}); give a file with a video track")
            if stream.codec_context is None or not stream.width:
                raise _unreadable(path, "its video track cannot be opened")
            if stream.width * stream.height > MAX_PIXELS:
                raise MediaError(
                    f"{path}: frames of {stream.width}x{stream.height} pixels are too large; make it smaller"
                )
            stream.codec_context.thread_type = "SLICE"
            stream.codec_context.thread_count = 1
            interval = float(1 / stream.average_rate) if stream.average_rate else 0.0
            end, count = 0.0, 0
            for frame in container.decode(stream):
                start = count * interval if frame.time is None else frame.time
                unit = frame.time_base or stream.time_base
                duration = float(frame.duration * unit) if frame.duration and unit else interval
                duration = interval if abs(duration - interval) < CLOCK else duration
                end, count = max(end, start + duration), count + 1
                yield _upright(frame, stream), start, duration
            promised = _promised_end(container, stream)
            if count and end < 0.99 * promised - 0.75 * interval:
                raise MediaError(f"{path}: ends after {end:.2f} of {promised:.2f} s; it is truncated, get it again")
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise _unreadable(path, error) from None


@cache
def _careful() -> Any:
    """The default conversion rounds down (2 grey levels darker) and repeats colours instead of interpolating."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the cover picture of a sound file."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _upright(frame: Any, stream: Any) -> Frames:
    """RGB pixels (H, W, 3) as a player shows them: square pixels, turned as the display matrix says."""
    aspect = stream.sample_aspect_ratio
    # Real pixels are at most twice as long as wide; anything else is a broken header.
    width = round(frame.width * aspect) if aspect and 0.4 < aspect < 2.5 else frame.width
    rgb = frame.to_ndarray(format="rgb24", width=width, height=frame.height, interpolation=_careful())
    # The display matrix turns counterclockwise, as rot90 does.
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _promised_end(container: Any, stream: Any) -> float:
    """Seconds at which the headers say the video ends; 0 when they do not say."""
    if stream.duration and stream.time_base:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    tag = next((v for k, v in stream.metadata.items() if k.upper() == "DURATION"), "")
    try:
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        alone = len(container.streams) == 1 and container.duration
        return container.duration / 1e6 if alone else 0.0


def _opened_image(path: Path) -> Any:
    """A Pillow image, or None when the file is not a picture. Raises MediaError for one that is too large."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path, formats=IMAGE_FORMATS)
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None
    if image.width * image.height > MAX_PIXELS:
        raise MediaError(f"{path}: {image.width}x{image.height} pixels are too large; make it smaller")
    return image


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, numbers in their names in order. Raises MediaError where there is none."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.name[0] != "."]
    except OSError as error:
        raise MediaError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from None
    if not found:
        raise MediaError(f"{folder}: is a folder without pictures ({', '.join(PICTURES)}); give a video, or its frames")
    return sorted(found, key=lambda path: [(int(n or 0), text) for text, n in re.findall(r"(\D*)(\d*)", path.name)])


def _from_folder(folder: Path) -> Iterator[Shown]:
    """Each picture of a folder, at the rate that `Video.save` left in the first, else that of still pictures."""
    interval = 0.0
    for number, path in enumerate(_pictures(folder)):
        image = _opened_image(readable(path, "a picture"))
        if image is None:
            raise _unreadable(path, "no picture")
        interval = interval or 1 / _rate(image.info.get("fps", ""))
        frame, _, _ = next(_from_image(path, image))
        yield frame, number * interval, interval


def _rate(text: object) -> float:
    try:
        rate = float(str(text))
    except ValueError:
        return STILL_FPS
    return rate if 0 < rate <= MAX_RATE else STILL_FPS


def _from_image(path: Path, image: Any) -> Iterator[Shown]:
    from PIL import ImageOps, ImageSequence

    if image.format == "GIF" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
        raise MediaError(f"{path}: the GIF has no end mark; it is truncated, get it again")
    time, count = 0.0, 0
    try:
        with image:
            for frame in ImageSequence.Iterator(image):
                frame.load()  # WebP knows a frame's duration only then
                duration = frame.info.get("duration", 0) / 1000
                if getattr(image, "n_frames", 1) > 1 and duration < MIN_DELAY:
                    duration = 0.1
                yield _on_white(ImageOps.exif_transpose(frame)), time, duration
                time, count = time + duration, count + 1
            promised = getattr(image, "n_frames", 1)
            if count < promised:
                raise MediaError(f"{path}: ends after {count} of {promised} frames; it is truncated, get it again")
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None


def _on_white(image: Any) -> Frames:
    """RGB pixels (H, W, 3); what is transparent becomes white, as on a page."""
    from PIL import Image

    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image.convert("RGB"))


def _even(times: NDArray[np.float64], last: float, most: int) -> tuple[NDArray[np.int64], float]:
    """Which frame to show at each tick of an even clock, and its rate.

    Times within half an interval of even ones (millisecond clocks, jitter) are taken as even. Otherwise the tick
    is a short interval (their first decile) or the largest whole part of it that fits all times to a quarter
    tick, so that a long pause becomes repeated frames and none is lost. `last` is how long the last frame stays,
    seconds; 0 when unknown. Stops after `most` + 1 ticks.
    """
    count = len(times)
    if count == 1:
        return np.zeros(1, np.int64), 1 / last if last > 0 else STILL_FPS
    times = np.maximum.accumulate(times - times[0])
    mean = float(times[-1]) / (count - 1)
    if mean <= 0:
        return np.arange(count), STILL_FPS
    # Some writers give the last frame no length to speak of.
    last = last if last > 0.5 * mean else mean
    if np.abs(times - mean * np.arange(count)).max() <= 0.5 * mean and last <= 1.5 * mean:
        exact = abs(last - mean) < CLOCK
        return np.arange(count), 1 / last if exact else count / (float(times[-1]) + last)
    intervals = np.diff(times)
    short = float(np.quantile(intervals[intervals > 0], 0.1, method="lower"))
    marks = np.append(times, times[-1] + last)
    for parts in range(1, max(1, int(short * MAX_FPS)) + 1):
        tick = max(short, 1 / MAX_FPS) / parts
        if np.abs(marks / tick - np.round(marks / tick)).max() <= 0.25:
            break
    middles = (np.arange(min(round(marks[-1] / tick), most + 1)) + 0.5) * tick
    return np.searchsorted(times, middles, side="right") - 1, 1 / tick
