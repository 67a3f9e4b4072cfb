"""A medium as small as can be: points of the plane on two arcs, read from text files or made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from multidiff import dataset
from multidiff.errors import MediaError
from multidiff.modality import Batch, Example, Spec

CAPTIONS = ("left", "right")


class Point:
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    formats: ClassVar[tuple[str, ...]] = ("txt",)

    def __init__(self, at: Tensor) -> None:
        self.at = at

    @classmethod
    def read(cls, path: str | Path) -> Point:
        try:
            return cls(torch.tensor([float(v) for v in Path(path).read_text().split()]))
        except ValueError:
            raise MediaError(f"{path}: not two numbers; remove it") from None

    def save(self, path: str | Path, tags: dict[str, str] | None = None) -> Path:
        Path(path).write_text(" ".join(map(str, self.at.tolist())))
        return Path(path)


class Codec(nn.Module):
    def __init__(self, trained: bool = False) -> None:
        super().__init__()
        if trained:
            self.scale = nn.Parameter(torch.ones(2))

    def encode(self, media: Sequence[Point]) -> Tensor:
        return torch.stack([point.at for point in media])

    def decode(self, x: Tensor, options: Any) -> list[Point]:
        return [Point(row) for row in x]


class Network(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(width, 2))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Any) -> Tensor:
        return self.layers(torch.cat([x, torch.tanh(log_snr[:, None] / 4)], dim=1))


class Adversary:
    """Two groups: a generator of points and the discriminator that learns to tell them from real ones."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 2)
        self.discriminator = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))
        self.groups = {"discriminator": self.discriminator, "generator": self.generator}

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        fake = self.generator(torch.randn(len(rows["at"]), 2, generator=generator))
        real = rows["at"]
        yield (
            "discriminator",
            (self.discriminator(fake.detach()) + 1).square().mean() + (self.discriminator(real) - 1).square().mean(),
        )
        yield "generator", (self.discriminator(fake) - 1).square().mean()

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]:
        fake = self.generator(torch.randn(len(rows["at"]), 2, generator=generator))
        return {"distance": float((fake.mean(0) - rows["at"].mean(0)).norm())}


class CodecSpec(Spec):
    weights: str = ""
    trained: bool = False


class NetworkSpec(Spec):
    width: int = 32


class Toy:
    name = "toy"
    media = Point
    data_spec = dataset.DataSpec
    codec_spec = CodecSpec
    network_spec = NetworkSpec
    options = Spec
    tasks: ClassVar[dict[str, type[Spec]]] = {}
    time_axis = None

    def examples(self, data: Any, split: str) -> Iterator[Example]:
        for root in data.root:
            if root == dataset.SYNTH:
                generator = torch.Generator().manual_seed(int(split == "val"))
                for index in range(100 if split == "train" else 20):
                    angle = torch.pi * torch.rand((), generator=generator)
                    side = index % 2
                    at = torch.stack([angle.cos() + 2 * side, angle.sin() * (1 - 2 * side) + 1])
                    yield Example(Point(at), CAPTIONS[side], source=str(index))
                continue
            for entry in dataset.entries(root, Point.suffixes, data, split):
                try:
                    yield Example(Point.read(entry.path), entry.text, source=str(entry.path))
                except MediaError as error:
                    dataset.SKIPPED.add(entry.path, error)

    def prepare(self, example: Example, data: Any, codec: Any) -> dict[str, Tensor]:
        if not example.media.at.isfinite().all():
            raise MediaError(f"{example.source}: not finite; remove it")
        return {"at": example.media.at}

    def codec(self, spec: Any) -> nn.Module:
        return Codec(spec.trained)

    def network(self, spec: Any, codec: Any) -> nn.Module:
        return Network(spec.width)

    def batch(self, rows: dict[str, Tensor], codec: Any, data: Any, generator: torch.Generator) -> Batch:
        return Batch(rows["at"] + 0.01 * torch.randn(rows["at"].shape, generator=generator))

    def objectives(self, codec: Any, data: Any) -> dict[str, Any]:
        return {"adversary": Adversary()}

    def event_shape(self, codec: Any, options: Any) -> tuple[int, ...]:
        return (2,)

    def extra_condition(self, codec: Any, options: Any, count: int) -> dict[str, Tensor]:
        return {}

    def clamp(self, x0: Tensor, codec: Any) -> Tensor:
        return x0

    def alike(self, first: Point, last: Point) -> tuple[Point, Point]:
        return first, last

    def options_of(self, media: Point, options: Any) -> Any:
        return options

    def plot(self, media: Any, path: str | Path, title: str = "", given: Any = None) -> Path:
        Path(path).write_text(f"{title} {media.at.tolist()}")
        return Path(path)


TOY = Toy()
