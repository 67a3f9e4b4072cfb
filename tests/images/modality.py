"""IMAGES: the protocol of multidiff.modality for small grey pictures of light bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from multidiff import dataset
from multidiff.errors import MediaError
from multidiff.modality import Batch, Example, Given, Spec
from multidiff.nn.unet import UNet
from tests.images.media import Image

SIZE = 16


class Options(Spec):
    size: int = SIZE


class Half(Spec):
    """The right half of a picture whose left half is known."""


class Codec(nn.Module):
    def encode(self, media: Sequence[Image]) -> Tensor:
        return torch.stack([torch.from_numpy(item.pixels[None].copy()) for item in media])

    def decode(self, x: Tensor, options: Any) -> list[Image]:
        return [Image(row[0].clamp(-1, 1).numpy()) for row in x]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet(2, 1, widths=(8, 16), attention=(1,), head_dim=8, context_dim=384)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Any) -> Tensor:
        mask = condition.get("mask", x.new_zeros(1)).to(x).expand_as(x)
        return self.unet(torch.cat([x, mask], 1), log_snr, condition.get("tokens"), condition.get("tokens_mask"))


class Images:
    name = "images"
    media = Image
    data_spec = dataset.DataSpec
    codec_spec = Spec
    network_spec = Spec
    options = Options
    tasks: ClassVar[dict[str, type[Spec]]] = {"half": Half}
    time_axis = None

    def examples(self, data: Any, split: str) -> Iterator[Example]:
        for root in data.root:
            if root == dataset.SYNTH:
                for row in range(SIZE):
                    pixels = -np.ones((SIZE, SIZE), np.float32)
                    pixels[row] = 1
                    yield Example(Image(pixels), f"a bar at height {row}")
            else:
                for entry in dataset.entries(root, Image.suffixes, data, split):
                    try:
                        yield Example(Image.read(entry.path), entry.text)
                    except MediaError as error:
                        dataset.SKIPPED.add(entry.path, error)

    def prepare(self, example: Example, data: Any, codec: Any) -> dict[str, Tensor]:
        return {"x": codec.encode([example.media])[0]}

    def codec(self, spec: Any) -> Codec:
        return Codec()

    def network(self, spec: Any, codec: Any) -> Network:
        return Network()

    def batch(self, rows: dict[str, Tensor], codec: Any, data: Any, generator: torch.Generator) -> Batch:
        mask = torch.zeros(len(rows["x"]), 1, 1, SIZE)
        mask[torch.rand(len(mask), generator=generator) < 0.5, ..., : SIZE // 2] = 1
        return Batch(rows["x"], {"mask": mask, "known": rows["x"]})

    def objectives(self, codec: Any, data: Any) -> dict[str, Any]:
        return {}

    def event_shape(self, codec: Any, options: Options) -> tuple[int, ...]:
        return (1, options.size, options.size)

    def extra_condition(self, codec: Any, options: Any, count: int) -> dict[str, Tensor]:
        return {}

    def clamp(self, x0: Tensor, codec: Any) -> Tensor:
        return x0.clamp(-1, 1)

    def given(self, media: Image, task: str, task_options: Any, codec: Codec, options: Any) -> tuple[Given, Any]:
        mask = torch.zeros(1, 1, 1, SIZE)
        mask[..., : SIZE // 2] = 1
        return Given(codec.encode([media]), mask), options

    def merge(self, generated: Image, media: Image, given: Given) -> Image:
        pixels = generated.pixels.copy()
        pixels[:, : SIZE // 2] = media.pixels[:, : SIZE // 2]
        return Image(pixels)

    def restore(self, edited: Image, media: Image, codec: Codec) -> Image:
        return edited

    def alike(self, first: Image, last: Image) -> tuple[Image, Image]:
        return first, last

    def options_of(self, media: Image, options: Options) -> Options:
        return options.model_copy(update={"size": len(media.pixels)})

    def metrics(self, real: Sequence[Image], generated: Sequence[Image]) -> dict[str, float]:
        mean = [np.mean([item.pixels for item in group]) for group in (real, generated)]
        return {"brightness": float(abs(mean[0] - mean[1]))}

    def plot(self, media: Image, path: str | Path, title: str = "", given: Image | None = None) -> Path:
        return media.save(path)


IMAGES = Images()
