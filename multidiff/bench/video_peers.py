"""The U-Nets for video that one would take instead: video-diffusion-pytorch's Unet3D and diffusers'
UNet3DConditionModel, weights random.

The libraries are imported where they are needed, so that what is not installed can be left out. Only the networks of
video-diffusion-pytorch are used; its module also names torchvision, for reading GIFs, whose wheel on the package index
links CUDA and fails beside a CPU-only torch: an empty stand-in takes its place during the import.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

from multidiff.bench.steps import TEXT_DIM, Network
from multidiff.errors import MultidiffError
from multidiff.torchaudio_door import import_torchaudio

VDP, DIFFUSERS = "video-diffusion-pytorch", "diffusers"
NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    VDP: (
        ("video_diffusion_pytorch", "rotary_embedding_torch", "einops_exts"),
        "pip install --no-deps video-diffusion-pytorch==0.7.0 rotary-embedding-torch==0.8.9 einops-exts==0.0.4",
    ),
    DIFFUSERS: (("diffusers",), "pip install diffusers"),
}
"""Of each peer the modules, and what installs them. With --no-deps, since torchvision would bring another torch."""
HEADS = 8


def missing(peer: str) -> str:
    """What is said of a peer that is not installed; empty where it is."""
    modules, how = NEEDS.get(peer, ((), ""))
    return "" if all(find_spec(module) for module in modules) else f"{peer} is not installed; run `{how}`"


def video_diffusion_pytorch() -> Any:
    """The package. Raises MultidiffError where it is not installed."""
    if absent := missing(VDP):
        raise MultidiffError(absent)
    transforms, torchvision = ModuleType("torchvision.transforms"), ModuleType("torchvision")
    vars(transforms)["ToTensor"] = lambda: None  # a default argument calls it
    vars(torchvision).update(transforms=transforms, utils=ModuleType("torchvision.utils"))
    before = sys.modules.get("torchvision")
    sys.modules["torchvision"] = before or torchvision
    try:
        return importlib.import_module("video_diffusion_pytorch")
    finally:
        if before is None:
            del sys.modules["torchvision"]


def unet3d(dim: int, channels: int) -> Network:
    """Its default of four levels, of `dim` times 1, 2, 4, 8 channels; it is told the mean token of the prompt."""
    module = video_diffusion_pytorch().Unet3D(dim, cond_dim=TEXT_DIM, channels=channels)
    return Network(module, lambda x, tokens: module(x, torch.full((len(x),), 500), cond=tokens.mean(1)))


def unet3d_condition(widths: Sequence[int], channels: int) -> Network:
    """One layer to a block, attention on all levels but the coarsest, as is its default; it attends to the tokens.

    Raises MultidiffError where diffusers is not installed.
    """
    if absent := missing(DIFFUSERS):
        raise MultidiffError(absent)
    import_torchaudio()  # diffusers probes for it, and fails where it is installed but cannot load
    from diffusers import UNet3DConditionModel

    attending = len(widths) - 1
    module: Any = UNet3DConditionModel(
        in_channels=channels,
        out_channels=channels,
        down_block_types=(*["CrossAttnDownBlock3D"] * attending, "DownBlock3D"),
        up_block_types=("UpBlock3D", *["CrossAttnUpBlock3D"] * attending),
        block_out_channels=tuple(widths),
        layers_per_block=1,
        cross_attention_dim=TEXT_DIM,
        attention_head_dim=HEADS,
    )
    return Network(module, lambda x, tokens: module(x, 500, encoder_hidden_states=tokens).sample)
