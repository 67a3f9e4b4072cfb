"""Pictures of clips for people."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from multidiff.files import written_whole
from multidiff.video.frames import resized
from multidiff.video.media import Video

CELL = 128
"""A frame is enlarged a whole number of times to about so many pixels."""
GAP, MARGIN = 6, 18
TITLE, NUMBER = 20, 12
"""Letter sizes in pixels."""
INK, PALE, PAGE, GIVEN = "#1c1e21", "#8a9099", "#ffffff", "#e88c3c"


def contact_sheet(video: Video, path: str | Path, title: str = "", most: int = 16, given: Video | None = None) -> Path:
    """A PNG of at most `most` frames, evenly chosen, in rows from left to right with their numbers below.

    The frames of `given` among them have an orange outline.

    Small frames are enlarged by whole pixels and stay crisp. Raises MultidiffError when it cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    count = min(most, len(video))
    chosen = np.arange(count) * len(video) // count
    frames = video.frames[chosen]
    known = {frame.tobytes() for frame in given.frames} if given else set()
    is_given = [frame.tobytes() in known for frame in frames]
    longer = max(video.height, video.width)
    grow = max(1, round(CELL / longer))
    scale = grow if longer * grow <= 1.5 * CELL else CELL / longer
    frames = resized(frames, max(1, round(video.height * scale)), max(1, round(video.width * scale)))
    height, width = frames.shape[1:3]
    columns = count if count <= 6 else 8 if count % 8 == 0 else min(count, 8)
    rows = -(-count // columns)
    page_width = max(2 * MARGIN + columns * (width + GAP) - GAP, 360)

    letters, small = ImageFont.load_default(TITLE), ImageFont.load_default(NUMBER)
    lines = textwrap.wrap(title, max(12, int((page_width - 2 * MARGIN) / (0.52 * TITLE)))) if title else []
    facts = f"{len(video)} frames, {video.width} x {video.height}, {video.fps:g} fps, {video.seconds:.2f} s"
    top = MARGIN + len(lines) * (TITLE + 6) + NUMBER + 14
    step = height + NUMBER + 6 + GAP
    page = Image.new("RGB", (page_width, top + rows * step + MARGIN - GAP), PAGE)
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + i * (TITLE + 6) - 4), line, INK, letters)
    draw.text((MARGIN, top - NUMBER - 12), facts, PALE, small)
    for i, frame in enumerate(frames):
        x, y = MARGIN + i % columns * (width + GAP), top + i // columns * step
        page.paste(Image.fromarray(frame), (x, y))
        # Without a hairline a white clip has no edge on a white page.
        outline, thickness = (GIVEN, 3) if is_given[i] else ("#d5d9de", 1)
        draw.rectangle((x - thickness, y - thickness, x + width, y + height), outline=outline, width=thickness)
        draw.text((x, y + height + 3), str(chosen[i] + 1), PALE, small)
    path = Path(path).expanduser()
    with written_whole(path) as temporary:
        page.save(temporary, format="PNG")
    return path
