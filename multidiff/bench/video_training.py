"""Equal-time training: our video U-Net and video-diffusion-pytorch's for the same CPU seconds on the same clips.

No prompt, like parameters, and one loop for all (`bench.equal_time`). Ours is that of the shipped `clips`; theirs is
Unet3D with the loss of its own GaussianDiffusion (noise, L1, 1000 levels of the cosine schedule), once on pixels as it
is published and once on our patches of 4 x 4 pixels.

All sample with ancestral steps, as many for each. GaussianDiffusion's own sampler always takes 1000, which would be
hours here: its network is stepped on its own levels by `core` instead, which with 1000 steps is the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from multidiff import core, recipe, weights
from multidiff.bench import equal_time, video_peers
from multidiff.bench.equal_time import Row, Way
from multidiff.bench.video_peers import VDP
from multidiff.core.schedules.tabulated import Tabulated
from multidiff.errors import InputError
from multidiff.model import Model
from multidiff.train import pack
from multidiff.train.objective import DenoiserObjective
from multidiff.video.codec import LIMIT, PixelCodec, VideoCodecSpec
from multidiff.video.media import Video
from multidiff.video.modality import VIDEO, VideoOptions

OURS = "multidiff"
CHANGES = (
    "text.encoder=none",
    "data.known=0",
    "network.detail=16",
    "diffusion.parameterization=edm",
    "diffusion.times={name: lognormal, options: {mean: -0.6, std: 1.7}}",
    "train.warmup=20",
    "train.ema=0.99",
    "sample.grid={name: log-snr, options: {start: -5, end: 1.5}}",
)
"""From recipes/video/clips.yaml to what was shipped, without prompts and tasks, for some hundred steps."""
DIM = 16
"""Of Unet3D, with its default of four levels: the parameters of ours."""


class PeerObjective:
    """GaussianDiffusion's own loss of our rows; `codec` makes of frames what its network sees."""

    def __init__(self, codec: PixelCodec, dim: int, frames: int) -> None:
        """Raises MultidiffError where the peer is not installed."""
        peer = video_peers.video_diffusion_pytorch()
        self.codec, self.shape = codec, codec.event_shape(frames)
        channels, _, side, _ = self.shape
        self.unet: nn.Module = peer.Unet3D(dim, channels=channels)
        self.diffusion: Any = peer.GaussianDiffusion(self.unet, image_size=side, num_frames=frames, channels=channels)
        self.groups: Mapping[str, nn.Module] = {"network": self.unet}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """It takes values in [0, 1], and its noise from the global stream, which the loop seeds for each step."""
        yield "network", self.diffusion(self.codec.to_model(rows["frames"]) / (2 * LIMIT) + 0.5)

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        return {}

    def denoiser(self) -> core.NetworkDenoiser:
        """Of values in [-1, 1]."""
        network: Callable[[Tensor, Tensor], Tensor] = self.unet
        return equal_time.chained(network, Tabulated(self.diffusion.betas.double()), lambda x0: x0.clamp(-1, 1))

    def sample(self, count: int, steps: int, fps: float) -> list[Video]:
        denoiser = self.denoiser()
        made: list[Video] = []
        for seed in range(count):
            x0 = equal_time.ancestral(denoiser, steps, core.SeededNoise([seed], self.shape))
            made += self.codec.decode(LIMIT * x0, VideoOptions(frames=self.shape[1], fps=fps))
        return made


def ways(model: Model, data: pack.Pack, dim: int = DIM) -> Iterator[Callable[[], Way]]:
    """Ours, theirs on pixels and theirs on patches, each made when its turn comes."""
    spec: Any = model.recipe.codec
    options: Any = model.recipe.options
    pixels, patches = (PixelCodec(VideoCodecSpec(size=spec.size, unshuffle=side)) for side in (1, spec.unshuffle))

    def own() -> Way:
        return Way(OURS, DenoiserObjective(model, data), lambda count, steps: _own(model, count, steps))

    def peer(name: str, codec: PixelCodec) -> Way:
        objective = PeerObjective(codec, dim, options.frames)
        return Way(name, objective, partial(objective.sample, fps=options.fps), one_by_one=codec is pixels)

    return iter((own, partial(peer, f"{VDP}, pixels", pixels), partial(peer, f"{VDP}, patches", patches)))


def _own(model: Model, count: int, steps: int) -> list[Video]:
    return [clip for seed in range(count) for clip in model.sample("", seed=seed, steps=steps, guidance=1.0)]


def rows(
    roots: Sequence[str],
    seconds: float,
    count: int,
    steps: int,
    changes: Sequence[str] = CHANGES,
    dim: int = DIM,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Row]:
    """A row for each way, trained for so many CPU seconds; `count` clips of each against held-out ones.

    Raises InputError for too few clips, MultidiffError where the peer is not installed.
    """
    video_peers.video_diffusion_pytorch()
    chosen = recipe.load("clips", [*changes, f"data.root={json.dumps(list(roots))}"])
    clips: Any = chosen.data
    real = [example.media for example in islice(VIDEO.examples(clips, "val"), 2 * count)]
    if len(real) < 4:
        raise InputError(f"{', '.join(roots)}: {len(real)} clips in split 'val', at least 4 are needed; set data.val")
    torch.manual_seed(chosen.train.seed)
    model = weights.build(chosen, "cpu")
    data = pack.load(chosen, model.codec)
    yield from equal_time.judged(
        ways(model, data, dim), data.train, chosen.train, seconds, count, steps, partial(VIDEO.metrics, real), say
    )


def markdown(found: Iterator[Row], steps: int) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    yield "| by | parameters, M | CPU minutes | training steps | frame distance | floor | motion distance | floor |"
    yield "| --- |" + " ---: |" * 7
    clips = 0.0
    for row in found:
        clips = row.metrics["clips"]
        figures = [
            f"{row.metrics[f'{kind}_distance{end}']:.1f}" for kind in ("frame", "motion") for end in ("", "_floor")
        ]
        cells = [row.name, f"{row.parameters / 1e6:.1f}", f"{row.seconds / 60:.1f}", str(row.steps), *figures]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}; {clips:.0f} clips of each in "
        f"{steps} ancestral steps against as many held-out ones; floor: real against real."
    )
