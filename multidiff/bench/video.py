"""Forward and training step of the video U-Net beside what one would use instead, at like parameters.

Each group is measured in one run, its networks in turns together with a matrix product: the least of the runs counts
(`bench.steps`). The peak is what torch.mm reaches on square matrices. A convolution may exceed it: oneDNN's use wider
instructions than the MKL's product does on some CPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from multidiff.bench import profile, video_peers
from multidiff.bench.steps import Network, Runs, timed
from multidiff.bench.video_peers import DIFFUSERS, VDP, unet3d, unet3d_condition
from multidiff.video.network import VideoNetwork, VideoNetworkSpec

OURS = "multidiff"
FRAMES, TOKENS = 16, 40
SIDE = 1536
"""Of the matrices whose product is the peak."""
BUDGET = 5.0
"""Seconds of runs in turns for each group, two turns at least."""

Shape = tuple[int, int, int, int]
"""(C, T, H, W)"""


@dataclass(frozen=True)
class Case:
    """A network on a tensor; `build(channels)` lies at the top of a module, or is a partial of what does."""

    group: str
    name: str
    build: Callable[[int], Network]
    shape: Shape
    batch: int = 2


@dataclass(frozen=True)
class Row:
    """Of one case: parameters, FLOP of a clip and seconds of a batch (forward, training step), FLOP per second of a
    matrix product in the same run, MiB of a training step with the weights."""

    case: Case
    parameters: int
    flop: tuple[float, float]
    seconds: tuple[float, float]
    peak: float
    memory: float

    @property
    def clips(self) -> float:
        """Per second of training."""
        return self.case.batch / self.seconds[1]

    def rate(self, which: int) -> float:
        """FLOP per second: 0 forward, 1 of a training step."""
        return self.case.batch * self.flop[which] / self.seconds[which]


def ours(spec: VideoNetworkSpec, patch: int, channels: int) -> Network:
    network = VideoNetwork(spec, channels, patch)

    def call(x: Tensor, tokens: Tensor) -> Tensor:
        found = network(x, torch.zeros(len(x)), {"tokens": tokens, "tokens_mask": tokens[..., 0] == tokens[..., 0]})
        return found if isinstance(found, Tensor) else found[0]

    return Network(network, call)


def _ours(widths: tuple[int, ...]) -> Callable[[int], Network]:
    """Four levels as the peer has, attention on the coarser two."""
    return partial(ours, VideoNetworkSpec(widths=widths, attention=(2, 3), positions=True), 1)


SHIPPED = partial(
    ours, VideoNetworkSpec(widths=(64, 64, 80), attention=(1, 2), head_dim=16, positions=True, detail=16), 4
)
SIZES: dict[str, dict[str, Callable[[int], Network]]] = {
    "10 M": {
        OURS: _ours((64, 64, 128, 192)),
        VDP: partial(unet3d, 32),
        DIFFUSERS: partial(unet3d_condition, (64, 128, 128)),
    },
    "30 M": {
        OURS: _ours((64, 96, 160, 352)),
        VDP: partial(unet3d, 56),
        DIFFUSERS: partial(unet3d_condition, (128, 192, 256)),
    },
}
UNSHUFFLED, LATENTS = (48, FRAMES, 16, 16), (4, FRAMES, 8, 8)
PIXELS, FEW_PIXELS = (3, FRAMES, 64, 64), (3, FRAMES, 32, 32)
OWN_WAY = {OURS: UNSHUFFLED, VDP: PIXELS, DIFFUSERS: LATENTS}
"""What each makes of a clip of 16 frames of 64 x 64 pixels: patches of 4 x 4 as channels, pixels, and the latents of a
VAE, whose own cost is not counted."""


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _group(size: str, title: str, shapes: dict[str, Shape], batch: int) -> list[Case]:
    return [Case(f"{size}, {title}", name, SIZES[size][name], shapes[name], batch) for name in shapes]


def _equal(size: str, shape: Shape, batch: int = 2) -> list[Case]:
    return _group(size, f"equal tensors {_shown(shape)}", dict.fromkeys(SIZES[size], shape), batch)


CASES = [
    Case("shipped clips", OURS, SHIPPED, UNSHUFFLED, batch=8),
    *_group("10 M", "each in its own way", OWN_WAY, batch=1),
    *_equal("10 M", UNSHUFFLED),
    *_equal("10 M", FEW_PIXELS, batch=1),
    *_equal("30 M", UNSHUFFLED),
    *_equal("30 M", LATENTS),
]


def ready(case: Case) -> Runs:
    """To run on noise, with a prompt of noise."""
    return Runs(partial(case.build, case.shape[0]), case.shape, case.batch, TOKENS)


def _timed(cases: Sequence[Case], budget: float) -> list[Row]:
    a, b = torch.randn(2, SIDE, SIDE)
    networks = [ready(case) for case in cases]
    flop = [runs.flop() for runs in networks]
    memory = [runs.memory() for runs in networks]
    turns: list[Callable[[], object]] = [partial(torch.mm, a, b)] * 2
    for runs in networks:
        turns += [runs.forward, runs.step]
    product, again, *least = timed(turns, budget)
    pairs = list(zip(least[::2], least[1::2], strict=True))
    peak = 2 * SIDE**3 / min(product, again)
    return [
        Row(case, runs.parameters, flop[i], pairs[i], peak, memory[i])
        for i, (case, runs) in enumerate(zip(cases, networks, strict=True))
    ]


def rows(cases: Sequence[Case] = CASES, budget: float = BUDGET) -> Iterator[Row]:
    """A row for each case whose package is installed."""
    present = [case for case in cases if not video_peers.missing(case.name)]
    for _, group in groupby(present, lambda case: case.group):
        yield from _timed(list(group), budget)


def markdown(found: Iterator[Row]) -> Iterator[str]:
    """The lines of the table, each as soon as its figures are known."""
    heads = [
        "like parameters",
        "by",
        "C x T x H x W",
        "M",
        "GFLOP forward",
        "GFLOP/s forward",
        "of peak",
        "in training",
    ]
    heads += ["of peak", "clips/s in training", "ours is faster", "MiB"]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- | --- |" + " ---: |" * (len(heads) - 2)
    ours: dict[str, float] = {}
    peaks = []
    for row in found:
        if row.case.name == OURS:
            ours[row.case.group] = row.clips
        peaks.append(row.peak / 1e9)
        cells = [row.case.group, row.case.name, _shown(row.case.shape), f"{row.parameters / 1e6:.1f}"]
        cells += [f"{row.flop[0] / 1e9:.2f}"]
        for which in (0, 1):
            cells += [f"{row.rate(which) / 1e9:.0f}", f"{row.rate(which) / row.peak:.2f}"]
        times = ours.get(row.case.group, math.nan) / row.clips
        cells += [f"{row.clips:.3g}", "-" if row.case.name == OURS else f"{times:.1f} x", f"{row.memory:.0f}"]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield (
        f"Threads: {torch.get_num_threads()}, torch {torch.__version__}, float32; peak {min(peaks):.0f} to "
        f"{max(peaks):.0f} GFLOP/s. A clip has {FRAMES} frames, a prompt {TOKENS} tokens. Own way of 64x64 pixels: "
        f"{OURS} in patches of 4x4, {VDP} in pixels, {DIFFUSERS} in latents of a VAE that is not counted."
    )
    for peer in video_peers.NEEDS:
        if absent := video_peers.missing(peer):
            yield f"Left out: {absent}."


def profiles(cases: Sequence[Case] = CASES) -> Iterator[str]:
    """What takes the time of ours on patches: a table."""
    runs: dict[str, Callable[[], object]] = {}
    for case in cases:
        if case.name == OURS and case.shape == UNSHUFFLED and "own way" not in case.group:
            one = ready(case)
            runs |= {f"{case.group}, forward": one.forward, f"{case.group}, training step": one.step}
    return profile.markdown(runs)
