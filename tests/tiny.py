"""The shipped recipes, made tiny: the real code paths of every medium in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multidiff import recipe, weights
from multidiff.audio.media import Audio
from multidiff.model import Model
from multidiff.points.media import PointCloud
from multidiff.recipe import Recipe
from multidiff.video.media import Video

RECIPES = {"audio": "sfx", "video": "clips", "points": "shapes"}
CODEC = ("codec.width=8", "codec.channels=8", "codec.vocoder_width=8", "codec.vocoder_depth=1")
OVERRIDES = {
    "audio": (
        *CODEC,
        "network.dim=16",
        "network.depth=1",
        "network.heads=2",
        "options.seconds=0.25",
        "data.seconds=1.0",
    ),
    "video": (
        *("codec.size=8", "network.widths=[8]", "network.attention=[0]", "network.head_dim=8"),
        *("options.frames=4", "data.size=8", "data.frames=4", "data.count=40"),
    ),
    "points": (
        *("network.dim=16", "network.latent_dim=16", "network.latents=4", "network.blocks=1", "network.heads=2"),
        *(
            "network.condition_dim=16",
            "network.neighbours=3",
            "options.points=24",
            "data.points=256",
            "data.drawn=64",
            "data.known=32",
        ),
        "data.count=40",
    ),
}
TASKS: dict[str, dict[str, dict[str, Any]]] = {
    "audio": {"fill": {"from": 0.1, "to": 0.2}, "extend": {"extend": 0.1}},
    "video": {
        "predict": {"keep": 2},
        "interpolate": {"keep": 1},
        "fill": {"box": "2,1,6,5", "from": 0.1},
        "slow-motion": {"times": 2},
    },
    "points": {
        "complete": {"known": 16},
        "upsample": {"known": 16, "points": 64},
        "region": {"box": "0,-1e9,-1e9,1e9,1e9,1e9", "known": 16, "points": 300},
        "denoise": {"noise": 0.3},
    },
}
"""Every completion task of every medium, with options that fit `given`."""


def tiny_recipe(medium: str, codec: Path, *overrides: str) -> Recipe:
    """The shipped recipe of a medium; `codec`: a folder that `save_codec` wrote, for audio."""
    own = (f"codec.weights={codec}",) if medium == "audio" else ()
    return recipe.load(RECIPES[medium], [*OVERRIDES[medium], *own, *overrides])


def save_codec(folder: Path) -> Path:
    """An untrained audio codec in a model folder; its latents are of unit variance nevertheless."""
    model = weights.build(recipe.load("codec", CODEC))
    model.codec.autoencoder.track(model.codec.encode([given("audio")]), rate=1.0)
    return model.save(folder)


def tiny_model(medium: str, codec: Path, *overrides: str) -> Model:
    """A model as after some training: no layer is zero, so that everything it is told matters."""
    model = weights.build(tiny_recipe(medium, codec, *overrides))
    assert model.network
    generator = torch.Generator().manual_seed(0)
    for parameter in model.network.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    model.network.eval()
    return model


class Words:
    """A text encoder that takes no time: one token whose values are drawn from the prompt's letters."""

    dim = 384

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = [torch.randn(1, self.dim, generator=torch.Generator().manual_seed(sum(p.encode()))) for p in prompts]
        return torch.stack(tokens), torch.ones(len(prompts), 1, dtype=torch.bool)


def given(medium: str, seed: int = 0) -> Any:
    """Media to complete and to edit."""
    rng = np.random.default_rng(seed)
    if medium == "audio":
        return Audio(0.1 * rng.standard_normal((1, 6000)), 22050)
    if medium == "video":
        return Video(rng.integers(0, 256, (4, 8, 8, 3), np.uint8), 8.0)
    return PointCloud(rng.standard_normal((40, 3)))


def values(media: Any) -> np.ndarray:
    """What a sample consists of, as one array."""
    if isinstance(media, Audio):
        return media.samples
    return media.frames if isinstance(media, Video) else media.points
