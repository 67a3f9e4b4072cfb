"""Pictures of point clouds: every point a small shaded ball, drawn through a z-buffer, with a soft shadow below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from multidiff import files
from multidiff.frames import Frames
from multidiff.points.media import PointCloud
from multidiff.points.sampling import local_planes

if TYPE_CHECKING:
    from PIL.Image import Image

VIEWS = ((35.0, 18.0), (125.0, 18.0), (215.0, 18.0), (35.0, 55.0))
"""Azimuth (0 looks at the front, +z) and elevation of the camera, in degrees."""
GIVEN_COLOR = (232, 140, 60)
MADE_COLOR = (74, 122, 188)
PALEST = 0.7
"""How far the colour of a point without any confidence is from its own towards white."""
SMOOTH = 2
TURN_SECONDS, TURN_FPS = 3.0, 16.0
"""Of a turntable."""
MAX_DRAWN = 20_000
LIGHT = np.array([-0.45, 0.75, 0.5])
"""Where the light comes from, in the camera's axes: from the upper left, behind the viewer."""


def render(cloud: PointCloud, azimuth: float, elevation: float, size: int = 320) -> Image:
    """One view of a cloud, fitted into `size` x `size` pixels on white."""
    return next(views(cloud, [(azimuth, elevation)], size))


def turntable(cloud: PointCloud, size: int = 320) -> Frames:
    """A full turn of a cloud about y, TURN_SECONDS long: frames (T, size, size, 3)."""
    count = round(TURN_SECONDS * TURN_FPS)
    around = [(VIEWS[0][0] + 360 * i / count, VIEWS[0][1]) for i in range(count)]
    return np.stack([np.asarray(image) for image in views(cloud, around, size)])


def views(cloud: PointCloud, directions: Iterable[tuple[float, float]], size: int) -> Iterator[Image]:
    """A cloud seen from (azimuth, elevation), ..., each fitted into `size` x `size` pixels on white.

    The camera is far away (parallel projection) and y is up. Points without colours are drawn in one blue, the paler
    the less sure they are.
    """
    from scipy.spatial import cKDTree

    if len(cloud) > MAX_DRAWN:
        cloud = cloud.resample(MAX_DRAWN, method="random")
    points = cloud.normalized()[0].points.astype(np.float32)
    colors = _blue(cloud) if cloud.colors is None else cloud.colors
    side = SMOOTH * size
    scale = 0.44 * side
    spacing = float(np.median(cKDTree(points).query(points, k=5)[0][:, -1]))
    radius = float(np.clip(0.6 * scale * spacing, 1.5, 0.03 * side))
    planes = local_planes(points)[0]
    for azimuth, elevation in directions:
        yield _view(points, colors, planes, radius, azimuth, elevation, side, scale)


def _view(
    points: NDArray[np.float32],
    colors: NDArray[np.uint8],
    planes: NDArray[np.floating],
    radius: float,
    azimuth: float,
    elevation: float,
    side: int,
    scale: float,
) -> Image:
    """Points (N, 3) of the unit sphere as balls of a radius in pixels, on `side` x `side` of these, made smaller."""
    from PIL import Image

    turned = points @ _rotation(azimuth, elevation).T
    canvas = _shadow(points, azimuth, elevation, side, scale)
    image, depth = turned[:, :2] * (scale, -scale) + side / 2, turned[:, 2] * scale
    reach = int(np.ceil(radius))
    dx, dy = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    within = dx**2 + dy**2 <= radius**2
    dx, dy = dx[within], dy[within]
    bump = np.sqrt(np.maximum(radius**2 - dx**2 - dy**2, 0))
    normal = np.stack([dx, -dy, bump], axis=1) / radius
    light = LIGHT / np.linalg.norm(LIGHT)
    ball = 0.8 + 0.25 * np.clip(normal @ light, 0, 1)
    facing = planes @ _rotation(azimuth, elevation).T
    facing *= np.where(facing[:, 2:] < 0, -1, 1)
    surface = 0.68 + 0.36 * np.clip(facing @ light, 0, 1)
    # Depth cue: what is behind fades a little towards white.
    fade = 0.28 * (1 - (turned[:, 2] + 1) / 2)
    tint = colors * surface[:, None] * (1 - fade[:, None]) + 255 * fade[:, None]
    column = np.rint(image[:, 0])[:, None].astype(np.int64) + dx
    row = np.rint(image[:, 1])[:, None].astype(np.int64) + dy
    ok = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    # Written from far to near, so the nearest ball stays; numbers of 16 bits are sorted in linear time.
    level = np.rint(2**15 * (depth[:, None] + bump)[ok] / side).astype(np.int16)
    order = np.flatnonzero(ok)[np.argsort(level, kind="stable")]
    nearest = np.full(side * side, -1)
    nearest[(row * side + column).ravel()[order]] = order
    seen = np.flatnonzero(nearest >= 0)
    which, stamp = np.divmod(nearest[seen], len(dx))
    canvas.reshape(-1, 3)[seen] = np.clip(tint[which] * ball[stamp, None], 0, 255)
    return Image.fromarray(canvas).resize((side // SMOOTH, side // SMOOTH), Image.Resampling.LANCZOS)


def _rotation(azimuth: float, elevation: float) -> NDArray[np.float32]:
    """Rows: the camera's right, up and towards-the-viewer axes."""
    a, e = np.radians(azimuth), np.radians(elevation)
    toward = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0, -np.sin(a)])
    return np.stack([right, np.cross(toward, right), toward]).astype(np.float32)


def _shadow(
    points: NDArray[np.float32], azimuth: float, elevation: float, side: int, scale: float
) -> NDArray[np.uint8]:
    """A white canvas (side, side, 3) with the blurred shadow of the points on the floor below them."""
    from PIL import Image, ImageFilter

    floor = points.copy()
    floor[:, 1] = points[:, 1].min()
    place = (floor @ _rotation(azimuth, elevation).T)[:, :2] * (scale, -scale) + side / 2
    cells = np.clip(place / 8, 0, side // 8 - 1).astype(np.int64)
    hits = np.zeros((side // 8, side // 8), np.float32)
    np.add.at(hits, (cells[:, 1], cells[:, 0]), 1.0)
    dark = np.uint8(90 * (1 - np.exp(-hits * 4000 / len(points) / 6)))
    soft = Image.fromarray(dark).resize((side, side), Image.Resampling.BILINEAR)
    soft = soft.filter(ImageFilter.GaussianBlur(side / 45))
    return np.repeat(255 - np.asarray(soft)[:, :, None], 3, axis=2)


def marked(cloud: PointCloud, given: NDArray[np.bool_]) -> PointCloud:
    """The cloud with its given points (N,) bool in orange and the completed ones in blue, paler where less sure."""
    return replace(cloud, colors=np.where(given[:, None], GIVEN_COLOR, _blue(cloud)))


def _blue(cloud: PointCloud) -> NDArray[np.uint8]:
    """A colour for each point (N, 3)."""
    colors = np.tile(np.array(MADE_COLOR, np.float64), (len(cloud), 1))
    if cloud.confidence is not None:
        colors += PALEST * (255 - colors) * (1 - np.clip(cloud.confidence, 0, 1))[:, None]
    return colors.astype(np.uint8)


def plot(cloud: PointCloud, path: str | Path, title: str = "") -> Path:
    """A PNG of the cloud seen from four sides, with a title."""
    return _save([render(cloud, *view) for view in VIEWS], [title], len(VIEWS), Path(path))


def sheet(
    clouds: Sequence[PointCloud], path: str | Path, titles: Sequence[str] = (), columns: int = 4, size: int = 240
) -> Path:
    """A PNG of many clouds, one view each, in rows of `columns`; `titles` stand below them."""
    return _save([render(cloud, *VIEWS[0], size=size) for cloud in clouds], list(titles), columns, Path(path))


def _save(tiles: list[Image], titles: list[str], columns: int, path: Path) -> Path:
    """Lay tiles out in a grid; one title goes above everything, several go one below each tile."""
    from PIL import Image, ImageDraw, ImageFont

    size = tiles[0].width
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height = max(11, size // 20)
    font, line = ImageFont.load_default(height), int(1.6 * height)
    heading = line if len(titles) == 1 and titles[0] else 0
    footer = 2 * line if len(titles) > 1 else 0
    page = Image.new("RGB", (columns * size, rows * (size + footer) + heading), "white")
    draw = ImageDraw.Draw(page)
    if heading:
        draw.text((8, 4), titles[0], fill=(40, 40, 40), font=font)
    for i, tile in enumerate(tiles):
        x, y = i % columns * size, i // columns * (size + footer) + heading
        page.paste(tile, (x, y))
        if footer and i < len(titles):
            draw.multiline_text((x + 8, y + size), _wrapped(titles[i], size // 7), fill=(40, 40, 40), font=font)
    with files.written_whole(path) as temporary:
        page.save(temporary, format="PNG")
    return path


def _wrapped(text: str, width: int) -> str:
    from textwrap import wrap

    return "\n".join(wrap(text, width)[:2])
