"""Procedural captioned clips: coloured shapes and stick figures that move, every clip one seamless cycle.

Everything is drawn from signed distances d (pixels' distance to the outline, negative inside), so edges are
antialiased at any size: coverage = clip(1/2 - d, 0, 1). Coordinates are x right, y down, the picture is the
unit square and wraps round at its edges. The distance to a polygon and to a segment are Inigo Quilez's
(https://iquilezles.org/articles/distfunctions2d/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from multidiff.video.media import Video

Array = NDArray[np.float64]
T = TypeVar("T")

COLOURS = {
    "red": (225, 45, 45),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 50),
    "green": (50, 180, 75),
    "blue": (50, 110, 235),
    "purple": (150, 70, 210),
    "pink": (245, 130, 190),
}
BACKGROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (90, 90, 95), "dark blue": (20, 25, 60)}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SHAPES = ("ball", "square", "triangle", "star", "cross")
TURNS = ("rotating clockwise", "rotating counterclockwise")
SHAPE_MOTIONS = (*(f"moving {d}" for d in DIRECTIONS), "bouncing", "growing and shrinking", *TURNS)
FIGURE_MOTIONS = ("walking left", "walking right", "jumping", "waving")
FIGURE = "stick figure"


@dataclass(frozen=True)
class Scene:
    """What happens in one clip; `x`, `y` (centre), `radius` in picture widths, `phase` in cycles."""

    shape: str
    colour: str
    background: str
    motion: str
    cycles: int
    x: float
    y: float
    radius: float
    phase: float

    @property
    def text(self) -> str:
        speed = " quickly" if self.cycles > 1 else ""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape} {self.motion}{speed}, {self.background} background"

    @property
    def fields(self) -> dict[str, str]:
        """The columns a `metadata.csv` of these clips would have."""
        names = ("shape", "colour", "background", "motion")
        return {name: getattr(self, name) for name in names} | {"speed": "fast" if self.cycles > 1 else "slow"}

    def render(self, frames: int = 16, size: int = 64, fps: float = 8.0) -> Video:
        """The clip (frames, size, size, 3); frame `frames` would be frame 0 again."""
        time = (self.phase + self.cycles * np.arange(frames) / frames)[:, None, None]
        grid = (np.arange(size) + 0.5) / size
        distance = _figure if self.shape == FIGURE else _shape
        cover = np.clip(0.5 - size * distance(self, time, grid[None, None, :], grid[None, :, None]), 0, 1)[..., None]
        front, back = np.array(COLOURS[self.colour]), np.array(BACKGROUNDS[self.background])
        return Video(np.round(cover * front + (1 - cover) * back).astype(np.uint8), fps)


def scene(index: int) -> Scene:
    """The scene of an index; the same index is the same scene on every machine."""
    random = np.random.Generator(np.random.Philox(key=index))

    def pick(choices: Sequence[T]) -> T:
        return choices[int(random.integers(len(choices)))]

    shape = pick((*SHAPES, FIGURE, FIGURE))
    if shape == FIGURE:
        motion = pick(FIGURE_MOTIONS)
    else:
        # A ball that turns looks still.
        motion = pick(SHAPE_MOTIONS[: -len(TURNS)] if shape == "ball" else SHAPE_MOTIONS)
    # Turning twice in a short clip is seen as turning backwards (a square looks the same after 90 degrees).
    cycles = 1 if motion in TURNS or shape == FIGURE else pick((1, 2))
    x, y = random.uniform(0.3, 0.7, 2)
    return Scene(
        shape,
        pick(tuple(COLOURS)),
        pick(tuple(BACKGROUNDS)),
        motion,
        cycles,
        float(x),
        float(y),
        float(random.uniform(0.13, 0.2)),
        float(random.uniform()),
    )


def _shape(scene: Scene, time: Array, x: Array, y: Array) -> Array:
    """Distance (T, H, W) to a moving shape, in picture widths."""
    cx, cy, radius, angle = scene.x + 0 * time, scene.y + 0 * time, scene.radius + 0 * time, 0 * time
    match scene.motion.split():
        case ["moving", direction]:
            dx, dy = DIRECTIONS[direction]
            cx, cy = cx + dx * time, cy + dy * time
        case ["bouncing"]:
            u = time % 1
            cy = 0.95 - radius - (0.85 - 2 * radius) * 4 * u * (1 - u)
        case ["growing", *_]:
            radius = radius * (1.15 + 0.55 * np.sin(2 * np.pi * time))
        case ["rotating", direction]:
            angle = (1 if direction == "clockwise" else -1) * 2 * np.pi * time
    # Wrapping is safe for what reaches the edge only by moving along it.
    u, v = (x - cx + 0.5) % 1 - 0.5, (y - cy + 0.5) % 1 - 0.5
    if scene.shape == "ball":
        return np.hypot(u, v) - radius
    u, v = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    return radius * _polygon(u / radius, v / radius, OUTLINES[scene.shape])


def _regular(corners: int, inner: float | None = None) -> Array:
    """Corners (V, 2) of a regular polygon standing on a side or, with `inner` radius, of a star."""
    count = corners if inner is None else 2 * corners
    angle = 2 * np.pi * np.arange(count) / count - np.pi / 2
    reach = np.ones(count) if inner is None else np.where(np.arange(count) % 2, inner, 1.0)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], -1)


_ARM = 0.36
OUTLINES = {
    "square": 0.9 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]),
    "triangle": 1.2 * _regular(3),
    "star": 1.3 * _regular(5, 0.42),
    "cross": 1.1
    * np.array(
        [
            *([-_ARM, -1], [_ARM, -1], [_ARM, -_ARM], [1, -_ARM], [1, _ARM], [_ARM, _ARM]),
            *([_ARM, 1], [-_ARM, 1], [-_ARM, _ARM], [-1, _ARM], [-1, -_ARM], [-_ARM, -_ARM]),
        ]
    ),
}
"""Corners (V, 2) at radius about 1."""


def _polygon(x: Array, y: Array, corners: Array) -> Array:
    """Signed distance to a polygon."""
    nearest: Any = np.inf
    inside: Any = False
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(wx - along * ex, wy - along * ey))
        crosses = ((y >= ay) != (y >= by)) & ((ex * wy > ey * wx) == (by > ay))
        inside = inside ^ crosses
    return np.where(inside, -nearest, nearest)


def _segment(x: Array, y: Array, a: tuple[Any, Any], b: tuple[Any, Any]) -> Array:
    """Distance to the segment from a to b; both may depend on time."""
    ex, ey, wx, wy = b[0] - a[0], b[1] - a[1], x - a[0], y - a[1]
    along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
    return np.hypot(wx - along * ex, wy - along * ey)


def _limb(start: tuple[Any, Any], length: float, angle: Any) -> tuple[Any, Any]:
    """The far end of a limb; angle 0 hangs down, positive swings to the right."""
    return start[0] + length * np.sin(angle), start[1] + length * np.cos(angle)


def _figure(scene: Scene, time: Array, x: Array, y: Array) -> Array:
    """Distance (T, H, W) to a stick figure, in picture widths; its feet stand near y = 0.85."""
    swing = 2 * np.pi * time
    still = 0 * time
    facing, cx, lift = 1.0, scene.x + still, still
    thighs, knees = (still - 0.15, still + 0.15), (still, still)
    arms, elbows = (still - 0.35, still + 0.35), (still, still)
    match scene.motion.split():
        case ["walking", direction]:
            facing = 1.0 if direction == "right" else -1.0
            cx = cx + facing * time
            # Two strides while the picture is crossed; a knee bends while its leg swings forward.
            stride = (2 * swing, 2 * swing + np.pi)
            thighs = (0.55 * np.sin(stride[0]), 0.55 * np.sin(stride[1]))
            knees = (-0.9 * np.maximum(0, np.cos(stride[0])), -0.9 * np.maximum(0, np.cos(stride[1])))
            arms = (-0.6 * np.sin(stride[0]), -0.6 * np.sin(stride[1]))
            elbows = (still + 0.4, still + 0.4)
            lift = 0.012 * np.cos(4 * swing)
        case ["jumping"]:
            u = 2 * time % 1
            lift = 0.6 * u * (1 - u)
            arms = (-0.35 - 9 * u * (1 - u), 0.35 + 9 * u * (1 - u))
        case ["waving"]:
            arms, elbows = (still - 0.25, still + 1.9), (still, 0.8 + 0.7 * np.sin(2 * swing))
    u, v = facing * ((x - cx + 0.5) % 1 - 0.5), y + lift
    neck, hip = (0.0, 0.4), (0.0, 0.6)
    distance = np.minimum(_segment(u, v, neck, hip), np.hypot(u, v - 0.29) - 0.065)
    for thigh, knee in zip(thighs, knees, strict=True):
        joint = _limb(hip, 0.13, thigh)
        foot = _limb(joint, 0.13, thigh + knee)
        distance = np.minimum(distance, np.minimum(_segment(u, v, hip, joint), _segment(u, v, joint, foot)))
    for arm, elbow in zip(arms, elbows, strict=True):
        joint = _limb(neck, 0.1, arm)
        hand = _limb(joint, 0.11, arm + elbow)
        distance = np.minimum(distance, np.minimum(_segment(u, v, neck, joint), _segment(u, v, joint, hand)))
    return distance - 0.022
