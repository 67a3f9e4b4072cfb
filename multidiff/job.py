"""One request to a model, as data: what the command line runs and a sidecar remembers.

A job makes one item; `-n 4` is four jobs whose seeds follow each other, so that each can be made again alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

import multidiff
from multidiff import output
from multidiff.errors import InputError, did_you_mean
from multidiff.files import folder
from multidiff.modality import Spec
from multidiff.model import Model
from multidiff.recipe import SampleSpec, problems


class Job(Spec):
    """Everything that decides the result, with defaults resolved."""

    command: Literal["sample", "complete", "edit"]
    model: str
    prompt: str = ""
    given: str = ""
    given_sha256: str = ""
    task: str = ""
    seed: int = 0
    strength: float | None = None
    settings: SampleSpec
    options: Mapping[str, Any]
    precision: str = "auto"

    def run(self, model: Model, progress: Callable[[int, int], None] | None = None) -> Any:
        """The media this job makes. Raises InputError or MediaError for what is wrong with it."""
        common = {**self.settings.model_dump(exclude={"prompt"}), **self.options}
        if self.command == "sample":
            return model.sample(self.prompt, seed=self.seed, progress=progress, **common)[0]
        given = self._given(model)
        if self.command == "complete":
            return model.complete(given, self.task, prompt=self.prompt, seed=self.seed, progress=progress, **common)[0]
        return model.edit(given, self.prompt, strength=self.strength, seed=self.seed, progress=progress, **common)[0]

    def _given(self, model: Model) -> Any:
        if self.given_sha256 and Path(self.given).is_file() and digest(self.given) != self.given_sha256:
            raise InputError(f"{self.given}: has changed since this sidecar was written; give the original file")
        return model.modality.media.read(self.given)


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def from_sidecar(path: str | Path) -> Job:
    """The job a sidecar remembers. Raises InputError when it is not one."""
    record = output.read_sidecar(path)
    try:
        return Job.model_validate(record["job"])
    except ValidationError as error:
        raise InputError("\n".join(f"{path}: job.{line}" for line in problems(error, Job))) from None


def formats_of(model: Model, wanted: str | None) -> tuple[str, ...]:
    """The file formats of a comma-separated list, or the medium's default. Raises InputError."""
    known = model.modality.media.formats
    chosen = tuple(name.strip().lower().lstrip(".") for name in wanted.split(",")) if wanted else known[:1]
    for name in chosen:
        if name not in known:
            raise InputError(f"--format {name}: {model.modality.name} cannot be written so{did_you_mean(name, known)}")
    return chosen


def make(
    jobs: Sequence[Job],
    model: Model,
    out: str | Path,
    formats: Sequence[str],
    plot: bool = False,
    embed: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Run jobs one after the other and write each: media in every format, sidecar, picture when `plot`.

    `embed` puts title, prompt and seed into the files' own tags. Returns the paths of the media and pictures.
    """
    target = folder(out)
    written: list[Path] = []
    for job in jobs:
        started = time.perf_counter()
        media = job.run(model, progress)
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {"job": job.model_dump(mode="json")}
        about = output.slug(" ".join(filter(None, [Path(job.given).stem, job.task, job.prompt])))
        stem = output.free_stem(target, "_".join(filter(None, [model.name, about, str(job.seed)])), record)
        tags = {
            "title": job.prompt or about,
            "comment": json.dumps(record["job"]),
            "software": f"multidiff {multidiff.__version__}",
        }
        paths = [media.save(target / f"{stem}.{name}", tags if embed else None) for name in formats]
        if plot:
            paths.append(model.modality.plot(media, target / f"{stem}.png", job.prompt or about))
        output.write_sidecar(
            target / f"{stem}.json",
            record
            | {
                "files": [path.name for path in paths],
                "made": {
                    "multidiff": multidiff.__version__,
                    "torch": torch.__version__,
                    "recipe": model.recipe.hash,
                    "device": str(model.device),
                    "seconds": round(seconds, 3),
                },
            },
        )
        written += paths
    output.write_index(target)
    return written
