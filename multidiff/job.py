"""One request to a model, as data: what the command line runs and a sidecar remembers.

A job makes one item; `-n 4` is four jobs whose seeds follow each other, so that each can be made again alone; where
completions tell how sure they are, others that a job is compared with are made for it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError

import multidiff
from multidiff import output, registry, weights
from multidiff.errors import InputError, MediaError, did_you_mean
from multidiff.files import folder, readable, together
from multidiff.modality import Confident, Spec
from multidiff.model import Model, others
from multidiff.recipe import problems
from multidiff.specs import MethodSpec, SampleSpec


class Job(Spec):
    """Everything that decides the result, with defaults resolved."""

    command: Literal["sample", "complete", "edit", "restore", "morph"]
    model: str
    prompt: str = ""
    given: str = ""
    given_sha256: str = ""
    last: str = ""
    last_sha256: str = ""
    task: str = ""
    seed: int = 0
    others: tuple[int, ...] = ()
    """seeds of completions by which this one tells how sure it is"""
    best_of: int = Field(1, ge=1)
    strength: float | None = Field(None, gt=0, le=1)
    share: float = Field(0.0, ge=0, le=1)
    operator: MethodSpec | None = None
    settings: SampleSpec
    options: Mapping[str, Any]
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    @property
    def about(self) -> str:
        """In a few words, for names and titles."""
        given = Path(self.given).stem
        if self.last:
            given = f"{round(100 * self.share):03d} {given} to {Path(self.last).stem}"
        into = self.settings.into and f"into {self.settings.into}"
        return " ".join(filter(None, [given, self.task, self.prompt, into]))

    def run(
        self,
        model: Model,
        progress: Callable[[int, int], None] | None = None,
        made: dict[str, Any] | None = None,
    ) -> Any:
        """The media this job makes. Raises InputError or MediaError for what is wrong with it.

        `made` holds completions that other jobs were compared with, and takes up this one's.
        """
        if self.others and isinstance(model.modality, Confident):
            known, found = {} if made is None else made, []
            for seed in (self.seed, *self.others):
                alone = self.model_copy(update={"seed": seed, "others": ()})
                key = alone.model_dump_json()
                if key not in known:
                    known[key] = alone.run(model, progress)
                found.append(known[key])
            return model.modality.confident(found[0], found[1:])
        common = {**self.settings.model_dump(exclude={"prompt"}), **self.options}
        if self.command == "sample":
            return model.sample(self.prompt, seed=self.seed, best_of=self.best_of, progress=progress, **common)[0]
        common |= {"prompt": self.prompt, "seed": self.seed, "progress": progress}
        given = _unchanged(self.given, self.given_sha256, model)
        try:
            if self.command == "morph":
                last = _unchanged(self.last, self.last_sha256, model)
                return model.interpolate(given, last, [self.share], **common)[0]
            if self.command == "complete":
                return model.complete(given, self.task, **common)[0]
            if self.command == "restore":
                return model.restore(given, self.operator or "", **common)[0]
            return model.edit(given, strength=self.strength, **common)[0]
        except InputError as error:  # what the model cannot do with this file
            raise type(error)(f"{self.given}: {error}") from None


def _unchanged(path: str, sha256: str, model: Model) -> Any:
    media = read(path, model)
    if sha256 and digest(path) != sha256:
        raise InputError(f"{path}: has changed since this sidecar was written; give the original file")
    return media


def numbered(model: Model, command: str, count: int, seed: int) -> list[dict[str, Any]]:
    """What sets `count` jobs of one command apart: their seeds, and those of the others they are compared with."""
    seeds = range(seed, seed + count)
    if command != "complete" or not isinstance(model.modality, Confident):
        return [{"seed": each} for each in seeds]
    return [{"seed": each, "others": compared} for each, compared in zip(seeds, others(seeds), strict=True)]


def jobs(each: Sequence[Mapping[str, Any]], **values: Any) -> list[Job]:
    """A job for each of what sets them apart (their seeds, their shares). Raises InputError for what does not fit."""
    try:
        return [Job(**own, **values) for own in each]
    except ValidationError as error:
        raise InputError("\n".join(problems(error, Job))) from None


def from_record(record: Mapping[str, Any], source: str | Path) -> Job:
    """The job that a sidecar's record remembers. Raises InputError naming `source` when there is none."""
    try:
        return Job.model_validate(record["job"])
    except ValidationError as error:
        raise InputError("\n".join(f"{source}: job.{line}" for line in problems(error, Job))) from None


def read(path: str, model: Model) -> Any:
    """The media in a file of the model's medium.

    Raises MediaError, for another medium's file with the name of a model that takes it.
    """
    own, suffix = model.modality.media, Path(path).suffix.lower()
    if suffix not in own.suffixes:
        others = [name for name in registry.MODALITIES if suffix in registry.modality(name).media.suffixes]
        if others:
            readable(path, f"a file for {model.name}")
            takers = " or ".join(weights.of_medium(others[0])) or f"a model of {others[0]}"
            raise MediaError(f"{path}: holds {others[0]}, and {model.name} takes {model.modality.name}; use {takers}")
    return own.read(path)


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hex; of a folder, of the names in it and what they hold."""
    path = Path(path).expanduser()
    if path.is_dir():
        held = [f"{file.name} {digest(file)}" for file in sorted(path.iterdir()) if file.is_file()]
        return hashlib.sha256("\n".join(held).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def formats_of(model: Model, wanted: str | None) -> tuple[str, ...]:
    """The file formats of a comma-separated list, each once, or the medium's default. Raises InputError."""
    known = model.modality.media.formats
    chosen = tuple(name.strip().lower().lstrip(".") for name in wanted.split(",")) if wanted is not None else known[:1]
    for name in chosen:
        if name not in known:
            raise InputError(f"--format {name}: {model.modality.name} cannot be written so{did_you_mean(name, known)}")
    return tuple(dict.fromkeys(chosen))


def make(
    jobs: Sequence[Job],
    model: Model,
    out: str | Path,
    formats: Sequence[str],
    plot: bool = False,
    embed: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Path]:
    """Run jobs one after the other and write each: media in every format, picture when `plot`, sidecar.

    `embed` puts title, prompt and seed into the files' own tags. Yields the paths of the media and pictures as they
    are finished. The index page is written at the end, also when something fails on the way.
    """
    target = folder(out)
    made = {
        "multidiff": multidiff.__version__,
        "torch": torch.__version__,
        "recipe": model.recipe.hash,
        "weights": model.fingerprint,
        "device": str(model.device),
    }
    is_any_written, compared = False, dict[str, Any]()
    try:
        for job in jobs:
            started = time.perf_counter()
            media = job.run(model, progress, compared)
            seconds = round(time.perf_counter() - started, 3)
            record: dict[str, Any] = {"job": job.model_dump(mode="json"), "made": made}
            about = output.slug(job.about)
            # A medium whose files may be pictures has its plots beside these.
            picture = "plot.png" if "png" in model.modality.media.formats else "png"
            suffixes = [*formats, *([picture] if plot else [])]
            stem = "_".join(filter(None, [model.name, about, str(job.seed)]))
            stem = output.free_stem(target, stem, record, suffixes)
            title = textwrap.shorten(job.prompt or about, 120, placeholder=" ...")
            tags = {
                "title": title,
                "comment": json.dumps(record["job"]),
                "software": f"multidiff {multidiff.__version__}",
            }
            paths = [target / f"{stem}.{suffix}" for suffix in suffixes]
            with together(paths):
                for path in paths[: len(formats)]:
                    media.save(path, tags if embed else None)
                if plot:
                    _picture(job, model, media, paths[-1], title)
                # What an earlier run of this job wrote in other formats still belongs to it.
                names = {path.name for path in target.glob(f"{stem}.*") if path.suffix != ".json"}
                record |= {"files": sorted(names), "embed": embed, "made": {**made, "seconds": seconds}}
                output.write_sidecar(target / f"{stem}.json", record)
            is_any_written = True
            yield from paths
    finally:
        if is_any_written:
            output.write_index(target)


def _picture(job: Job, model: Model, media: Any, path: Path, title: str) -> None:
    """The picture of what a job made, below the picture of what it was given."""
    if not job.given:
        model.modality.plot(media, path, title)
        return
    source = read(job.given, model)
    model.modality.plot(media, path, title, source if job.command == "complete" else None)
    with tempfile.TemporaryDirectory() as scratch:
        given = model.modality.plot(source, Path(scratch) / "given.png", Path(job.given).name)
        output.stack(given, path)
