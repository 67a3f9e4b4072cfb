"""Clips varied in training of what watches them, so that it sees shape and motion and not the grain of the pictures.

What a model generates differs from film in grain and sharpness; a classifier that never saw either judges by them.
Colours change so little that they keep their names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

VARIED = 0.5
"""Share of the clips that are: with all of them it takes many times longer until anything is learned."""
SHIFT = 1 / 16
"""Of height and width, by at most which a clip is moved; what its edge shows is repeated behind it."""
SHORTEST = 0.75
"""Share of a clip that is shown at least."""
CONTRAST, TINT, LIGHT, NOISE = 0.25, 0.1, 0.1, 0.08
"""Largest changes of contrast and of each colour, as factors; of light, and the noise's largest standard deviation, in
units of white."""


def varied(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Of frames (B, T, H, W, 3), uint8, a part in time as long for each, (B, t, H, W, 3) in levels of 8 bits.

    A share VARIED of them is moved, blurred, changed in light and colour and covered with noise, all frames of a clip
    alike but for the noise.
    """
    count, length = frames.shape[:2]
    uniform = lambda *shape: torch.rand(shape, generator=generator)
    shown = max(1, round(length * float(SHORTEST + (1 - SHORTEST) * uniform(1))))
    first = int((length - shown + 1) * uniform(1))
    plain = frames[:, first : first + shown]
    pixels = _moved(plain, 2 * uniform(count, 2) - 1).float() / 255
    folded = rearrange(pixels, "b t h w c -> (b t) c h w")
    blurred = F.avg_pool2d(folded, 3, stride=1, padding=1, count_include_pad=False)
    blurred = rearrange(blurred, "(b t) c h w -> b t h w c", b=count)

    def each(most: float, least: float, channels: int = 1) -> Tensor:
        return (least + (most - least) * uniform(count, channels)).to(pixels)[:, None, None, None]

    pixels = torch.lerp(pixels, blurred, each(1, 0))
    pixels = pixels * each(1 + CONTRAST, 1 - CONTRAST) * each(1 + TINT, 1 - TINT, 3) + each(LIGHT, -LIGHT)
    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    pixels = 255 * (pixels + each(NOISE, 0) * noise).clamp(0, 1)
    is_varied = (uniform(count, 1, 1, 1, 1) < VARIED).to(plain.device)
    return torch.where(is_varied, pixels, plain.float())


def _moved(frames: Tensor, share: Tensor) -> Tensor:
    """Each clip (T, H, W, 3) moved down and right by so much of SHIFT (B, 2), in whole pixels."""
    height, width = frames.shape[2:4]
    places = []
    for size, part in ((height, share[:, :1]), (width, share[:, 1:])):
        places.append((torch.arange(size) - (SHIFT * size * part).round().long()).clamp(0, size - 1).to(frames.device))
    clip = torch.arange(len(frames), device=frames.device)
    moved = frames[clip[:, None, None], :, places[0][:, :, None], places[1][:, None, :]]
    return moved.permute(0, 3, 1, 2, 4)
