"""What the rest of the house may ask of a medium.

A medium is one folder with a `Modality` object and a line in `registry.py`. Everything here is
structural: no base class to inherit. `recipe`, `model` and `train` know a medium only through this page.

The path of data:  files --examples--> Example(media, text) --prepare--> fixed-size tensors (stacked into a
pack, once, no media library needed afterwards) --batch--> x0 in model space + condition (random crops,
augmentation and corruptions, every step).
The path of a sample:  x --codec.decode--> media --merge--> media with the given part in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

Condition = Mapping[str, Tensor]
"""What a network is told besides x and the noise level; each tensor's first axis is the batch.

Keys used across the house: `tokens` (B, L, D) and `tokens_mask` (B, L) bool, the prompt;
`known` (B, *event) and `mask` (B, ...) broadcastable to the event, 1 where x0 is known; `share` (B, ...) likewise, that
of a second prompt.
A medium may add its own (audio: `seconds`, `degraded`, `beat`); those with as many axes as x lie along its axes.
"""


class Spec(BaseModel):
    """Base of every schema in a recipe: unknown keys, NaN and infinity are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> type[Spec]:
        """The schema of a section of a recipe: this one, or that of the kind which the section names."""
        return cls


@runtime_checkable
class Media(Protocol):
    """A value type: one sound, clip or cloud in memory."""

    suffixes: ClassVar[tuple[str, ...]]
    """File suffixes `read` understands, lower case with the dot."""
    formats: ClassVar[tuple[str, ...]]
    """Formats `save` can write, without the dot; the first is the default."""

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises MediaError (file, fault, cure) for anything that cannot be used."""
        ...

    def save(self, path: str | Path, tags: Mapping[str, str] | None = None) -> Path:
        """Write whole or not at all, in the format of the suffix; `tags` (title, prompt, seed, software)
        go into the file where the format can hold them."""
        ...


@dataclass(frozen=True)
class Example:
    """One item of a data set, which begins `start` seconds into its source; `fields` holds its metadata columns, where
    the medium tells them."""

    media: Any
    text: str = ""
    label: str = ""
    source: str = ""
    start: float = 0.0
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """One training batch in model space.

    x0 (B, *event), unit variance; `condition` without the prompt (the loop adds it); `weight` broadcastable
    to x0, 0 where the loss must not look (padding). Known regions (condition["mask"] = 1) are left out of the
    loss by the core.
    """

    x0: Tensor
    condition: dict[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None


@dataclass(frozen=True)
class Given:
    """What a task knows in advance, in model space.

    known (1, *event), mask (1, ...) broadcastable to it, 1 = known; `condition` is the medium's own addition; where
    `noise` is above 0, the unknown of `known` is what is wanted and white noise of that standard deviation;
    `context` is whatever `merge` needs to undo (a frame, an offset) and nobody else looks at.
    """

    known: Tensor
    mask: Tensor
    condition: dict[str, Tensor] = field(default_factory=dict)
    context: Any = None
    noise: float = 0.0


class Codec(Protocol):
    """Media <-> model space. An nn.Module; frozen while a denoiser trains."""

    def encode(self, media: Sequence[Any]) -> Tensor:
        """x (B, *event), about unit variance."""
        ...

    def decode(self, x: Tensor, options: Any) -> list[Any]:
        """Media of the lengths that `options` asks for, from x (B, *event)."""
        ...


@runtime_checkable
class Looping(Protocol):
    """A codec for which media that end in their beginning differ."""

    def closed(self, options: Any) -> Any:
        """The options, nearest to these, of media that fill x (B, *event) exactly, so that x goes round."""
        ...

    def encode_loop(self, media: Sequence[Any], options: Any) -> Tensor:
        """x (B, *event) that goes round, of as many media whose ends meet, as long as `options` say."""
        ...

    def decode_loop(self, x: Tensor, options: Any) -> list[Any]:
        """Of x that goes round, media as long as `options` ask for."""
        ...


@runtime_checkable
class Reconciling(Protocol):
    """A medium whose prompts and options may state the same: the tempo of a sound."""

    def reconciled(
        self, prompt: str, options: Any, task: Spec | None, asked: Collection[str], example: str
    ) -> tuple[str, Any, Spec | None]:
        """Prompt, options and options of the task, if there is one, that agree; `asked` names those that are no
        defaults, `example` is a prompt of the kind that the model knows. What was reconciled once stays as it is.

        Raises InputError for a contradiction.
        """
        ...


class Objective(Protocol):
    """What one training run minimises: the denoiser, or a part of the codec.

    `groups` maps a name to the module that gets its own optimiser. `losses` yields (group, loss) pairs for
    one step; the loop runs backward and that group's optimiser after each, so a GAN yields two.
    `validate` returns scalars on held-out rows, with fixed noise.
    """

    groups: Mapping[str, nn.Module]

    def losses(self, rows: dict[str, Tensor], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]: ...

    def validate(self, rows: dict[str, Tensor], generator: torch.Generator) -> dict[str, float]: ...


OfCaptions = Callable[[Tensor], Objective]
"""Makes an objective that compares media with their captions, from the mean token states (U, D) of all that the data
have; a row's `caption` is the index of its own."""


@runtime_checkable
class Paced(Protocol):
    """An objective that changes as training goes on: the loop sets the share that is done before each step."""

    progress: float


@dataclass(frozen=True)
class Trial:
    """A completion whose truth is known: a part of held-out media.

    kind: what is missing; whole: the truth; given: what the model is shown, with the task's `options`; `context` is
    whatever the medium's figures need besides.
    """

    kind: str
    whole: Any
    given: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None


@runtime_checkable
class Completing(Protocol):
    """A medium that can say how good its completions are."""

    def trials(self, whole: Any, task: str, seed: int, options: Mapping[str, Any]) -> Sequence[Trial]:
        """Parts of one item, one of each kind; `options` of the task that were asked for are those of every trial.

        Raises InputError for options with which the medium cannot measure.
        """
        ...

    def completion_metrics(
        self, trials: Sequence[Trial], completions: Sequence[Sequence[Any]], training: Sequence[Any]
    ) -> dict[str, dict[str, float]]:
        """Row -> figures, for trials of one kind with several completions each: the first row is theirs, then the
        floor and simpler ways to complete; `training` media may be empty. Figures named group/column are shown by
        themselves."""
        ...


@runtime_checkable
class Confident(Protocol):
    """A medium that can tell how sure a completion is, by how far others of the same agree with it."""

    def confident(self, media: Any, others: Sequence[Any]) -> Any:
        """The completion, as it is, with how sure it is everywhere; `others` are one at least."""
        ...


@runtime_checkable
class Thorough(Protocol):
    """A medium with figures that take minutes: an evaluation asks for them, a bench of many models does not."""

    def thorough(self, real: Sequence[Any], generated: Sequence[Any]) -> dict[str, float]: ...


@runtime_checkable
class Faulty(Protocol):
    """A medium that knows faults, so that one sees whether its metrics do."""

    def faults(self, examples: Sequence[Example], seed: int) -> Mapping[str, Sequence[Example]]:
        """Fault -> these real items with that fault, each with the text and label that it should have."""
        ...


@runtime_checkable
class Prompted(Protocol):
    """A medium that can tell by itself whether some of what prompts say came true."""

    def prompt_accuracy(self, made: Sequence[Example]) -> dict[str, float]:
        """Figures of media, each with the text it was made for; none where no text says anything that can be told."""
        ...


@runtime_checkable
class Cyclic(Protocol):
    """A medium that can tell how well an end meets its beginning."""

    def loop_metrics(self, media: Sequence[Any]) -> dict[str, float]: ...


@runtime_checkable
class Lossy(Protocol):
    """A medium whose codec loses something."""

    def there_and_back(self, codec: Any, media: Any) -> Mapping[str, tuple[Any, float]]:
        """Way -> what it makes of given media, and the seconds it took to make them anew: parts of the codec, the whole
        of it, and simpler ways. Raises InputError for a codec that makes none."""
        ...

    def losses(self, codec: Any, real: Sequence[Any], made: Sequence[Any], seconds: float) -> dict[str, float]:
        """Figures of media that went there and back, in so many seconds in all."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A medium that can tell copies of its training items."""

    def memorisation(self, training: Sequence[Any], media: Sequence[Any]) -> dict[str, float]: ...


@runtime_checkable
class Judged(Protocol):
    """A medium with figures that a trained model, the judge, finds."""

    judge: str
    """The shipped model that judges unless another is given."""

    def judged(self, judge: Any, real: Sequence[Example], generated: Sequence[Example]) -> dict[str, float]:
        """Figures of generated media, each with the text and label it was made for; `judge` is the model's codec."""
        ...


@runtime_checkable
class Scored(Protocol):
    """A medium with a trained model, the scorer, that tells how alike media and prompts are."""

    scorer: str
    """The shipped model that ranks candidates."""

    def similarity(self, scorer: Any, media: Sequence[Any], prompts: Tensor) -> Tensor:
        """Cosines (N, K) of media and prompts, these as mean token states (K, D); `scorer` is the model's codec.

        Raises InputError for a codec that is none.
        """
        ...


@dataclass(frozen=True)
class Part:
    """A part of a model that is of use by itself: a module that makes one real tensor of another.

    `example`: what it takes; `axes`: those of its axes that may have any size, by their names.
    """

    module: nn.Module
    example: Tensor
    axes: Mapping[int, str]
    takes: str
    makes: str


@runtime_checkable
class Exporting(Protocol):
    """A medium that has parts of use by themselves, for programs without multidiff."""

    def parts(self, codec: Any) -> Mapping[str, Part]: ...


class Modality(Protocol):
    """One medium, as seen from above."""

    name: str
    media: type[Any]
    data_spec: type[Spec]
    """Schema of a recipe's `data`: has at least `root` ("synth" or a folder or shards)."""
    codec_spec: type[Spec]
    network_spec: type[Spec]
    options: type[Spec]
    """Schema of the sampling options (seconds, frames, points), each with a default and a description."""
    tasks: Mapping[str, type[Spec]]
    """Completion tasks: name -> schema of the task's own options."""
    time_axis: int | None
    """Which axis of x is time, counted from the end; None where there is none."""

    def examples(self, data: Any, split: str) -> Iterator[Example]:
        """Items of a split ("train", "val"); bad files are skipped and reported through `dataset.Skipped`."""
        ...

    def prepare(self, example: Example, data: Any, codec: Any) -> dict[str, Tensor]:
        """Deterministic fixed-size tensors of one example (compact dtypes), to be stacked into a pack."""
        ...

    def codec(self, spec: Any) -> nn.Module: ...

    def network(self, spec: Any, codec: Any) -> nn.Module:
        """The denoiser network: forward(x (B, *event), log_snr (B,), condition) -> (B, *event).

        Its `features`, of the same arguments, are (B, width): what a classifier of noisy media stands on.
        """
        ...

    def batch(self, rows: dict[str, Tensor], codec: Any, data: Any, generator: torch.Generator) -> Batch:
        """Random crop, augmentation, encoding and corruption (`mask`, `known`) of prepared rows."""
        ...

    def objectives(self, codec: Any, data: Any) -> Mapping[str, Objective | OfCaptions]:
        """Objectives besides the denoiser's (VAE, vocoder), by the name a recipe uses in `train.objective`."""
        ...

    def event_shape(self, codec: Any, options: Any) -> tuple[int, ...]: ...

    def extra_condition(self, codec: Any, options: Any, count: int) -> dict[str, Tensor]:
        """The medium's own condition for plain sampling (audio: seconds), each (count, ...)."""
        ...

    def clamp(self, x0: Tensor, codec: Any) -> Tensor:
        """x0 in the bounds of the codec's model space; as it is where there are none."""
        ...

    def given(self, media: Any, task: str, task_options: Any, codec: Any, options: Any) -> tuple[Given, Any]:
        """What is known for a completion task, and the sampling options it implies."""
        ...

    def merge(self, generated: Any, media: Any, given: Given) -> Any:
        """Generated media with the given part in its place, untouched, in its own coordinates."""
        ...

    def restore(self, edited: Any, media: Any, codec: Any) -> Any:
        """Edited media in the form of those that were given: their rate and level, their size, their unit and place."""
        ...

    def alike(self, first: Any, last: Any) -> tuple[Any, Any]:
        """Two media cut to what both have: the shorter length, the fewer points, the one's in the other's order where
        order means nothing. What lies between them is to be made."""
        ...

    def options_of(self, media: Any, options: Any) -> Any:
        """Sampling options adapted to given media (its duration, frames, number of points), for editing."""
        ...

    def metrics(self, real: Sequence[Any], generated: Sequence[Any]) -> dict[str, float]: ...

    def plot(self, media: Any, path: str | Path, title: str = "", given: Any = None) -> Path:
        """A PNG picture of one item for people; of a completed one, what was `given` stands out in orange."""
        ...
